//! Bounds of a selection by events: the events after one event, up to another.
//!
//! An event bounds the log in the order in which every reader gets it: by stored time, then by partition. So in a log of
//! several partitions, one event is a bound in all of them.

use std::{cmp::Ordering, sync::Arc};

use domain::{
    Cursor, Filter, Position,
    ports::{EventStore, Order, ReadRequest, StoreInfo},
};
use jiff::Timestamp;

use super::{
    error::{AppError, InvalidRequest, NotFound},
    position::search,
};
use crate::handle::StoreHandle;

/// Bounds by events, each named by its id or by a position such as `0:17`. A position may be that of a removed event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoundsRequest {
    /// The event after which the selection begins (exclusive).
    pub after: Option<String>,
    /// The event at which the selection ends (inclusive).
    pub until: Option<String>,
}

/// Bounds as marks in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The mark after which the selection begins (exclusive).
    pub after: Option<Cursor>,
    /// The mark at which the selection ends (inclusive).
    pub until: Option<Cursor>,
}

impl Bounds {
    /// Returns whether the bounds exclude no event.
    pub fn is_empty(&self) -> bool {
        self.after.is_none() && self.until.is_none()
    }
}

impl BoundsRequest {
    /// Returns whether the request names no event.
    pub fn is_empty(&self) -> bool {
        self.after.is_none() && self.until.is_none()
    }

    /// Finds the events in the log, and returns their marks.
    ///
    /// # Errors
    /// Returns [`AppError`] when an event or a position does not exist, when no event can be between the two, or when
    /// the store fails.
    pub async fn resolve(&self, store: &StoreHandle) -> Result<Bounds, AppError> {
        if self.is_empty() {
            return Ok(Bounds::default());
        }
        let info = store.info().await?;
        let bounds = Bounds {
            after: mark_of(&**store.ports(), &info, self.after.as_deref()).await?,
            until: mark_of(&**store.ports(), &info, self.until.as_deref()).await?,
        };
        if let (Some(from), Some(to)) = (&bounds.after, &bounds.until)
            && from.reaches(to)
        {
            let named = |text: &Option<String>| text.clone().unwrap_or_default();
            let (after, until) = (named(&self.after), named(&self.until));
            return Err(InvalidRequest::EmptyBounds { after, until }.into());
        }
        Ok(bounds)
    }
}

/// Returns the mark of the event that a text names.
async fn mark_of(
    events: &dyn EventStore,
    info: &StoreInfo,
    text: Option<&str>,
) -> Result<Option<Cursor>, AppError> {
    let Some(text) = text else { return Ok(None) };
    let found = events.get(&[text.to_owned()]).await?;
    let (position, stored_at) = match found.as_slice() {
        [one] => (one.position, one.stored_at),
        [] => at_position(events, info, text).await?,
        several => {
            let positions = several.iter().map(|stored| stored.position.to_string()).collect();
            return Err(InvalidRequest::AmbiguousEvent { id: text.to_owned(), positions }.into());
        }
    };
    cut(events, info, position, stored_at).await.map(Some)
}

/// Parses a position, and returns it with the stored time of the newest readable event at or before it in its partition.
async fn at_position(
    events: &dyn EventStore,
    info: &StoreInfo,
    text: &str,
) -> Result<(Position, Timestamp), AppError> {
    let Ok(position) = text.parse::<Position>() else {
        return Err(NotFound::Event { id: text.to_owned() }.into());
    };
    if !(1..=info.head.sequence(position.partition)).contains(&position.sequence) {
        let head = (0u16..).zip(&info.head.sequences).map(|(partition, head)| format!("{partition}:{head}"));
        return Err(NotFound::Position { position, head: head.collect() }.into());
    }
    let mut mark = info.head.clone();
    for (partition, sequence) in (0u16..).zip(&mut mark.sequences) {
        *sequence = if partition == position.partition { position.sequence } else { 0 };
    }
    let mut request = ReadRequest {
        filter: Arc::new(Filter::default()),
        order: Order::NewestFirst,
        after: None,
        until: Some(mark),
        limit: 1,
    };
    loop {
        let page = events.read(&request).await?;
        match (page.events.first(), page.next) {
            (Some(stored), _) => return Ok((position, stored.stored_at)),
            (None, Some(next)) => request.after = Some(next),
            // Without an event at or before the position, no event of another partition is known to be before it.
            (None, None) => return Ok((position, Timestamp::MIN)),
        }
    }
}

