//! Positions in the log by name: `start`, `head`, a checkpoint, or a time.

use std::sync::Arc;

use domain::{
    Cursor, Filter,
    ports::{EventStore, Order, ReadRequest, StoreInfo},
};
use jiff::Timestamp;

use super::{
    checkpoints,
    error::{AppError, NotFound},
};
use crate::{handle::StoreHandle, text::time};

/// Events per step of a search. If the event is damaged, the next step reads further.
const STEP: usize = 1;

/// Resolves the name of a position, in log order:
///
/// - `start`: before the oldest remaining event;
/// - `head`: after the newest event;
/// - a checkpoint, by name or id: its mark;
/// - a time: before the first event that was *stored* then or later, or after the newest event if there is none.
///
/// # Errors
/// Returns [`AppError`] when the text does not name a position, or when the store fails.
pub async fn mark_at(store: &StoreHandle, text: &str) -> Result<Cursor, AppError> {
    let info = store.info().await?;
    match text {
        "start" => return Ok(start(&info)),
        "head" => return Ok(info.head),
        _ => {}
    }
    if let Some(checkpoint) = store.find_checkpoint(text).await? {
        // A mark of another store or of a lost position is refused here, before it is used.
        let everything = Arc::new(Filter::default());
        store
            .count(&everything, Some(&checkpoint.mark))
            .await
            .map_err(|error| AppError::Mark { checkpoint: checkpoint.name.clone(), error })?;
        return Ok(checkpoint.mark);
    }
    match time::point(text) {
        Ok(instant) => at_time(&**store.ports(), &info, instant).await,
        Err(_) => {
            let near = checkpoints::near(store, text).await?;
            Err(NotFound::Place { text: text.to_owned(), near }.into())
        }
    }
}

fn start(info: &StoreInfo) -> Cursor {
    Cursor::new(info.head.store, info.head.epoch, info.trimmed_through.clone())
}

/// Stored times never fall within a partition, so a binary search finds the position in each partition.
async fn at_time(events: &dyn EventStore, info: &StoreInfo, instant: Timestamp) -> Result<Cursor, AppError> {
    let mut mark = start(info);
    for partition in 0..info.head.sequences.len() {
        let low = info.trimmed_through.get(partition).copied().unwrap_or(0);
        let sequence = search(events, info, partition, low, |stored_at| stored_at < instant).await?;
        if let Some(place) = mark.sequences.get_mut(partition) {
            *place = sequence;
        }
    }
    Ok(mark)
}

/// Returns the sequence of the last event of a partition whose stored time is before a bound. Without such an event,
/// returns `low`, the sequence at which the search begins. `is_before` says whether a stored time is before the bound.
pub(super) async fn search(
    events: &dyn EventStore,
    info: &StoreInfo,
    partition: usize,
    low: u64,
    is_before: impl Fn(Timestamp) -> bool,
) -> Result<u64, AppError> {
    let (mut low, mut high) = (low, info.head.sequences.get(partition).copied().unwrap_or(0));
    // Invariant: every event up to `low` is before the bound, and no event after `high` is.
    while low < high {
        let middle = low + (high - low) / 2;
        match first_after(events, info, partition, middle).await? {
            Some((sequence, stored_at)) if is_before(stored_at) => low = sequence,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Returns the first readable event of a partition after a sequence.
async fn first_after(
    events: &dyn EventStore,
    info: &StoreInfo,
    partition: usize,
    sequence: u64,
) -> Result<Option<(u64, Timestamp)>, AppError> {
    // Every other partition starts at its head, so the read returns only events of this partition.
    let mut after = info.head.clone();
    if let Some(place) = after.sequences.get_mut(partition) {
        *place = sequence;
    }
    let mut request = ReadRequest {
        filter: Arc::new(Filter::default()),
        order: Order::OldestFirst,
        after: Some(after),
        until: Some(info.head.clone()),
        limit: STEP,
    };
    loop {
        let page = events.read(&request).await?;
        if let Some(stored) = page.events.first() {
            return Ok(Some((stored.position.sequence, stored.stored_at)));
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use domain::{
        Document, Limits, RetentionRule,
        ports::{Atomicity, Clock, GroupHolds, TrimRequest},
    };
    use jiff::SignedDuration;
    use storage_memory::MemoryEngine;
    use store::Store;

    use super::*;

    #[derive(Debug)]
    struct Hand(Mutex<Timestamp>);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    impl Hand {
        fn forward(&self, seconds: i64) -> Timestamp {
            let mut now = self.0.lock().unwrap();
            *now += SignedDuration::from_secs(seconds);
            *now
        }
    }

    async fn append(store: &Store, id: usize) {
        let json = format!(
            r#"{{"id":"e{id}","type":"t","version":"1","timestamp":"2020-01-01T00:00:00Z","source":"s","metadata":{{}}}}"#
        );
        let event = Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
        store.append(&[event], Atomicity::Each).await.unwrap();
    }

    #[tokio::test]
    async fn a_time_is_the_place_before_the_first_event_that_was_stored_then_or_later() {
        let clock = Arc::new(Hand(Mutex::new("2024-01-15T10:00:00Z".parse().unwrap())));
        let store = Store::new(MemoryEngine::new(clock.clone()));
        let mut stored_at = vec![];
        for id in 0..37 {
            // Several events at one instant, then a pause.
            stored_at.push(clock.forward(if id % 3 == 0 { 10 } else { 0 }));
            append(&store, id).await;
        }
        let request = TrimRequest {
            rule: RetentionRule { max_events: Some(30), ..RetentionRule::default() },
            holds: vec![],
            limit: 100,
            dry_run: false,
            groups: GroupHolds { forgotten_after: Duration::ZERO, max_hold: None },
        };
        assert_eq!(store.trim(&request).await.unwrap().events, 7);
        let info = store.info().await.unwrap();
        let first = stored_at[0];
        for seconds in -5..=140 {
            let instant = first + SignedDuration::from_secs(seconds);
            let earlier = stored_at.iter().filter(|time| **time < instant).count() as u64;
            let mark = at_time(&store, &info, instant).await.unwrap();
            assert_eq!(mark.sequences, [earlier.max(7)], "{instant}");
        }
    }
}
