//! Appending: decide on every event of a batch first, then store what may be stored.

use std::collections::HashMap;

use domain::{
    Event,
    ports::{AppendOutcome, Atomicity, EventStoreError},
};
use jiff::Timestamp;

use crate::state::{State, position};

/// Most events of one batch.
pub const MAX_BATCH_EVENTS: usize = 100_000;
/// Most bytes of one batch, counted as the events' JSON.
pub const MAX_BATCH_BYTES: usize = 256 * 1024 * 1024;

pub(crate) fn append(
    state: &mut State,
    batch: &[Event],
    atomicity: Atomicity,
    now: Timestamp,
) -> Result<Vec<AppendOutcome>, EventStoreError> {
    let bytes: usize = batch.iter().map(Event::size_bytes).sum();
    if batch.len() > MAX_BATCH_EVENTS || bytes > MAX_BATCH_BYTES {
        return Err(EventStoreError::BatchTooLarge {
            max_events: MAX_BATCH_EVENTS,
            max_bytes: MAX_BATCH_BYTES,
        });
    }
    Ok(store(state, batch, atomicity, now))
}

/// Stores a batch that is within the limits.
pub(crate) fn store(
    state: &mut State,
    batch: &[Event],
    atomicity: Atomicity,
    now: Timestamp,
) -> Vec<AppendOutcome> {
    let mut outcomes = decide(state, batch);
    let refused =
        |outcome: &AppendOutcome| matches!(outcome, AppendOutcome::Conflict(_) | AppendOutcome::Erased);
    if atomicity == Atomicity::AllOrNothing && outcomes.iter().any(refused) {
        withdraw(state, &mut outcomes);
        return outcomes;
    }
    for (event, outcome) in batch.iter().zip(&outcomes) {
        if matches!(outcome, AppendOutcome::Stored(_)) {
            state.push(event.clone(), now);
        }
    }
    outcomes
}

/// What becomes of each event if all that is well is stored.
fn decide(state: &State, batch: &[Event]) -> Vec<AppendOutcome> {
    let mut next = state.last;
    let mut in_batch: HashMap<&str, (&Event, u64)> = HashMap::new();
    let decide_one = |event| {
        if state.tombstones.contains(Event::id(event)) {
            return AppendOutcome::Erased;
        }
        let stored = state.index.id(event.id()).and_then(|at| Some((&state.log.get(&at)?.event, at)));
        match stored.or_else(|| in_batch.get(event.id()).copied()) {
            Some((first, at)) if first.same_content(event) => AppendOutcome::AlreadyStored(position(at)),
            Some((_, at)) => AppendOutcome::Conflict(position(at)),
            None => {
                next += 1;
                in_batch.insert(event.id(), (event, next));
                AppendOutcome::Stored(position(next))
            }
        }
    };
    batch.iter().map(decide_one).collect()
}

/// Nothing of the batch is stored: neither what would have been, nor what repeats it within the batch.
fn withdraw(state: &State, outcomes: &mut [AppendOutcome]) {
    for outcome in outcomes {
        match outcome {
            AppendOutcome::Stored(_) => *outcome = AppendOutcome::NotStored,
            AppendOutcome::AlreadyStored(at) if at.sequence > state.last => {
                *outcome = AppendOutcome::NotStored;
            }
            _ => {}
        }
    }
}
