//! What an adapter brings to be tested: fresh storages, further handles on them, and ways to damage them.

use std::sync::Arc;

use async_trait::async_trait;
pub use domain::ports::Stores;
use domain::{
    Event, Filter, Position, StoredEvent,
    ports::{AppendOutcome, Atomicity, Erased, Keeps, Order, TrimRequest, Trimmed},
};

use crate::{ManualClock, walk};

/// Makes storages to test.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Makes a new, empty storage whose handles tell the time by this clock.
    async fn fresh(&self, clock: ManualClock) -> Box<dyn Storage>;

    /// Makes a new, empty storage that keeps what is said, if the adapter can: laws of what it cannot keep are not run.
    async fn fresh_keeping(&self, clock: ManualClock, keeps: Keeps) -> Option<Box<dyn Storage>> {
        match keeps {
            Keeps::History => Some(self.fresh(clock).await),
            Keeps::Deliveries => None,
        }
    }
}

/// One storage: what stays when a handle is closed.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Opens a handle. Each call opens another one, as another process would.
    async fn open(&self) -> Arc<dyn Stores>;

    /// The ways to damage it, if the adapter has them.
    fn faults(&self) -> Option<&dyn Faults>;
}

/// Ways to damage a storage behind its adapter's back. They panic where they cannot do it.
#[async_trait]
pub trait Faults: Send + Sync {
    /// Changes the stored bytes of the event at a position.
    async fn damage_event(&self, at: Position);

    /// Drops one index entry of the event at a position, and leaves the event.
    async fn drop_index_entry(&self, at: Position);

    /// Plants an index entry that points at a position, where no event is.
    async fn plant_index_entry(&self, at: Position);
}

/// A fresh storage with a handle on it, and the calls that most laws make of it.
pub struct Bench {
    /// The storage's clock.
    pub clock: ManualClock,
    /// The storage.
    pub storage: Box<dyn Storage>,
    /// A handle on it.
    pub store: Arc<dyn Stores>,
}

impl Bench {
    /// As many events as any store takes at once.
    const BATCH: usize = 100;

    /// Makes a storage and opens it.
    pub async fn new(harness: &impl Harness) -> Self {
        let clock = ManualClock::default();
        let storage = harness.fresh(clock.clone()).await;
        Self::of(clock, storage).await
    }

    /// Makes a storage that keeps what is said and opens it; none where the adapter cannot.
    pub async fn keeping(harness: &impl Harness, keeps: Keeps) -> Option<Self> {
        let clock = ManualClock::default();
        let storage = harness.fresh_keeping(clock.clone(), keeps).await?;
        Some(Self::of(clock, storage).await)
    }

    async fn of(clock: ManualClock, storage: Box<dyn Storage>) -> Self {
        let store = storage.open().await;
        Self { clock, storage, store }
    }

    /// Appends a batch, each event on its own.
    pub async fn append(&self, batch: &[Event]) -> Vec<AppendOutcome> {
        self.store.append(batch, Atomicity::Each).await.expect("append")
    }

    /// Appends events which must all be stored now, in batches that every store takes; their positions.
    pub async fn store_all(&self, events: &[Event]) -> Vec<Position> {
        let mut outcomes = Vec::with_capacity(events.len());
        for batch in events.chunks(Self::BATCH) {
            outcomes.extend(self.append(batch).await);
        }
        let position = |outcome| match outcome {
            AppendOutcome::Stored(position) => position,
            other => panic!("expected to be stored: {other:?}"),
        };
        outcomes.into_iter().map(position).collect()
    }

    /// Every event that matches, in log order.
    pub async fn all(&self, filter: Filter) -> Vec<StoredEvent> {
        walk(&*self.store, &Arc::new(filter), Order::OldestFirst, 100, None).await
    }

    /// The ids of every event that matches, in log order.
    pub async fn ids(&self, filter: Filter) -> Vec<String> {
        self.all(filter).await.iter().map(|stored| stored.event.id().to_owned()).collect()
    }

    /// Counts what matches.
    pub async fn count(&self, filter: Filter) -> u64 {
        self.store.count(&Arc::new(filter), None).await.expect("count")
    }

    /// Trims once.
    pub async fn trim(&self, request: &TrimRequest) -> Trimmed {
        self.store.trim(request).await.expect("trim")
    }

    /// Erases an entity.
    pub async fn erase(&self, kind: &str, id: &str) -> Erased {
        self.store.erase(&domain::Entity::new(kind, id)).await.expect("erase")
    }

    /// Fails where a verification finds anything.
    pub async fn verify_is_clean(&self) {
        let report = self.store.verify(None).await.expect("verify");
        assert_eq!((report.total_findings, report.findings), (0, Vec::new()));
    }
}
