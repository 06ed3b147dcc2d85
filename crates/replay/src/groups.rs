//! Making a replay into consumer groups, and what people do with replays: list, find, pause, resume, cancel, delete.

use std::{collections::BTreeSet, sync::Arc};

use domain::{
    group::{GroupRecord, MAX_LANE_REFERENCES},
    ports::{GroupStore, ReplayRecord, ReplayState, ReplayWish},
};
use uuid::Uuid;

use crate::{
    backoff::repeated,
    error::ReplayError,
    manager::{ReplayManager, check_everything},
    pace::Pace,
    plan::Plan,
    record::{Destination, Progress, ReplaySummary, TargetGroup, WrittenPlan, written},
    redrive::without_consumers,
};

/// How a replay into consumer groups runs.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupReplayOptions {
    /// The groups it goes to; all that exist when empty.
    pub groups: Vec<String>,
    /// Events put into lanes at once, 1 to [`MAX_LANE_REFERENCES`].
    pub batch_size: usize,
    /// How fast events go into the lanes. Each group then takes them as fast as its handlers do.
    pub pace: Pace,
    /// Permits a replay of everything: without filter and from the start of the log.
    pub all: bool,
}

impl Default for GroupReplayOptions {
    /// 50 events at once, a second apart, to all groups.
    fn default() -> Self {
        Self { groups: Vec::new(), batch_size: 50, pace: Pace::default(), all: false }
    }
}

impl GroupReplayOptions {
    /// Checks that they make sense.
    ///
    /// # Errors
    /// When the batch size is out of bounds or the rate is not a positive number.
    pub fn check(&self) -> Result<(), ReplayError> {
        if !(1..=MAX_LANE_REFERENCES).contains(&self.batch_size) {
            let bounds = format!("a batch has 1 to {MAX_LANE_REFERENCES} events");
            return Err(ReplayError::InvalidOption(bounds));
        }
        self.pace.check()
    }
}

impl ReplayManager {
    pub(crate) fn groups(&self) -> Result<&Arc<dyn GroupStore>, ReplayError> {
        let missing = || ReplayError::InvalidOption("this program keeps no consumer groups".to_owned());
        self.groups.as_ref().ok_or_else(missing)
    }

    /// Makes a replay of a plan into consumer groups. It is kept in the store, where it waits for a runner: see
    /// [`JobRunner`](crate::JobRunner) and [`JobHost`](crate::JobHost). Nothing that the plan needs is trimmed from now on.
    ///
    /// # Errors
    /// When the options make no sense, the plan is of everything and the options do not permit that, a group is unknown
    /// or there is none at all, or the store fails.
    pub async fn start_group_replay(
        &self,
        plan: &Plan,
        options: &GroupReplayOptions,
    ) -> Result<ReplayRecord, ReplayError> {
        options.check()?;
        if plan.after.is_none() {
            check_everything(&plan.filter, options.all)?;
        }
        let groups = self.groups()?;
        let existing = repeated(|| groups.groups()).await?;
        let to = Destination::Groups(chosen(existing, &options.groups)?);
        let plan = WrittenPlan::new(plan, to, options.batch_size, options.pace)?;
        let record = self.new_record(&plan, ReplayState::Planned)?;
        self.replays().create_replay(&record).await?;
        Ok(record)
    }

    pub(crate) fn new_record(
        &self,
        plan: &WrittenPlan,
        state: ReplayState,
    ) -> Result<ReplayRecord, ReplayError> {
        let id = Uuid::now_v7().to_string();
        let (now, progress) = (self.clock().now(), Progress::new(plan, &id));
        Ok(ReplayRecord {
            plan: written(plan)?,
            progress: written(&progress)?,
            hold: Some(plan.start()),
            id,
            state,
            created_at: now,
            updated_at: now,
        })
    }

    /// The newest replays, the newest first.
    ///
    /// # Errors
    /// When the store fails, or a record cannot be read.
    pub async fn list_replays(&self, limit: usize) -> Result<Vec<ReplaySummary>, ReplayError> {
        let records = repeated(|| self.replays().list_replays(limit)).await?;
        records.iter().map(ReplaySummary::of).collect()
    }

    /// A replay.
    ///
    /// # Errors
    /// [`ReplayError::UnknownReplay`], or when the store fails or the record cannot be read.
    pub async fn find_replay(&self, id: &str) -> Result<ReplaySummary, ReplayError> {
        ReplaySummary::of(&self.record(id).await?)
    }

    pub(crate) async fn record(&self, id: &str) -> Result<ReplayRecord, ReplayError> {
        let record = repeated(|| self.replays().find_replay(id)).await?;
        record.ok_or_else(|| ReplayError::UnknownReplay(id.to_owned()))
    }

    /// Asks a replay to pause, to go on, or to end; its state then. Whoever runs it heeds that within the batch in hand.
    /// One that nobody runs and that is to end is over at once: what of it was not handed over leaves the lanes.
    ///
    /// # Errors
    /// [`ReplayError::UnknownReplay`], or when the store fails.
    pub async fn wish(&self, id: &str, wish: ReplayWish) -> Result<ReplayState, ReplayError> {
        let state = repeated(|| self.replays().wish(id, wish)).await?;
        let state = state.ok_or_else(|| ReplayError::UnknownReplay(id.to_owned()))?;
        if state == ReplayState::Cancelled
            && let Some(groups) = &self.groups
        {
            repeated(|| groups.withdraw(id)).await?;
        }
        Ok(state)
    }

    /// Deletes the record of a replay that is over; whether there was one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_replay(&self, id: &str) -> Result<bool, ReplayError> {
        Ok(repeated(|| self.replays().delete_replay(id)).await?)
    }

    /// Of the groups that a replay goes to, those that no consumer looks after: it waits until one comes.
    ///
    /// # Errors
    /// As [`ReplayManager::find_replay`].
    pub async fn groups_without_consumers(&self, id: &str) -> Result<Vec<String>, ReplayError> {
        let names = self.find_replay(id).await?.groups;
        without_consumers(&**self.groups()?, names.iter().map(String::as_str)).await
    }
}

/// The groups of these names; all of them where none is named.
fn chosen(existing: Vec<GroupRecord>, names: &[String]) -> Result<Vec<TargetGroup>, ReplayError> {
    if existing.is_empty() && names.is_empty() {
        return Err(ReplayError::NoGroups);
    }
    let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    for name in &wanted {
        if !existing.iter().any(|group| group.spec.name == *name) {
            let known = existing.into_iter().map(|group| group.spec.name).collect();
            return Err(ReplayError::UnknownGroup { name: (*name).to_owned(), known });
        }
    }
    let is_wanted = |group: &GroupRecord| wanted.is_empty() || wanted.contains(group.spec.name.as_str());
    Ok(existing.into_iter().filter(is_wanted).map(TargetGroup::from).collect())
}
