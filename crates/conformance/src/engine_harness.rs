//! The parts that a storage engine provides for the tests: fresh storages, further handles on them, and ways to damage
//! them.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{
    Event, Filter,
    ports::{
        AppendOutcome, Atomicity, Order, StorageEngine,
        engine::{
            Appended, Entry, Outcome, PartitionState, Read, Removal, RemovalKind, Removed, RowId, Scan,
            Space, Transaction, log::sequence_of,
        },
    },
};

use crate::{Faults, ManualClock};

/// Creates engines for tests.
#[async_trait]
pub trait EngineHarness: Send + Sync {
    /// Returns the number of partitions of its storages.
    fn partitions(&self) -> u16 {
        1
    }

    /// Creates a new, empty storage whose handles use this clock.
    async fn fresh(&self, clock: ManualClock) -> Box<dyn EngineStorage>;
}

/// One storage. Its data remains after a handle is closed.
#[async_trait]
pub trait EngineStorage: Send + Sync {
    /// Opens a handle. Each call opens a separate handle, as a different process does.
    async fn open(&self) -> Arc<dyn StorageEngine>;

    /// Returns the ways to damage the storage, if the adapter has them.
    fn faults(&self) -> Option<&dyn Faults> {
        None
    }

    /// Restarts the server of the data as after a crash, if the adapter supports this. All handles are closed before
    /// the call.
    async fn restart(&self) {}

    /// Returns whether the storage's files or memory contain these bytes. Returns none if the adapter cannot find out.
    async fn holds_bytes(&self, bytes: &[u8]) -> Option<bool> {
        let _ = bytes;
        None
    }
}

/// A fresh storage with an open handle, and the calls that most laws need. The calls use the last partition.
pub struct EngineBench {
    /// Clock of the storage.
    pub clock: ManualClock,
    /// The storage.
    pub storage: Box<dyn EngineStorage>,
    /// A handle on the storage.
    pub engine: Arc<dyn StorageEngine>,
    /// Number of partitions.
    pub partitions: u16,
    /// The partition that calls use.
    pub partition: u16,
}

impl EngineBench {
    /// Creates a storage and opens it.
    pub async fn new(harness: &impl EngineHarness) -> Self {
        let clock = ManualClock::default();
        let storage = harness.fresh(clock.clone()).await;
        let engine = storage.open().await;
        let partitions = harness.partitions();
        assert_eq!(engine.info().partitions, partitions, "the harness tells how many partitions there are");
        Self { clock, storage, engine, partitions, partition: partitions - 1 }
    }

    /// Replaces the handle by a new one.
    pub async fn another_handle(&mut self) {
        self.engine = self.storage.open().await;
    }

    /// Closes the handle, restarts the storage and opens it again.
    pub async fn reopened(self) -> Self {
        let Self { clock, storage, engine, partitions, partition } = self;
        drop(engine);
        storage.restart().await;
        let engine = storage.open().await;
        Self { clock, storage, engine, partitions, partition }
    }

    /// Opens several handles, as several processes do.
    pub async fn handles(&self, count: usize) -> Vec<Arc<dyn StorageEngine>> {
        let mut handles = Vec::with_capacity(count);
        for _ in 0..count {
            handles.push(self.storage.open().await);
        }
        handles
    }

    /// Returns the current state of the partition.
    pub async fn state(&self) -> PartitionState {
        self.engine.state(self.partition).await.expect("state")
    }

    /// Appends events with [`Atomicity::Each`] and an empty transaction. Returns the outcome of each event.
    pub async fn append(&self, batch: &[Event]) -> Vec<AppendOutcome> {
        let appended = self.append_with(batch, Atomicity::Each, &Transaction::default()).await;
        let Appended::Done(outcomes) = appended else { panic!("nothing was demanded: {appended:?}") };
        outcomes
    }

    /// Appends events with a transaction.
    pub async fn append_with(&self, batch: &[Event], atomicity: Atomicity, with: &Transaction) -> Appended {
        self.engine.append(self.partition, batch, atomicity, with).await.expect("append")
    }

