//! Trimming: which events a rule lets go, a page at a time, the oldest first.

use std::{ops::ControlFlow, sync::Arc};

use domain::{
    Cursor, Filter, RetentionRule,
    ports::{EventStoreError, Order, TrimRequest, Trimmed},
};
use rusqlite::Connection;

use crate::{
    cursor,
    read::{self, Range},
    remove::remove,
    state::{State, micros},
    store::SqliteStore,
};

/// Trims, or counts what would go.
pub(crate) async fn trim(store: &SqliteStore, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
    if request.rule.is_empty() {
        return Ok(Trimmed::default());
    }
    let bounds = Bounds::of(store, &request.rule, &request.holds).await?;
    let mut trimmed = Trimmed::default();
    if request.dry_run {
        let mut low = Some(1);
        let mut progress = Progress::default();
        while let Some(from) = low {
            let (bounds, before) = (bounds.clone(), progress);
            let (page, after, next) = store
                .reading(move |connection, state| bounds.select(connection, state, from, usize::MAX, before))
                .await?;
            trimmed.events += page.positions.len() as u64;
            trimmed.bytes += after.bytes - before.bytes;
            trimmed.held_by = trimmed.held_by.or(page.held_by);
            (progress, low) = (after, next);
        }
        return Ok(trimmed);
    }
    let limit = request.limit.max(1);
    let (removed, more, held_by) = store
        .writer()
        .await?
        .transact(move |transaction, state, kinds| {
            let mut positions = Vec::new();
            let (mut low, mut progress, mut held_by) = (Some(1), Progress::default(), None);
            // One more than may go in this call tells whether another call has work.
            while let Some(from) = low.filter(|_| positions.len() <= limit) {
                let (page, after, next) = bounds
                    .select(transaction, state, from, limit + 1 - positions.len(), progress)
                    .map_err(|error| match error {
                        EventStoreError::Storage(failure) => failure,
                        other => domain::StorageFailure::Other(other.to_string()),
                    })?;
                positions.extend(page.positions);
                held_by = held_by.or(page.held_by);
                (progress, low) = (after, next);
            }
            let more = positions.len() > limit;
            positions.truncate(limit);
            let removed = remove(transaction, state, kinds, &positions, |_| Ok(()))?;
            state.trimmed = state.trimmed.max(positions.last().copied().unwrap_or(0));
            Ok((removed, more, held_by))
        })
        .await?;
    Ok(Trimmed { events: removed.events, bytes: removed.bytes, more, held_by })
}

/// A rule's bounds as they were when the call began.
#[derive(Debug, Clone)]
struct Bounds {
    filter: Arc<Filter>,
    /// Events stored before this are too old, in microseconds.
    stored_before: Option<i64>,
    /// This many of the oldest are too many.
    excess_events: u64,
    /// The oldest go until this many bytes went.
    excess_bytes: u64,
    /// Everything up to here goes.
    through: u64,
    /// Everything after this stays, and for whom.
    hold: Option<(u64, String)>,
}

/// What went before, over all pages of one pass.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    events: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Selected {
    positions: Vec<u64>,
    held_by: Option<String>,
}

impl Bounds {
    async fn of(
        store: &SqliteStore,
        rule: &RetentionRule,
        holds: &[domain::Hold],
    ) -> Result<Self, EventStoreError> {
        let filter = Arc::new(Filter { types: rule.types.clone(), ..Filter::default() });
        let held: Vec<(Cursor, String)> =
            holds.iter().map(|hold| (hold.mark.clone(), hold.holder.clone())).collect();
        let through = rule.through.clone();
        let (through, hold) = store
            .reading(move |connection, state| resolve_marks(connection, state, through.as_ref(), held))
            .await?;
        let excess_events = match rule.max_events {
            Some(keep) => crate::count::count(store, &filter, None).await?.saturating_sub(keep),
            None => 0,
        };
        let excess_bytes = match rule.max_bytes {
            Some(keep) => total_bytes(store, &filter).await?.saturating_sub(keep),
            None => 0,
        };
        let stored_before = rule.stored_before(store.clock().now()).map(micros);
        Ok(Self { filter, stored_before, excess_events, excess_bytes, through, hold })
    }

    /// The positions that go, from `low` on, at most `limit` of them; how far the pass has come; where it goes on.
    fn select(
        &self,
        connection: &Connection,
        state: &State,
        low: u64,
        limit: usize,
        mut progress: Progress,
    ) -> Result<(Selected, Progress, Option<u64>), EventStoreError> {
        let mut selected = Selected::default();
        let mut finished = false;
        let range = Range { order: Order::OldestFirst, low, high: state.head };
        let stopped = read::walk(connection, state, &self.filter, range, |row| {
            let matches = match &row.event {
                Ok(event) => self.filter.matches(event),
                // A damaged event is nobody's type; it goes with the rules for all.
                Err(_) => self.filter.is_everything(),
            };
            if !matches {
                return ControlFlow::Continue(());
            }
            let too_old = self.stored_before.is_some_and(|before| row.stored_at < before);
            let goes = too_old
                || progress.events < self.excess_events
                || progress.bytes < self.excess_bytes
                || row.seq <= self.through;
            // Stored times and positions rise together: what stays is followed by what stays.
            finished = !goes;
            if let Some((_, holder)) = self.hold.as_ref().filter(|(mark, _)| goes && row.seq > *mark) {
                selected.held_by = Some(holder.clone());
                finished = true;
            }
            if finished {
                return ControlFlow::Break(());
            }
            progress.events += 1;
            progress.bytes += row.event.as_ref().map_or(0, |event| event.size_bytes() as u64);
            selected.positions.push(row.seq);
            if selected.positions.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let next = stopped.filter(|seq| !finished && *seq < state.head).map(|seq| seq + 1);
        Ok((selected, progress, next))
    }
}

type Hold = Option<(u64, String)>;

fn resolve_marks(
    connection: &Connection,
    state: &State,
    through: Option<&Cursor>,
    holds: Vec<(Cursor, String)>,
) -> Result<(u64, Hold), EventStoreError> {
    let through = through.map_or(Ok(0), |through| cursor::resolve(connection, state, through))?;
    let mut lowest: Hold = None;
    for (mark, holder) in holds {
        let seq = cursor::resolve(connection, state, &mark)?;
        if lowest.as_ref().is_none_or(|(low, _)| seq < *low) {
            lowest = Some((seq, holder));
        }
    }
    Ok((through, lowest))
}

/// Bytes of the events that match.
async fn total_bytes(store: &SqliteStore, filter: &Arc<Filter>) -> Result<u64, EventStoreError> {
    let mut total = 0;
    let mut next = Some(1);
    while let Some(low) = next {
        let wanted = filter.clone();
        let (bytes, after) = store
            .reading(move |connection, state| {
                if wanted.is_everything() {
                    return Ok::<_, EventStoreError>((state.bytes, None));
                }
                let mut bytes = 0;
                let range = Range { order: Order::OldestFirst, low, high: state.head };
                let stopped = read::walk(connection, state, &wanted, range, |row| {
                    if let Ok(event) = row.event
                        && wanted.matches(&event)
                    {
                        bytes += event.size_bytes() as u64;
                    }
                    ControlFlow::Continue(())
                })?;
                Ok((bytes, stopped.map(|seq| seq + 1)))
            })
            .await?;
        total += bytes;
        next = after;
    }
    Ok(total)
}
