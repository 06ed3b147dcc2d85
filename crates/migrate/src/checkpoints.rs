//! Creates checkpoints in the target. A checkpoint is identified by its id, so each is created once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use domain::{Checkpoint, Cursor, Filter, ports::StoreInfo};

use crate::{
    error::MigrateError,
    marks,
    old_checkpoint::OldCheckpoint,
    options::{Phase, ProgressCallback},
    retry::repeated,
    taking::Taking,
};

/// The longest name of a checkpoint, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Creates the checkpoints of the old system.
pub(crate) async fn take_old(
    taking: &mut Taking<'_>,
    mut old: Vec<OldCheckpoint>,
    progress: ProgressCallback<'_>,
) -> Result<(), MigrateError> {
    // Names were not unique in the old system. The newest checkpoint keeps its name, because users mean the newest.
    old.sort_by(|a, b| b.timestamp.cmp(&a.timestamp).then_with(|| a.id.cmp(&b.id)));
    let info = repeated(|| taking.target.info()).await?;
    let mut names = Names::of(taking).await?;
    let total = old.len() as u64;
    for (done, old) in (1..).zip(old) {
        taking.report.checkpoints.found += 1;
        progress(Phase::Checkpoints, done, Some(total));
        if names.has_id(&old.id) {
            taking.report.checkpoints.already_there += 1;
            continue;
        }
        // A dry run has stored no events, so it cannot find the marks.
        if taking.options.dry_run {
            taking.report.checkpoints.made += 1;
            continue;
        }
        match placed(taking, &info, &old).await? {
            Some((mark, created_at)) => {
                let checkpoint = Checkpoint {
                    id: old.id,
                    name: old.name,
                    mark,
                    last_processed_event_id: old.last_processed_event_id.unwrap_or_default(),
                    event_count: 0,
                    metadata: old.metadata,
                    created_at,
                    hold: false,
                };
                make(taking, &mut names, checkpoint).await?;
            }
            None => {
                taking.report.checkpoints.rejected += 1;
                let detail = "it names neither an event that is there nor a time";
                taking.report.problem("checkpoint", old.name.as_bytes(), "mark", detail);
            }
        }
    }
    Ok(())
}

/// Returns the mark of an old checkpoint in the target, and its creation time.
async fn placed(
    taking: &mut Taking<'_>,
    info: &StoreInfo,
    old: &OldCheckpoint,
) -> Result<Option<(Cursor, jiff::Timestamp)>, MigrateError> {
    if let Some(id) = &old.last_processed_event_id {
        let ids = [id.clone()];
        let found = repeated(|| taking.target.get(&ids)).await?;
        if let Some(stored) = found.first() {
            let created_at = old.timestamp.unwrap_or_else(|| stored.event.timestamp());
            return Ok(Some((marks::of_position(info, stored.position), created_at)));
        }
    }
    let Some(at) = old.timestamp else { return Ok(None) };
    let mark = marks::of_time(taking.target, info, at).await?;
    if let Some(id) = &old.last_processed_event_id {
        let detail = format!("its event {id:?} is not there; it marks what happened until {at} instead");
        taking.report.problem("checkpoint", old.name.as_bytes(), "mark", detail);
    }
    Ok(Some((mark, at)))
}

/// Creates a checkpoint: counts the events that it covers, and finds a free name.
pub(crate) async fn make(
    taking: &mut Taking<'_>,
    names: &mut Names,
    mut checkpoint: Checkpoint,
) -> Result<(), MigrateError> {
    let everything = Arc::new(Filter::default());
    checkpoint.event_count = repeated(|| taking.target.count(&everything, Some(&checkpoint.mark))).await?;
    if let Some(why) = names.settle(&mut checkpoint) {
        let detail = format!("{why}; it is named {:?} now", checkpoint.name);
        taking.report.problem("checkpoint", checkpoint.id.as_bytes(), "renamed", detail);
    }
    taking.target.save_checkpoint(checkpoint, false).await?;
    taking.report.checkpoints.made += 1;
    Ok(())
}

/// The names and ids of the target's checkpoints.
pub(crate) struct Names {
    ids: HashSet<String>,
    /// Ids by name.
    taken: HashMap<String, String>,
}

impl Names {
    pub(crate) async fn of(taking: &Taking<'_>) -> Result<Self, MigrateError> {
        let known = taking.target.list_checkpoints().await?;
        let ids = known.iter().map(|checkpoint| checkpoint.id.clone()).collect();
        let taken = known.into_iter().map(|checkpoint| (checkpoint.name, checkpoint.id)).collect();
        Ok(Self { ids, taken })
    }

    pub(crate) fn has_id(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Gives a checkpoint a free name. Returns the reason if its own name changed.
    fn settle(&mut self, checkpoint: &mut Checkpoint) -> Option<&'static str> {
        let why = if checkpoint.name.len() > MAX_NAME_BYTES {
            Some("its name is too long")
        } else if self.taken.contains_key(&checkpoint.name) {
            Some("another checkpoint has its name")
        } else {
            None
        };
        if why.is_some() {
            checkpoint.name = self.free_name(checkpoint);
        }
        self.ids.insert(checkpoint.id.clone());
        self.taken.insert(checkpoint.name.clone(), checkpoint.id.clone());
        why
    }

    /// Returns the first free name of these: the name with a part of the id, the whole id, or the id with a number.
    fn free_name(&self, checkpoint: &Checkpoint) -> String {
        let (name, id) = (&checkpoint.name, &checkpoint.id);
        let part: String = id.chars().take(8).collect();
        let numbered = (2u64..).map(|number| format!("{id} {number}"));
        let mut wishes = [format!("{name} {part}"), id.clone()].into_iter().chain(numbered);
        let fine = |wish: &String| !self.taken.contains_key(wish) && wish.len() <= MAX_NAME_BYTES;
        // A long id gets no number, because the result could be longer than a name may be.
        match id.len() <= MAX_NAME_BYTES / 2 {
            true => wishes.find(fine).unwrap_or_else(|| id.clone()),
            false => id.clone(),
        }
    }
}
