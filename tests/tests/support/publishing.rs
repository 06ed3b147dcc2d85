//! Publishers that never give up: they repeat each event until it is answered, and record every answer.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bus::{Bus, Published};
use domain::{
    Document, Event, Limits, StorageFailure,
    ports::{AppendOutcome, Atomicity, EventStore, EventStoreError},
};
use fastrand::Rng;
use store::Store;
use tokio::sync::watch;

use super::acknowledged::Ledger;

fn json(publisher: usize, n: u64) -> String {
    let (kind, user, filler) = (n % 5, n % 17, "x".repeat((n * 37 % 600) as usize));
    format!(
        r#"{{"id":"p{publisher}-{n}","type":"kill.test{kind}","version":"1.0","timestamp":"2026-01-01T00:00:00Z","source":"p{publisher}","userId":"u{user}","correlationId":"c{publisher}-{}","metadata":{{}},"data":{{"filler":"{filler}"}}}}"#,
        n / 7
    )
}

pub(crate) fn event(publisher: usize, n: u64) -> Event {
    let document = Document::parse(json(publisher, n).as_bytes(), &Limits::default()).unwrap();
    document.into_event().unwrap()
}

/// The state that publishers and the test share.
pub(crate) struct Shared {
    pub(crate) ledger: Mutex<Ledger>,
    /// Whether publishers work, pause or stop.
    pub(crate) gate: watch::Sender<Gate>,
    /// Ids of the events that consumers have handled.
    pub(crate) handled: Mutex<HashSet<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Shut,
    Over,
}

impl Shared {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the gate is not shut. Returns whether publishers may work.
    async fn passes(&self) -> bool {
        let mut gate = self.gate.subscribe();
        *gate.wait_for(|gate| *gate != Gate::Shut).await.unwrap() == Gate::Open
    }
}

/// Appends batches, and repeats each batch until it is answered.
pub(crate) async fn append_batches(store: Store, shared: Arc<Shared>, publisher: usize, mut rng: Rng) {
    let mut next = 0;
    while shared.passes().await {
        let size = if rng.bool() { rng.u64(1..=5) } else { rng.u64(1..=80) };
        let batch: Vec<Event> = (next..next + size).map(|n| event(publisher, n)).collect();
        next += size;
        let outcomes = loop {
            shared.ledger().ask(publisher);
            let failure = match store.append(&batch, Atomicity::Each).await {
                Ok(outcomes) => break outcomes,
                Err(EventStoreError::Storage(failure)) => failure,
                Err(other) => panic!("{other}"),
            };
            let refused = match failure {
                StorageFailure::Unknown(_) => false,
                StorageFailure::Unavailable(_) | StorageFailure::Busy { .. } => true,
                other => panic!("publisher {publisher}: {other:?}"),
            };
            let ids = batch.iter().map(|event| event.id().to_owned()).collect();
            shared.ledger().park(publisher, ids, refused);
            if !shared.passes().await {
                return;
            }
            // The gate may still be open, because the server was killed a moment ago.
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let mut stored = Vec::new();
        let mut again = Vec::new();
        for (event, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                AppendOutcome::Stored(at) => stored.push((event.id().to_owned(), at.sequence)),
                AppendOutcome::AlreadyStored(at) => again.push((event.id().to_owned(), at.sequence)),
                other => panic!("{}: {other:?}", event.id()),
            }
        }
        assert!(stored.is_empty() || again.is_empty(), "some of a batch was there: {again:?}");
        let is_again = stored.is_empty();
        let all = if is_again { again } else { stored };
        shared.ledger().acknowledge(publisher, &all, is_again);
        // The pause limits the size of the log, because the test reads it many times.
        tokio::time::sleep(Duration::from_millis(rng.u64(0..8))).await;
    }
}

/// Publishes single events, and repeats each event until it is answered.
pub(crate) async fn publish_events(bus: Bus, shared: Arc<Shared>, number: usize) {
    let mut next = 0;
    while shared.passes().await {
        let text = json(number, next);
        let published = loop {
            match bus.publish(text.as_bytes()).await {
                Ok(published) => break published,
                Err(error) => println!("publisher {number} publishes again: {error}"),
            }
        };
        let (Published::Stored(at) | Published::AlreadyStored(at)) = published else {
            panic!("{published:?}")
        };
        shared.ledger().acknowledge(number, &[(format!("p{number}-{next}"), at.sequence)], false);
        next += 1;
    }
}
