//! Trimming: what a retention rule lets go and no hold keeps, the oldest first.

use domain::ports::{EventStoreError, Keeps, TrimRequest, Trimmed};
use jiff::Timestamp;

use crate::{
    holds,
    state::{State, earlier},
};

pub(crate) fn trim(
    state: &mut State,
    request: &TrimRequest,
    now: Timestamp,
) -> Result<Trimmed, EventStoreError> {
    let droppable = droppable(state, request, now)?;
    let hold = holds::smallest(state, request, now)?;
    let free =
        droppable.partition_point(|(sequence, _)| hold.as_ref().is_none_or(|(mark, _)| sequence <= mark));
    let held_by = hold.filter(|_| free < droppable.len()).map(|(_, holder)| holder);
    let count = if request.dry_run { free } else { free.min(request.limit.max(1)) };
    let going = droppable.get(..count).unwrap_or_default();
    let trimmed = Trimmed {
        events: going.len() as u64,
        bytes: going.iter().map(|(_, bytes)| bytes).sum(),
        more: count < free,
        held_by,
    };
    if !request.dry_run {
        let going: Vec<u64> = going.iter().map(|(sequence, _)| *sequence).collect();
        holds::record_gaps(state, &going, now);
        for sequence in going {
            state.remove(sequence);
            state.trimmed_through = state.trimmed_through.max(sequence);
        }
    }
    Ok(trimmed)
}

/// The events that the rule says may go, as (sequence, bytes), the oldest first.
fn droppable(
    state: &State,
    request: &TrimRequest,
    now: Timestamp,
) -> Result<Vec<(u64, u64)>, EventStoreError> {
    let rule = &request.rule;
    let through = rule.through.as_ref().map(|mark| state.sequence_of(mark)).transpose()?;
    let stored_before = rule.stored_before(now);
    let in_rule = |event_type: &str| {
        rule.types.is_empty() || rule.types.iter().any(|pattern| pattern.matches(event_type))
    };
    // Where nothing is kept but for delivery, what no group holds goes after a time, whatever the rule says: an id must
    // be known that long.
    let delivered_before = match state.keeps {
        Keeps::History => None,
        Keeps::Deliveries => earlier(now, Keeps::DEDUP_WINDOW),
    };
    let (mut newer_events, mut newer_bytes) = (0, 0);
    let mut droppable = Vec::new();
    for (sequence, entry) in state.log.iter().rev() {
        let bytes = entry.event.size_bytes() as u64;
        let mut goes = delivered_before.is_some_and(|instant| entry.stored_at < instant);
        if state.keeps == Keeps::History && in_rule(entry.event.event_type()) {
            newer_events += 1;
            newer_bytes += bytes;
            goes |= through.is_some_and(|mark| *sequence <= mark)
                || stored_before.is_some_and(|instant| entry.stored_at < instant)
                || rule.max_events.is_some_and(|most| newer_events > most)
                || rule.max_bytes.is_some_and(|most| newer_bytes > most);
        }
        if goes {
            droppable.push((*sequence, bytes));
        }
    }
    droppable.reverse();
    Ok(droppable)
}
