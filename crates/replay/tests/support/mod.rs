//! Shared by the tests of replays: a store with events, a store with scripted failures, and targets that record.
#![allow(dead_code, unreachable_pub)]

pub mod world;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use conformance::{EngineFault, EngineHook, FaultScript, FaultyEngine};
use domain::{
    Document, Event, Filter, Limits, Position, StorageFailure, TypePattern,
    ports::{
        Atomicity, DeliveryOutcome, EventStore, ReadRequest, ReplayDelivery, ReplayTarget, SystemClock,
        TargetError,
    },
};
use event_replay_replay::{Pace, ReplayManager, ReplayOptions};
use jiff::Timestamp;
use storage_memory::MemoryEngine;
use store::Store;
use tokio::time::Instant;

/// Returns event n. Its type depends on n modulo 3, its user on n modulo 5.
pub fn event(n: u64) -> Event {
    let (kind, user, day) = (["user.a", "user.b", "course.c"][(n % 3) as usize], n % 5, 1 + n % 28);
    let json = format!(
        r#"{{"id":"e{n}","type":"{kind}","version":"1","timestamp":"2024-01-{day:02}T10:30:00Z","source":"s{}","correlationId":"c{}","metadata":{{}},"userId":"u{user}","data":{{"n":{n}}}}}"#,
        n % 2,
        n % 7
    );
    Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
}

/// Creates a store of the events 0 to `count` - 1.
pub async fn store(count: u64) -> Arc<Store> {
    store_on(MemoryEngine::default(), count).await
}

/// Creates a store of the events 0 to `count` - 1 over the caller's engine.
pub async fn store_on(engine: MemoryEngine, count: u64) -> Arc<Store> {
    let store = Arc::new(Store::new(engine));
    append(&store, 0..count).await;
    store
}

pub async fn append(store: &Store, numbers: impl IntoIterator<Item = u64>) {
    let events: Vec<Event> = numbers.into_iter().map(event).collect();
    for batch in events.chunks(10_000) {
        store.append(batch, Atomicity::AllOrNothing).await.unwrap();
    }
}

pub fn manager(store: &Arc<Store>) -> ReplayManager {
    manager_of(Arc::<Store>::clone(store), store)
}

/// Creates a manager that reads `events` and stores everything else in `store`.
pub fn manager_of(events: Arc<dyn EventStore>, store: &Arc<Store>) -> ReplayManager {
    let (replays, checkpoints) = (Arc::<Store>::clone(store), Arc::<Store>::clone(store));
    ReplayManager::new(events, replays, checkpoints, None, Arc::new(SystemClock))
}

pub fn unpaced() -> ReplayOptions {
    ReplayOptions { pace: Pace::Unpaced, all: true, ..ReplayOptions::default() }
}

pub fn types(pattern: &str) -> Filter {
    Filter { types: vec![TypePattern::new(pattern)], ..Filter::default() }
}

/// Returns all data of a store's events, except their replay counts.
pub async fn dump(store: &Store) -> Vec<(Position, String, Timestamp)> {
    let mut request = ReadRequest::new(Filter::default(), 1000);
    let mut all = Vec::new();
    loop {
        let page = store.read(&request).await.unwrap();
        all.extend(
            page.events
                .iter()
                .map(|stored| (stored.position, stored.event.json().to_owned(), stored.stored_at)),
        );
        match page.next {
            Some(next) => request.after = Some(next),
            None => return all,
        }
    }
}

pub async fn replay_counts(store: &Store) -> Vec<u32> {
    let page = store.read(&ReadRequest::new(Filter::default(), 1000)).await.unwrap();
    page.events.iter().map(|stored| stored.replay_count).collect()
}

type Verdict = dyn Fn(&ReplayDelivery) -> DeliveryOutcome + Send;

/// Records every delivery, and answers as scripted.
#[derive(Default)]
pub struct Recorder {
    pub batches: Vec<(Instant, Vec<ReplayDelivery>)>,
    /// The errors of the first calls, in order. Later calls succeed.
    pub failures: VecDeque<TargetError>,
    /// The outcome of each event. None means handled.
    pub verdict: Option<Box<Verdict>>,
    /// Runs within every call, with the number of calls so far.
    pub during: Option<Box<dyn FnMut(usize) + Send>>,
    /// The duration of a call.
    pub takes: Duration,
}

impl Recorder {
    pub fn failing(failures: impl IntoIterator<Item = TargetError>) -> Self {
        Self { failures: failures.into_iter().collect(), ..Self::default() }
    }

    pub fn ids(&self) -> Vec<String> {
        self.deliveries().map(|delivery| delivery.stored.event.id().to_owned()).collect()
    }

    pub fn deliveries(&self) -> impl Iterator<Item = &ReplayDelivery> {
        self.batches.iter().flat_map(|(_, batch)| batch)
    }
}

#[async_trait]
impl ReplayTarget for Recorder {
    async fn deliver(&mut self, batch: &[ReplayDelivery]) -> Result<Vec<DeliveryOutcome>, TargetError> {
        self.batches.push((Instant::now(), batch.to_vec()));
        if let Some(during) = &mut self.during {
            during(self.batches.len());
        }
        tokio::time::sleep(self.takes).await;
        if let Some(error) = self.failures.pop_front() {
            return Err(error);
        }
        let verdict =
            |delivery| self.verdict.as_ref().map_or(DeliveryOutcome::Handled, |verdict| verdict(delivery));
        Ok(batch.iter().map(verdict).collect())
    }
}

/// Creates a handle on the same store, behind a hook.
pub fn behind(store: &Arc<Store>, hook: Arc<impl EngineHook>) -> Arc<Store> {
    Arc::new(Store::new(FaultyEngine::new(Arc::clone(store.engine()), hook)))
}

/// Creates a handle on the same store. Its first read succeeds, and the next reads fail.
pub fn failing_reads(store: &Arc<Store>, failures: impl IntoIterator<Item = StorageFailure>) -> Arc<Store> {
    let script = Arc::new(FaultScript::new());
    script.plan_all("scan", [EngineFault::None]);
    script.plan_all("scan", failures.into_iter().map(EngineFault::Fails));
    behind(store, script)
}