    /// Appends events that must all be new. Returns their sequences.
    pub async fn store(&self, batch: &[Event]) -> Vec<u64> {
        let limit = self.engine.info().limits.append_events;
        let mut sequences = Vec::with_capacity(batch.len());
        for piece in batch.chunks(limit) {
            for outcome in self.append(piece).await {
                let AppendOutcome::Stored(position) = outcome else { panic!("not stored: {outcome:?}") };
                assert_eq!(position.partition, self.partition, "of the partition that was called");
                sequences.push(position.sequence);
            }
        }
        sequences
    }

    /// Returns all matching entries, read in pages of this size.
    pub async fn scan(&self, filter: Filter, order: Order, limit: usize) -> Vec<Entry> {
        scan(&*self.engine, self.partition, &Arc::new(filter), order, None, None, limit).await
    }

    /// Returns all entries of the log.
    pub async fn log(&self) -> Vec<Entry> {
        self.scan(Filter::default(), Order::OldestFirst, 1_000).await
    }

    /// Returns the ids of all events in the log.
    pub async fn ids(&self) -> Vec<String> {
        ids(&self.log().await)
    }

    /// Removes entries within the limits of one call.
    pub async fn remove(&self, entries: &[Entry], kind: RemovalKind, with: &Transaction) -> Removed {
        let limits = self.engine.info().limits;
        let stretch = |entry: &Entry| sequence_of(entry) / limits.removal_stretch;
        assert!(entries.len() <= limits.removal_events, "more than one call takes: {limits:?}");
        assert!(entries.windows(2).all(|pair| stretch(&pair[0]) == stretch(&pair[1])), "{limits:?}");
        let removal = Removal { entries, kind, with };
        self.engine.remove(self.partition, &removal).await.expect("remove")
    }

    /// Commits one transaction.
    pub async fn commit(&self, transaction: &Transaction) -> Outcome {
        let outcomes = self.commit_all(std::slice::from_ref(transaction)).await;
        outcomes.into_iter().next().expect("one outcome")
    }

    /// Commits transactions in one call. Returns one outcome for each.
    pub async fn commit_all(&self, transactions: &[Transaction]) -> Vec<Outcome> {
        let outcomes = self.engine.commit(self.partition, transactions).await.expect("commit");
        assert_eq!(outcomes.len(), transactions.len(), "one outcome for each: {outcomes:?}");
        outcomes
    }

    /// Commits a transaction and panics unless every step was performed.
    pub async fn commit_ok(&self, transaction: &Transaction) {
        assert_eq!(self.commit(transaction).await, Outcome::Done { left_out: Vec::new() });
    }

    /// Reads the value of a row through a new handle.
    pub async fn row(&self, row: &RowId) -> Option<Vec<u8>> {
        let reads = [Read::Row(row.clone())];
        self.storage.open().await.get(self.partition, &reads).await.expect("get").row()
    }

    /// Reads the text of a row through a new handle.
    pub async fn text(&self, row: &RowId) -> Option<String> {
        self.row(row).await.map(|value| String::from_utf8(value).expect("a text"))
    }

    /// Reads all rows of a space through a new handle.
    pub async fn rows(&self, space: &Space) -> Vec<(Vec<u8>, Vec<u8>)> {
        let reads = [Read::all(space.clone())];
        self.storage.open().await.get(self.partition, &reads).await.expect("get").range()
    }
}

/// Returns all matching entries, read page by page.
pub(crate) async fn scan(
    engine: &dyn StorageEngine,
    partition: u16,
    filter: &Arc<Filter>,
    order: Order,
    after: Option<u64>,
    until: Option<u64>,
    limit: usize,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut after = after;
    loop {
        let request = Scan { filter, order, after, until, limit, max_bytes: u64::MAX };
        let page = engine.scan(partition, &request).await.expect("scan");
        assert!(page.entries.len() <= limit, "{} entries in a page of {limit}", page.entries.len());
        entries.extend(page.entries);
        let Some(next) = page.next else { return entries };
        let goes_on = after.is_none_or(|after| match order {
            Order::OldestFirst => after < next,
            Order::NewestFirst => after > next,
        });
        assert!(goes_on, "a page behind {after:?} goes on behind {next}");
        after = Some(next);
    }
}

/// Returns the ids of entries. Panics if an entry is damaged.
pub(crate) fn ids(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.as_ref().expect("no damage").event.id().to_owned()).collect()
}
