//! The parts that an adapter provides for the tests: fresh storages, further handles on them, and ways to damage them.

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

/// Creates storages for tests.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Returns the number of partitions of its storages. With several partitions, laws about the order of all events
    /// use the order of stored times, an instant apart. Laws that name sequences and segments then run on one partition
    /// among the others ([`Bench::of_one_partition`]).
    fn partitions(&self) -> u16 {
        1
    }

    /// Creates a new, empty storage whose handles use this clock.
    async fn fresh(&self, clock: ManualClock) -> Box<dyn Storage>;

    /// Creates a new, empty storage with a retention mode. Returns none if the adapter does not support the mode, and
    /// the laws of that mode are then skipped.
    async fn fresh_keeping(&self, clock: ManualClock, keeps: RetentionMode) -> Option<Box<dyn Storage>> {
        match keeps {
            RetentionMode::History => Some(self.fresh(clock).await),
            RetentionMode::UntilDelivered => None,
        }
    }
}

/// One storage. Its data remains after a handle is closed.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Opens a handle. Each call opens a separate handle, as a different process does.
    async fn open(&self) -> Arc<dyn Stores>;

    /// Returns the ways to damage the storage, if the adapter has them.
    fn faults(&self) -> Option<&dyn Faults>;
}

/// Ways to damage a storage without its adapter. Each method panics if it cannot do the damage.
#[async_trait]
pub trait Faults: Send + Sync {
    /// Changes the stored bytes of the event at a position.
    async fn damage_event(&self, at: Position);

    /// Removes one index entry of the event at a position. The event stays.
    async fn drop_index_entry(&self, at: Position);

    /// Adds an index entry for a position without an event.
    async fn plant_index_entry(&self, at: Position);
}

/// A fresh storage with an open handle, and the calls that most laws need.
pub struct Bench {
    /// Clock of the storage.
    pub clock: ManualClock,
    /// The storage.
    pub storage: Box<dyn Storage>,
    /// A handle on the storage.
    pub store: Arc<dyn Stores>,
    /// Number of visible partitions.
    pub partitions: u16,
    /// Whether the bench shows one partition of several.
    pub is_a_part: bool,
    /// Time of the last append by [`Bench::store_all`].
    stored_at: Mutex<Option<Timestamp>>,
}

impl Bench {
    /// Number of events that every store accepts in one append.
    const BATCH: usize = 100;

    /// Creates a storage and opens it.
    pub async fn new(harness: &impl Harness) -> Self {
        let clock = ManualClock::default();
        let storage = harness.fresh(clock.clone()).await;
        Self::of(clock, storage, harness.partitions()).await
    }

    /// Creates a bench as [`Bench::new`] does. If storages have several partitions, the bench shows one partition as a
    /// complete storage.
    pub async fn of_one_partition(harness: &impl Harness) -> Self {
        let clock = ManualClock::default();
        let storage = harness.fresh(clock.clone()).await;
        Self::of_part(clock, storage, harness.partitions()).await
    }

    /// Creates a storage with a retention mode and opens it as [`Bench::of_one_partition`] does. Returns none if the
    /// adapter does not support the mode.
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

    /// Appends a batch with [`Atomicity::Each`].
    pub async fn append(&self, batch: &[Event]) -> Vec<AppendOutcome> {
        self.store.append(batch, Atomicity::Each).await.expect("append")
    }

    /// Appends events that must all be new, in batches that every store accepts. Returns their positions. With several
    /// partitions, the stored times define the order, so each event is stored an instant after the previous one.
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

    /// Advances the clock unless it has moved since the last append.
    fn tick(&self) {
        let mut stored_at = self.stored_at.lock().unwrap();
        if *stored_at == Some(self.clock.now()) {
            self.clock.advance(Duration::from_micros(1));
        }
        *stored_at = Some(self.clock.now());
    }

    /// Returns every matching event in log order.
    pub async fn all(&self, filter: Filter) -> Vec<StoredEvent> {
        walk(&*self.store, &Arc::new(filter), Order::OldestFirst, 100, None).await
    }

    /// Returns the id of every matching event in log order.
    pub async fn ids(&self, filter: Filter) -> Vec<String> {
        self.all(filter).await.iter().map(|stored| stored.event.id().to_owned()).collect()
    }

    /// Counts the matching events.
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

    /// Verifies the store and panics on any finding.
    pub async fn verify_is_clean(&self) {
        let report = self.store.verify(None).await.expect("verify");
        assert_eq!((report.total_findings, report.findings), (0, Vec::new()));
    }
}
