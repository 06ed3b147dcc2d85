//! What a storage engine brings to be tested: fresh storages, further handles on them, and ways to damage them.

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

/// Makes engines to test.
#[async_trait]
pub trait EngineHarness: Send + Sync {
    /// How many partitions its storages have.
    fn partitions(&self) -> u16 {
        1
    }

    /// Makes a new, empty storage whose handles tell the time by this clock.
    async fn fresh(&self, clock: ManualClock) -> Box<dyn EngineStorage>;
}

/// One storage: what stays when a handle is closed.
#[async_trait]
pub trait EngineStorage: Send + Sync {
    /// Opens a handle. Each call opens another one, as another process would.
    async fn open(&self) -> Arc<dyn StorageEngine>;

    /// The ways to damage it, if the adapter has them.
    fn faults(&self) -> Option<&dyn Faults> {
        None
    }

    /// Stops and starts what keeps the data, as a crash of it would, where the adapter can. Handles are closed by then.
    async fn restart(&self) {}

    /// Whether these bytes stand somewhere in the storage's files or memory, where that can be told.
    async fn holds_bytes(&self, bytes: &[u8]) -> Option<bool> {
        let _ = bytes;
        None
    }
}

/// A fresh storage with a handle on it, and the calls that most laws make of it. They concern the last partition.
pub struct EngineBench {
    /// The storage's clock.
    pub clock: ManualClock,
    /// The storage.
    pub storage: Box<dyn EngineStorage>,
    /// A handle on it.
    pub engine: Arc<dyn StorageEngine>,
    /// How many partitions it has.
    pub partitions: u16,
    /// The partition that calls concern.
    pub partition: u16,
}

impl EngineBench {
    /// Makes a storage and opens it.
    pub async fn new(harness: &impl EngineHarness) -> Self {
        let clock = ManualClock::default();
        let storage = harness.fresh(clock.clone()).await;
        let engine = storage.open().await;
        let partitions = harness.partitions();
        assert_eq!(engine.info().partitions, partitions, "the harness tells how many partitions there are");
        Self { clock, storage, engine, partitions, partition: partitions - 1 }
    }

    /// Goes on with another handle.
    pub async fn another_handle(&mut self) {
        self.engine = self.storage.open().await;
    }

    /// The storage after its last handle was closed and it was started again.
    pub async fn reopened(self) -> Self {
        let Self { clock, storage, engine, partitions, partition } = self;
        drop(engine);
        storage.restart().await;
        let engine = storage.open().await;
        Self { clock, storage, engine, partitions, partition }
    }

    /// Handles on the storage, as of as many processes.
    pub async fn handles(&self, count: usize) -> Vec<Arc<dyn StorageEngine>> {
        let mut handles = Vec::with_capacity(count);
        for _ in 0..count {
            handles.push(self.storage.open().await);
        }
        handles
    }

    /// A partition as it is now.
    pub async fn state(&self) -> PartitionState {
        self.engine.state(self.partition).await.expect("state")
    }

    /// Appends events, each on its own and with nothing beside them; what became of each.
    pub async fn append(&self, batch: &[Event]) -> Vec<AppendOutcome> {
        let appended = self.append_with(batch, Atomicity::Each, &Transaction::default()).await;
        let Appended::Done(outcomes) = appended else { panic!("nothing was demanded: {appended:?}") };
        outcomes
    }

    /// Appends events with a transaction.
    pub async fn append_with(&self, batch: &[Event], atomicity: Atomicity, with: &Transaction) -> Appended {
        self.engine.append(self.partition, batch, atomicity, with).await.expect("append")
    }

    /// Appends events that must all be new; their sequences.
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

    /// Everything that matches, read in pages of this size.
    pub async fn scan(&self, filter: Filter, order: Order, limit: usize) -> Vec<Entry> {
        scan(&*self.engine, self.partition, &Arc::new(filter), order, None, None, limit).await
    }

    /// The whole log.
    pub async fn log(&self) -> Vec<Entry> {
        self.scan(Filter::default(), Order::OldestFirst, 1_000).await
    }

    /// The ids of the whole log.
    pub async fn ids(&self) -> Vec<String> {
        ids(&self.log().await)
    }

    /// Removes entries that one call can take.
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

    /// Commits transactions in one call; one outcome for each.
    pub async fn commit_all(&self, transactions: &[Transaction]) -> Vec<Outcome> {
        let outcomes = self.engine.commit(self.partition, transactions).await.expect("commit");
        assert_eq!(outcomes.len(), transactions.len(), "one outcome for each: {outcomes:?}");
        outcomes
    }

    /// Commits what must be performed, with every step.
    pub async fn commit_ok(&self, transaction: &Transaction) {
        assert_eq!(self.commit(transaction).await, Outcome::Done { left_out: Vec::new() });
    }

    /// The value of a row, as another handle reads it.
    pub async fn row(&self, row: &RowId) -> Option<Vec<u8>> {
        let reads = [Read::Row(row.clone())];
        self.storage.open().await.get(self.partition, &reads).await.expect("get").row()
    }

    /// A row's text.
    pub async fn text(&self, row: &RowId) -> Option<String> {
        self.row(row).await.map(|value| String::from_utf8(value).expect("a text"))
    }

    /// Every row of a space, as another handle reads them.
    pub async fn rows(&self, space: &Space) -> Vec<(Vec<u8>, Vec<u8>)> {
        let reads = [Read::all(space.clone())];
        self.storage.open().await.get(self.partition, &reads).await.expect("get").range()
    }
}

/// Everything that matches, read page by page.
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

/// The ids of entries, none of which may be damaged.
pub(crate) fn ids(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.as_ref().expect("no damage").event.id().to_owned()).collect()
}
