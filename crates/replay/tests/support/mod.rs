//! What the tests of replays share: a store with events, one that fails on demand, and targets that record.
#![allow(dead_code, unreachable_pub)]

pub mod world;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    Cursor, Document, Entity, Event, Filter, Limits, Position, StorageFailure, StoredEvent, TypePattern,
    group::LaneResult,
    ports::{
        AppendOutcome, Atomicity, DeliveryOutcome, Erased, EventStore, EventStoreError, Page, ReadRequest,
        ReplayDelivery, ReplayLease, ReplayRecord, ReplayState, ReplayStore, ReplayStoreError, ReplayTarget,
        ReplayUpdate, ReplayWish, StoreInfo, SystemClock, TargetError, TrimRequest, Trimmed, VerifyReport,
        event_store::Progress,
    },
};
use jiff::Timestamp;
use replay::{Pace, ReplayManager, ReplayOptions};
use storage_memory::MemoryEngine;
use store::Store;
use tokio::time::Instant;

/// Event n: its type by n modulo 3, its user by n modulo 5.
pub fn event(n: u64) -> Event {
    let (kind, user, day) = (["user.a", "user.b", "course.c"][(n % 3) as usize], n % 5, 1 + n % 28);
    let json = format!(
        r#"{{"id":"e{n}","type":"{kind}","version":"1","timestamp":"2024-01-{day:02}T10:30:00Z","source":"s{}","correlationId":"c{}","metadata":{{}},"userId":"u{user}","data":{{"n":{n}}}}}"#,
        n % 2,
        n % 7
    );
    Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
}

/// A store of events 0 to `count` - 1.
pub async fn store(count: u64) -> Arc<Store> {
    store_on(MemoryEngine::default(), count).await
}

/// The same over an engine of the caller's.
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

/// A manager that reads `events` and keeps the rest in `store`.
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

/// Everything that can be seen of a store's events but their replay counts.
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

/// Records what it is given, and answers as scripted.
#[derive(Default)]
pub struct Recorder {
    pub batches: Vec<(Instant, Vec<ReplayDelivery>)>,
    /// Answers to whole calls that fail, in order; handled once there are none left.
    pub failures: VecDeque<TargetError>,
    /// What becomes of single events.
    pub verdict: Option<Box<Verdict>>,
    /// Called within every call.
    pub during: Option<Box<dyn FnMut(usize) + Send>>,
    /// How long a call takes.
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

/// A store whose reads fail as scripted.
#[derive(Debug)]
pub struct FaultyReads {
    pub inner: Arc<Store>,
    /// Reads that succeed before the failures begin.
    pub healthy: AtomicUsize,
    pub failures: Mutex<VecDeque<EventStoreError>>,
}

impl FaultyReads {
    pub fn new(
        inner: &Arc<Store>,
        healthy: usize,
        failures: impl IntoIterator<Item = EventStoreError>,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            healthy: AtomicUsize::new(healthy),
            failures: Mutex::new(failures.into_iter().collect()),
        })
    }
}

#[async_trait]
impl EventStore for FaultyReads {
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        self.inner.append(batch, atomicity).await
    }

    async fn read(&self, request: &ReadRequest) -> Result<Page, EventStoreError> {
        let healthy =
            self.healthy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if healthy.is_err()
            && let Some(error) = self.failures.lock().unwrap().pop_front()
        {
            return Err(error);
        }
        self.inner.read(request).await
    }

    async fn get(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
        self.inner.get(ids).await
    }

    async fn at(&self, positions: &[Position]) -> Result<Page, EventStoreError> {
        self.inner.at(positions).await
    }

    async fn count(&self, filter: &Arc<Filter>, until: Option<&Cursor>) -> Result<u64, EventStoreError> {
        self.inner.count(filter, until).await
    }

    async fn head(&self) -> Result<Cursor, EventStoreError> {
        self.inner.head().await
    }

    async fn changed(&self, after: &Cursor, timeout: Duration) -> Result<Cursor, EventStoreError> {
        self.inner.changed(after, timeout).await
    }

    async fn trim(&self, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
        self.inner.trim(request).await
    }

    async fn erase(&self, entity: &Entity) -> Result<Erased, EventStoreError> {
        self.inner.erase(entity).await
    }

    async fn verify(&self, progress: Option<Progress>) -> Result<VerifyReport, EventStoreError> {
        self.inner.verify(progress).await
    }

    async fn info(&self) -> Result<StoreInfo, EventStoreError> {
        self.inner.info().await
    }
}

/// Refuses to raise replay counts.
#[derive(Debug)]
pub struct NoCounts {
    pub inner: Store,
    pub failures: Mutex<VecDeque<StorageFailure>>,
    pub calls: AtomicUsize,
}

impl Default for NoCounts {
    fn default() -> Self {
        Self {
            inner: Store::new(MemoryEngine::default()),
            failures: Mutex::default(),
            calls: AtomicUsize::default(),
        }
    }
}

#[async_trait]
impl ReplayStore for NoCounts {
    async fn record_replayed(&self, _: &[Position], _: Timestamp) -> Result<(), ReplayStoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match self.failures.lock().unwrap().pop_front() {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }

    async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError> {
        self.inner.create_replay(record).await
    }

    async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError> {
        self.inner.find_replay(id).await
    }

    async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        self.inner.list_replays(limit).await
    }

    async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        self.inner.waiting_replays().await
    }

    async fn lease_replay(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError> {
        self.inner.lease_replay(id, token, duration).await
    }

    async fn update_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<ReplayState, ReplayStoreError> {
        self.inner.update_replay(lease, update).await
    }

    async fn wish(&self, id: &str, wish: ReplayWish) -> Result<Option<ReplayState>, ReplayStoreError> {
        self.inner.wish(id, wish).await
    }

    async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError> {
        self.inner.results(id, limit).await
    }

    async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError> {
        self.inner.delete_replay(id).await
    }
}