/// Returns the cursor that covers a position and every event before it in log order. Stored times never fall within a
/// partition, so a binary search finds the place in each other partition.
async fn cut(
    events: &dyn EventStore,
    info: &StoreInfo,
    position: Position,
    stored_at: Timestamp,
) -> Result<Cursor, AppError> {
    let own = usize::from(position.partition);
    let mut sequences = Vec::with_capacity(info.head.sequences.len());
    for partition in 0..info.head.sequences.len() {
        sequences.push(match partition.cmp(&own) {
            Ordering::Less => search(events, info, partition, 0, |at| at <= stored_at).await?,
            Ordering::Equal => position.sequence,
            Ordering::Greater => search(events, info, partition, 0, |at| at < stored_at).await?,
        });
    }
    Ok(Cursor::new(info.head.store, info.head.epoch, sequences))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use domain::{
        Document, Limits,
        ports::{Atomicity, Clock, RetentionMode},
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

    async fn append(store: &Store, id: usize) {
        let json = format!(
            r#"{{"id":"e{id}","type":"t","version":"1","timestamp":"2020-01-01T00:00:00Z","source":"s","userId":"u{id}","metadata":{{}}}}"#
        );
        let event = Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
        store.append(&[event], Atomicity::Each).await.unwrap();
    }

    async fn ids(store: &Store, after: Option<Cursor>, until: Option<Cursor>) -> Vec<String> {
        let mut request = ReadRequest { after, until, ..ReadRequest::new(Filter::default(), 100) };
        let mut ids = Vec::new();
        loop {
            let page = store.read(&request).await.unwrap();
            ids.extend(page.events.iter().map(|stored| stored.event.id().to_owned()));
            match page.next {
                Some(next) => request.after = Some(next),
                None => return ids,
            }
        }
    }

    /// Each event cuts the list of all events at its own place, also where several events have one stored time.
    async fn every_event_cuts_the_log_at_its_place(store: &Store, clock: &Hand) {
        for id in 0..23 {
            if id % 3 == 0 {
                *clock.0.lock().unwrap() += SignedDuration::from_secs(10);
            }
            append(store, id).await;
        }
        let info = store.info().await.unwrap();
        let all = ids(store, None, None).await;
        assert_eq!(all.len(), 23);
        for (at, id) in all.iter().enumerate() {
            let mark = mark_of(store, &info, Some(id)).await.unwrap();
            assert_eq!(ids(store, None, mark.clone()).await, all[..=at], "until {id}");
            assert_eq!(ids(store, mark.clone(), None).await, all[at + 1..], "after {id}");
            let position = store.get(std::slice::from_ref(id)).await.unwrap()[0].position.to_string();
            assert_eq!(mark_of(store, &info, Some(&position)).await.unwrap(), mark);
        }
    }

    fn hand() -> Arc<Hand> {
        Arc::new(Hand(Mutex::new("2024-01-15T10:00:00Z".parse().unwrap())))
    }

    #[tokio::test]
    async fn an_event_cuts_a_log_of_one_partition() {
        let clock = hand();
        every_event_cuts_the_log_at_its_place(&Store::new(MemoryEngine::new(clock.clone())), &clock).await;
    }

    #[tokio::test]
    async fn an_event_cuts_a_log_of_four_partitions() {
        let clock = hand();
        let engine = MemoryEngine::partitioned(clock.clone(), RetentionMode::History, 4);
        every_event_cuts_the_log_at_its_place(&Store::new(engine), &clock).await;
    }

    #[tokio::test]
    async fn an_unknown_event_and_a_position_after_the_head_are_errors() {
        let store = Store::new(MemoryEngine::new(hand()));
        append(&store, 0).await;
        let info = store.info().await.unwrap();
        let error = async |text: &str| mark_of(&store, &info, Some(text)).await.unwrap_err().to_string();
        assert_eq!(error("e9").await, r#"no event has the id "e9""#);
        assert_eq!(error("0:2").await, "there is no position 0:2; the log ends at 0:1");
        assert_eq!(error("3:1").await, "there is no position 3:1; the log ends at 0:1");
        assert_eq!(error("0:0").await, "there is no position 0:0; the log ends at 0:1");
    }
}
