//! Migrates from one store of this project into another: another backend, an older layout, or another number of
//! partitions.

use std::sync::Arc;

use domain::{
    Checkpoint, Cursor, Filter, Position, StoredEvent,
    dead_letter::DeadLetterState,
    ports::{Order, Page, ReadRequest, StoreInfo, Stores},
};

use crate::{
    checkpoints::{self, Names},
    comparing::{Compared, Seen, counts},
    error::MigrateError,
    index::{IndexKey, IndexKind},
    options::{Options, Phase, ProgressCallback},
    report::{Report, SchemaTally, StayedBehind},
    retry::repeated,
    taking::{Content, Incoming, Taking},
};

/// The intended number of event bytes in a page. The size of a page follows from the page before.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
const FIRST_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;

/// Copies the history of a store into another store. It copies events in log order, with their ordering keys and replay
/// counts, then checkpoints, and the schemas that users added. It then compares the counts by time, type, source,
/// correlation, user, course and lab. Consumer groups, dead letters and scheduled events are not copied, but counted.
///
/// The copy may be interrupted at any time. A new run continues it. A run after a complete run changes nothing. Do not
/// run two copies at the same time.
///
/// # Errors
/// Returns [`MigrateError::SameStore`] when both are one store. Returns another [`MigrateError`] when one of the stores
/// fails. The events that were stored by then stay.
pub async fn copy(
    source: &dyn Stores,
    target: &dyn Stores,
    options: &Options,
    progress: ProgressCallback<'_>,
) -> Result<Report, MigrateError> {
    let info = repeated(|| source.info()).await?;
    if info.id == repeated(|| target.info()).await?.id {
        return Err(MigrateError::SameStore);
    }
    let mut taking = Taking::begin(target, options).await?;
    take_schemas(source, &mut taking).await?;
    let old = source.list_checkpoints().await?;
    let mut marks = Marks::new(&old, &info);
    take_events(source, &mut taking, &info, &mut marks, progress).await?;
    take_checkpoints(&mut taking, old, marks, &info, progress).await?;
    if !options.dry_run {
        compare(source, &mut taking, &info.head, progress).await?;
    }
    taking.report.stays_behind = stays_behind(source).await?;
    Ok(taking.report.conclude())
}

async fn take_schemas(source: &dyn Stores, taking: &mut Taking<'_>) -> Result<(), MigrateError> {
    let known = taking.target.list_schemas().await?;
    let mut tally = SchemaTally::default();
    for record in source.list_schemas().await? {
        tally.found += 1;
        let same = known.iter().find(|known| {
            known.event_type == record.event_type && known.event_version == record.event_version
        });
        match same {
            None => {
                tally.added += 1;
                if !taking.options.dry_run {
                    taking.target.put_schema(record).await?;
                }
            }
            Some(there)
                if (&there.document, &there.pointer, there.describes)
                    == (&record.document, &record.pointer, record.describes) =>
            {
                tally.already_there += 1;
            }
            Some(_) => {
                tally.conflicts += 1;
                let detail = "the target has another schema for this type and version, and keeps it";
                taking.report.problem("schema", record.event_type.as_bytes(), "conflict", detail);
            }
        }
    }
    taking.report.schemas = Some(tally);
    Ok(())
}

/// The pages of a log up to a mark.
struct Pages<'s> {
    log: &'s dyn Stores,
    request: ReadRequest,
    done: bool,
}

impl<'s> Pages<'s> {
    fn new(log: &'s dyn Stores, until: Cursor) -> Self {
        let request = ReadRequest {
            filter: Arc::new(Filter::default()),
            order: Order::OldestFirst,
            after: None,
            until: Some(until),
            limit: FIRST_PAGE,
        };
        Self { log, request, done: false }
    }

    async fn next(&mut self) -> Result<Option<Page>, MigrateError> {
        if self.done {
            return Ok(None);
        }
        let page = repeated(|| self.log.read(&self.request)).await?;
        let bytes: usize = page.events.iter().map(|stored| stored.event.size_bytes()).sum();
        if let Some(average) = bytes.checked_div(page.events.len()) {
            self.request.limit = (PAGE_BYTES / average.max(1)).clamp(1, MAX_PAGE);
        }
        self.request.after.clone_from(&page.next);
        self.done = page.next.is_none();
        Ok(Some(page))
    }
}

async fn take_events(
    source: &dyn Stores,
    taking: &mut Taking<'_>,
    info: &StoreInfo,
    marks: &mut Marks,
    progress: ProgressCallback<'_>,
) -> Result<(), MigrateError> {
    let mut pages = Pages::new(source, info.head.clone());
    let mut page = pages.next().await?;
    while let Some(Page { events, corrupt, .. }) = page {
        for damaged in corrupt {
            taking.report.found += 1;
            taking.report.rejected += 1;
            let place = damaged.position.to_string();
            taking.report.problem("event", place.as_bytes(), "damaged", damaged.detail);
        }
        let incoming = events.iter().map(incoming).collect();
        // The next page is read while this page is stored.
        let (next, places) = tokio::join!(pages.next(), taking.take(incoming));
        for (stored, place) in events.iter().zip(places?) {
            marks.note(stored.position, place);
        }
        page = next?;
        progress(Phase::Events, taking.report.found, Some(info.events));
    }
    Ok(())
}

fn incoming(stored: &StoredEvent) -> Incoming {
    Incoming {
        id: stored.event.id().to_owned(),
        content: Content::Event(stored.event.clone()),
        replays: stored.replay_count.into(),
        last_replay_at: stored.last_replay_at,
    }
}

