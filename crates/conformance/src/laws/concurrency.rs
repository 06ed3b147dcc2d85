//! Laws of many concurrent writers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use domain::{
    Event, Filter, Position,
    ports::{AppendOutcome, Atomicity, EventStoreError, ReadRequest},
};
use tokio::task::JoinSet;

use super::support::{by_partition, rise};
use crate::{Bench, Draft, Harness, Stores, json_of};

const WRITERS: usize = 8;
const BATCHES: usize = 10;
const BATCH: usize = 5;

/// Appends a batch and retries while the store is busy.
async fn append(store: &dyn Stores, batch: &[Event]) -> Vec<AppendOutcome> {
    loop {
        match store.append(batch, Atomicity::Each).await {
            Ok(outcomes) => return outcomes,
            Err(EventStoreError::Storage(domain::StorageFailure::Busy { .. })) => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("append: {error}"),
        }
    }
}

/// Starts eight writers on two handles. Each writer returns the positions of its events.
async fn write(bench: &Bench) -> JoinSet<Vec<Position>> {
    let handles = [bench.store.clone(), bench.storage.open().await];
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = handles[writer % handles.len()].clone();
        writers.spawn(async move {
            let mut positions = Vec::new();
            for batch in 0..BATCHES {
                let events = Draft::many(&format!("w{writer}-b{batch}"), BATCH);
                for outcome in append(&*store, &events).await {
                    let AppendOutcome::Stored(position) = outcome else { panic!("{outcome:?}") };
                    positions.push(position);
                }
            }
            positions
        });
    }
    writers
}

/// Positions are unique and rise for every writer. Every acknowledged event is readable.
pub async fn eight_writers_take_unique_rising_positions(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let answered = write(&bench).await.join_all().await;
    let mut all = BTreeSet::new();
    for positions in &answered {
        assert!(rise(positions), "{positions:?}");
        for batch in positions.chunks(BATCH) {
            // In each partition, the events of one call are adjacent.
            let mut newest: BTreeMap<u16, u64> = BTreeMap::new();
            for position in batch {
                let before = newest.insert(position.partition, position.sequence);
                assert!(before.is_none_or(|before| before + 1 == position.sequence), "{batch:?}");
            }
        }
        all.extend(positions.iter().copied());
    }
    assert_eq!(all.len(), WRITERS * BATCHES * BATCH);
    let read: Vec<Position> =
        bench.all(Filter::default()).await.iter().map(|stored| stored.position).collect();
    assert!(rise(&read), "{read:?}");
    assert_eq!(BTreeSet::from_iter(read), all);
    bench.verify_is_clean().await;
}

/// Events become visible in the order of their positions. A reader that follows the head during writes sees each event
/// once, in log order.
pub async fn a_tailing_reader_misses_nothing_of_eight_writers(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let reader = bench.storage.open().await;
    let mut reached = reader.head().await.unwrap();
    let mut writers = write(&bench).await;
    let mut seen = Vec::new();
    while seen.len() < WRITERS * BATCHES * BATCH {
        let head = reader.changed(&reached, Duration::from_secs(30)).await.unwrap();
        assert_ne!(head, reached, "{} events came, then none", seen.len());
        let mut request = ReadRequest::new(Filter::default(), 7);
        request.after = Some(reached);
        request.until = Some(head.clone());
        loop {
            let page = reader.read(&request).await.unwrap();
            seen.extend(page.events);
            let Some(next) = page.next else { break };
            request.after = Some(next);
        }
        reached = head;
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let log = bench.all(Filter::default()).await;
    assert_eq!(by_partition(&seen), by_partition(&log));
}

/// If eight writers append the same event, one writer stores it. The others get its position.
pub async fn eight_writers_of_one_event_store_it_once(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let outcomes = race(&bench, |_| Draft::new("same").event()).await;
    let stored: Vec<Position> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            AppendOutcome::Stored(position) => Some(*position),
            _ => None,
        })
        .collect();
    let [position] = stored[..] else { panic!("{outcomes:?}") };
    let again = outcomes.iter().filter(|outcome| **outcome == AppendOutcome::AlreadyStored(position));
    assert_eq!(again.count(), WRITERS - 1, "{outcomes:?}");
    assert_eq!(bench.count(Filter::default()).await, 1);
}

/// If eight writers append eight contents under one id, one writer stores its event. The others get a conflict.
pub async fn eight_writers_of_other_contents_leave_one_event(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let outcomes = race(&bench, |writer| Draft::new("same").with("data", writer).event()).await;
    let winner = outcomes.iter().position(|outcome| matches!(outcome, AppendOutcome::Stored(_))).unwrap();
    let conflicts = outcomes.iter().filter(|outcome| matches!(outcome, AppendOutcome::Conflict(_)));
    assert_eq!(conflicts.count(), WRITERS - 1, "{outcomes:?}");
    let expected = Draft::new("same").with("data", winner).json();
    assert_eq!(json_of(&bench.all(Filter::default()).await), [expected]);
}

/// Returns the outcomes of eight writers of one event each, in the order of the writers.
async fn race(bench: &Bench, event: impl Fn(usize) -> Event) -> Vec<AppendOutcome> {
    let handles = [bench.store.clone(), bench.storage.open().await];
    let start = Arc::new(tokio::sync::Barrier::new(WRITERS));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, start, event) = (handles[writer % handles.len()].clone(), start.clone(), event(writer));
        writers.spawn(async move {
            start.wait().await;
            (writer, append(&*store, &[event]).await[0])
        });
    }
    let mut outcomes = writers.join_all().await;
    outcomes.sort_by_key(|(writer, _)| *writer);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}
