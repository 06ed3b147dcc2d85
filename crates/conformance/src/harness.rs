//! What an adapter brings to be tested: fresh storages, further handles on them, and ways to damage them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
pub use domain::ports::Stores;
use domain::{
    Event, Filter, Position, StoredEvent,
    ports::{AppendOutcome, Atomicity, Clock as _, Erased, Order, RetentionMode, TrimRequest, Trimmed},
};
use jiff::Timestamp;

use crate::{ManualClock, one_partition::OnePartition, walk};

/// Makes storages to test.
#[async_trait]
pub trait Harness: Send + Sync {
    /// How many partitions its storages have. Laws that speak of one order of all events then speak of the order in which
    /// they were stored, an instant apart; and those that name sequences and segments are held against one partition amid
    /// the others ([`Bench::of_one_partition`]).
    fn partitions(&self) -> u16 {
        1
    }

    /// Makes a new, empty storage whose handles tell the time by this clock.
    async fn fresh(&self, clock: ManualClock) -> Box<dyn Storage>;

    /// Makes a new, empty storage that keeps what is said, if the adapter can: laws of what it cannot keep are not run.
    async fn fresh_keeping(&self, clock: ManualClock, keeps: RetentionMode) -> Option<Box<dyn Storage>> {
        match keeps {
            RetentionMode::History => Some(self.fresh(clock).await),
            RetentionMode::UntilDelivered => None,
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
    /// How many partitions it shows.
    pub partitions: u16,
    /// Whether it is one partition of several.
    pub is_a_part: bool,
    /// When something was last stored.
    stored_at: Mutex<Option<Timestamp>>,
}

impl Bench {
    /// As many events as any store takes at once.
    const BATCH: usize = 100;

    /// Makes a storage and opens it.
    pub async fn new(harness: &impl Harness) -> Self {
        let clock = ManualClock::default();
        let storage = harness.fresh(clock.clone()).await;
        Self::of(clock, storage, harness.partitions()).await
    }

    /// As [`Bench::new`]; where storages have several partitions, one of them as a storage by itself.
    pub async fn of_one_partition(harness: &impl Harness) -> Self {
        let clock = ManualClock::default();
        let storage = harness.fresh(clock.clone()).await;
        Self::of_part(clock, storage, harness.partitions()).await
    }

    /// Makes a storage that keeps what is said and opens it, as [`Bench::of_one_partition`]; none where the adapter cannot.
    pub async fn keeping(harness: &impl Harness, keeps: RetentionMode) -> Option<Self> {
        let clock = ManualClock::default();
        let storage = harness.fresh_keeping(clock.clone(), keeps).await?;
        Some(Self::of_part(clock, storage, harness.partitions()).await)
    }

    async fn of_part(clock: ManualClock, storage: Box<dyn Storage>, partitions: u16) -> Self {
        if partitions == 1 {
            return Self::of(clock, storage, 1).await;
        }
        let part = Box::new(OnePartition::of(storage, partitions));
        Self { is_a_part: true, ..Self::of(clock, part, 1).await }
    }

    async fn of(clock: ManualClock, storage: Box<dyn Storage>, partitions: u16) -> Self {
        let store = storage.open().await;
        Self { clock, storage, store, partitions, is_a_part: false, stored_at: Mutex::default() }
    }

    /// Appends a batch, each event on its own.
    pub async fn append(&self, batch: &[Event]) -> Vec<AppendOutcome> {
        self.store.append(batch, Atomicity::Each).await.expect("append")
    }

    /// Appends events which must all be stored now, in batches that every store takes; their positions. Over several
    /// partitions their order is that of the times at which they were stored: so there each is stored an instant after the
    /// one before it.
    pub async fn store_all(&self, events: &[Event]) -> Vec<Position> {
        let mut outcomes = Vec::with_capacity(events.len());
        for batch in events.chunks(if self.partitions == 1 { Self::BATCH } else { 1 }) {
            if self.partitions > 1 {
                self.tick();
            }
            outcomes.extend(self.append(batch).await);
        }
        let position = |outcome| match outcome {
            AppendOutcome::Stored(position) => position,
            other => panic!("expected to be stored: {other:?}"),
        };
        outcomes.into_iter().map(position).collect()
    }

    /// Moves the clock on, unless it has moved since something was stored.
    fn tick(&self) {
        let mut stored_at = self.stored_at.lock().unwrap();
        if *stored_at == Some(self.clock.now()) {
            self.clock.advance(Duration::from_micros(1));
        }
        *stored_at = Some(self.clock.now());
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