/// The marks of the source's checkpoints in the target.
///
/// In each partition of the target, the mark is directly before the first event that the checkpoint does not cover. If
/// the number of partitions changes, covered and uncovered events may be mixed in a partition. No uncovered event may
/// be skipped.
struct Marks {
    of: Vec<Uncovered>,
}

struct Uncovered {
    mark: Cursor,
    /// The first sequence that is not covered, for each partition of the target.
    first: Vec<Option<u64>>,
}

impl Marks {
    fn new(checkpoints: &[Checkpoint], info: &StoreInfo) -> Self {
        // The mark of another store covers no known event here.
        let known = |mark: &Cursor| mark.store == info.id;
        let covers = |mark: &Cursor| match known(mark) {
            true => mark.clone(),
            false => Cursor::new(info.id, 0, Vec::new()),
        };
        let of = checkpoints.iter().map(|old| Uncovered { mark: covers(&old.mark), first: Vec::new() });
        Self { of: of.collect() }
    }

    /// Records the position that an event of the source has in the target.
    fn note(&mut self, old: Position, new: Option<Position>) {
        let Some(new) = new else { return };
        for checkpoint in self.of.iter_mut().filter(|checkpoint| !checkpoint.mark.covers(old)) {
            let partition = usize::from(new.partition);
            if checkpoint.first.len() <= partition {
                checkpoint.first.resize(partition + 1, None);
            }
            if let Some(first) = checkpoint.first.get_mut(partition) {
                *first = Some(first.map_or(new.sequence, |first| first.min(new.sequence)));
            }
        }
    }
}

impl Uncovered {
    fn mark_in(&self, head: &Cursor) -> Cursor {
        let mut mark = head.clone();
        for (sequence, first) in mark.sequences.iter_mut().zip(&self.first) {
            *sequence = first.map_or(*sequence, |first| first.saturating_sub(1));
        }
        mark
    }
}

async fn take_checkpoints(
    taking: &mut Taking<'_>,
    old: Vec<Checkpoint>,
    marks: Marks,
    info: &StoreInfo,
    progress: ProgressCallback<'_>,
) -> Result<(), MigrateError> {
    let head = repeated(|| taking.target.head()).await?;
    let mut names = Names::of(taking).await?;
    let total = old.len() as u64;
    for ((checkpoint, uncovered), done) in old.into_iter().zip(marks.of).zip(1..) {
        taking.report.checkpoints.found += 1;
        progress(Phase::Checkpoints, done, Some(total));
        if names.has_id(&checkpoint.id) {
            taking.report.checkpoints.already_there += 1;
        } else if taking.options.dry_run {
            taking.report.checkpoints.made += 1;
        } else {
            warn_of_gap(taking, &checkpoint, info);
            let mark = uncovered.mark_in(&head);
            checkpoints::make(taking, &mut names, Checkpoint { mark, ..checkpoint }).await?;
        }
    }
    Ok(())
}

/// Adds a problem for a mark before removed events. The target does not know the events that retention removed.
fn warn_of_gap(taking: &mut Taking<'_>, checkpoint: &Checkpoint, info: &StoreInfo) {
    let detail = if checkpoint.mark.store != info.id {
        "it is of yet another store, and marks the start of the log here"
    } else if (0u16..).zip(&info.trimmed_through).any(|(p, last)| checkpoint.mark.sequence(p) < *last) {
        "retention has removed events after its mark; here it marks what is left"
    } else {
        return;
    };
    taking.report.problem("checkpoint", checkpoint.name.as_bytes(), "mark", detail);
}

/// Compares the counts of both stores for every key of an event of the source.
async fn compare(
    source: &dyn Stores,
    taking: &mut Taking<'_>,
    head: &Cursor,
    progress: ProgressCallback<'_>,
) -> Result<(), MigrateError> {
    let (mut seen, mut compared) = (Seen::new(), Compared::default());
    let mut pages = Pages::new(source, head.clone());
    let mut first = true;
    while let Some(page) = pages.next().await? {
        let mut keys: Vec<IndexKey> = page.events.iter().flat_map(IndexKey::of).collect();
        keys.retain(|key| seen.is_new(key));
        if std::mem::take(&mut first) {
            keys.push(IndexKey::new(IndexKind::Time, ""));
        }
        let counted = counts(source, keys.iter(), Some(head)).await?;
        let pairs: Vec<(IndexKey, u64)> = keys.into_iter().zip(counted).collect();
        for (_, mut difference) in compared.compare(taking.target, &pairs).await? {
            difference.not_taken = difference.source.saturating_sub(difference.target);
            taking.report.total_differences += 1;
            if taking.report.differences.len() < Report::MAX_DIFFERENCES {
                taking.report.differences.push(difference);
            }
        }
        progress(Phase::Comparing, compared.keys, None);
    }
    compared.tell(&mut taking.report);
    Ok(())
}

async fn stays_behind(source: &dyn Stores) -> Result<Option<StayedBehind>, MigrateError> {
    let letters = source.count_dead_letters().await?;
    let unsettled = [DeadLetterState::Open, DeadLetterState::Redriving];
    let letters = letters.iter().filter(|count| unsettled.contains(&count.state));
    let left = StayedBehind {
        groups: source.groups().await?.len() as u64,
        dead_letters: letters.map(|count| count.count).sum(),
        scheduled: source.next_due().await?.is_some(),
    };
    Ok((left != StayedBehind::default()).then_some(left))
}
