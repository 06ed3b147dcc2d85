//! Trimming: which events a rule lets go, a page at a time, the oldest first.

use std::{ops::ControlFlow, sync::Arc};

use domain::{
    Cursor, Filter, RetentionRule, StorageFailure,
    ports::{EventStoreError, GroupHolds, Keeps, Order, TrimRequest, Trimmed},
};
use rusqlite::Connection;

use crate::{
    cursor,
    holds::{self, Hold, Holds},
    read::{self, Range},
    remove::remove,
    state::{State, earlier, from_micros, micros},
    store::SqliteStore,
    terms::Kinds,
};

/// Trims, or counts what would go.
pub(crate) async fn trim(store: &SqliteStore, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
    if request.rule.is_empty() && keeps(store).await? == Keeps::History {
        return Ok(Trimmed::default());
    }
    if request.dry_run {
        return count_what_would_go(store, request).await;
    }
    loop {
        // Counting what is too much may take a while, so it is done outside the transaction. What others append
        // meanwhile only makes it too little; what others remove would be removed twice, so then it is counted anew.
        let bounds = Bounds::of(store, request).await?;
        let limit = request.limit.max(1);
        let done = store
            .writer()
            .await?
            .transact(move |transaction, state, kinds| {
                if bounds.are_outdated(state) {
                    return Ok(None);
                }
                bounds.trim(transaction, state, kinds, limit).map(Some)
            })
            .await?;
        if let Some(trimmed) = done {
            return Ok(trimmed);
        }
    }
}

async fn keeps(store: &SqliteStore) -> Result<Keeps, EventStoreError> {
    store.reading(|_, state| Ok(state.keeps)).await
}

async fn count_what_would_go(store: &SqliteStore, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
    let bounds = Bounds::of(store, request).await?;
    let mut trimmed = Trimmed::default();
    let mut low = Some(1);
    let mut progress = Progress::default();
    while let Some(from) = low {
        let (bounds, before) = (bounds.clone(), progress);
        let (page, after, next) = store
            .reading(move |connection, state| {
                let holds = bounds.holds(connection, state)?;
                Ok::<_, EventStoreError>(bounds.select(
                    connection,
                    state,
                    &holds,
                    from,
                    usize::MAX,
                    before,
                )?)
            })
            .await?;
        trimmed.events += page.positions.len() as u64;
        trimmed.bytes += after.bytes - before.bytes;
        trimmed.held_by = trimmed.held_by.or(page.held_by);
        (progress, low) = (after, next);
    }
    Ok(trimmed)
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
    /// The lowest of the caller's holds.
    hold: Option<Hold>,
    /// How far groups hold.
    groups: GroupHolds,
    /// When the call began, in microseconds.
    now: i64,
    /// The store when counting began.
    counted: State,
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
    async fn of(store: &SqliteStore, request: &TrimRequest) -> Result<Self, EventStoreError> {
        let held: Vec<(Cursor, String)> =
            request.holds.iter().map(|hold| (hold.mark.clone(), hold.holder.clone())).collect();
        let through = request.rule.through.clone();
        let (through, hold, counted) = store
            .reading(move |connection, state| {
                let through =
                    through.map_or(Ok(0), |through| cursor::resolve(connection, state, &through))?;
                let hold = holds::lowest(connection, state, None, held)?;
                Ok::<_, EventStoreError>((through, hold, state.clone()))
            })
            .await?;
        let mut bounds = Self {
            filter: Arc::new(Filter::default()),
            stored_before: None,
            excess_events: 0,
            excess_bytes: 0,
            through: 0,
            hold,
            groups: request.groups,
            now: store.now(),
            counted,
        };
        match bounds.counted.keeps {
            Keeps::History => {
                bounds.through = through;
                bounds.set_rule(store, &request.rule).await?;
            }
            // Nothing is kept for its own sake, and nothing goes before its id may be forgotten: rules say nothing here.
            Keeps::Deliveries => bounds.stored_before = Some(earlier(bounds.now, Keeps::DEDUP_WINDOW)),
        }
        Ok(bounds)
    }

    async fn set_rule(&mut self, store: &SqliteStore, rule: &RetentionRule) -> Result<(), EventStoreError> {
        self.filter = Arc::new(Filter { types: rule.types.clone(), ..Filter::default() });
        self.stored_before = rule.stored_before(from_micros(self.now)).map(micros);
        if let Some(keep) = rule.max_events {
            self.excess_events = crate::count::count(store, &self.filter, None).await?.saturating_sub(keep);
        }
        if let Some(keep) = rule.max_bytes {
            self.excess_bytes = total_bytes(store, &self.filter).await?.saturating_sub(keep);
        }
        Ok(())
    }

    /// Whether events were removed since counting began.
    fn are_outdated(&self, state: &State) -> bool {
        let appended = state.head.saturating_sub(self.counted.head);
        state.epoch != self.counted.epoch || state.events != self.counted.events + appended
    }

    fn trim(
        &self,
        connection: &Connection,
        state: &mut State,
        kinds: &mut Kinds,
        limit: usize,
    ) -> Result<Trimmed, StorageFailure> {
        let holds = self.holds(connection, state)?;
        let mut positions = Vec::new();
        let (mut low, mut progress, mut held_by) = (Some(1), Progress::default(), None);
        // One more than may go in this call tells whether another call has work.
        let wanted = limit.saturating_add(1);
        while let Some(from) = low.filter(|_| positions.len() < wanted) {
            let (page, after, next) =
                self.select(connection, state, &holds, from, wanted - positions.len(), progress)?;
            positions.extend(page.positions);
            held_by = held_by.or(page.held_by);
            (progress, low) = (after, next);
        }
        let more = positions.len() > limit;
        positions.truncate(limit);
        holds::record_gaps(connection, &positions, self.now)?;
        let removed = remove(connection, state, kinds, &positions, |_| Ok(()))?;
        state.trimmed = state.trimmed.max(positions.last().copied().unwrap_or(0));
        Ok(Trimmed { events: removed.events, bytes: removed.bytes, more, held_by })
    }

    /// What holds, the store's own checkpoints, replays and groups as they are now included: one that was saved while a
    /// trim was being prepared holds.
    fn holds(&self, connection: &Connection, state: &State) -> Result<Holds, StorageFailure> {
        holds::all(connection, state, self.hold.clone(), self.groups, self.now)
    }

    /// The positions that go, from `low` on, at most `limit` of them; how far the pass has come; where it goes on.
    fn select(
        &self,
        connection: &Connection,
        state: &State,
        holds: &Holds,
        low: u64,
        limit: usize,
        mut progress: Progress,
    ) -> Result<(Selected, Progress, Option<u64>), StorageFailure> {
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
            if goes && let Some(holder) = holds.holder(row.seq, row.stored_at) {
                selected.held_by = Some(holder.to_owned());
                finished = true;
            }
            if finished {
                return ControlFlow::Break(());
            }
            progress.events += 1;
            progress.bytes += row.bytes;
            selected.positions.push(row.seq);
            if selected.positions.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let next = stopped.filter(|seq| !finished && *seq < state.head).map(|seq| seq + 1);
        Ok((selected, progress, next))
    }
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
