//! The laws themselves on trial: a store with one fault put in must not pass.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use conformance::{Faults, Harness, ManualClock, Storage, Stores, laws};
use domain::{
    Checkpoint, Cursor, Entity, Event, Filter, Position, StoredEvent,
    ports::{
        AppendOutcome, Atomicity, CheckpointStore, CheckpointStoreError, Erased, EventStore, EventStoreError,
        Order, Page, ReadRequest, ReplayStore, ReplayStoreError, SchemaRecord, SchemaStore, SchemaStoreError,
        StoreInfo, TrimRequest, Trimmed, VerifyReport, event_store::Progress,
    },
};
use jiff::Timestamp;
use storage_memory::MemoryStore;

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Batches are never all or nothing.
    AlwaysEach,
    /// The last event of a full page is lost.
    LosesTheLastOfAPage,
    /// A read goes past its high-water mark.
    ForgetsTheMark,
    /// Walking back stops short of the first event.
    NewestFirstSkipsTheFirst,
    /// Counts leave the upper edge of the time range out.
    CountsWithoutTheUpperEdge,
    /// Holds are not respected.
    IgnoresHolds,
    /// A dry run is none.
    DryRunTrims,
    /// Times of replay are counted, but not for the last position of a call.
    ForgetsOneReplay,
    /// Some events are stored without one of their index entries.
    LosesIndexEntries,
    /// Checkpoints are always replaced.
    AlwaysReplaces,
}

#[derive(Debug, Clone)]
struct Faulty(MemoryStore, Fault);

#[async_trait]
impl EventStore for Faulty {
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        let atomicity = if self.1 == Fault::AlwaysEach { Atomicity::Each } else { atomicity };
        let outcomes = self.0.append(batch, atomicity).await?;
        if self.1 == Fault::LosesIndexEntries
            && let Some(AppendOutcome::Stored(position)) = outcomes.get(3)
        {
            self.0.drop_index_entry(*position);
        }
        Ok(outcomes)
    }

    async fn read(&self, request: &ReadRequest) -> Result<Page, EventStoreError> {
        let mut request = request.clone();
        if self.1 == Fault::ForgetsTheMark {
            request.until = None;
        }
        let mut page = self.0.read(&request).await?;
        let skips = match self.1 {
            Fault::LosesTheLastOfAPage => page.next.is_some(),
            Fault::NewestFirstSkipsTheFirst => request.order == Order::NewestFirst && page.next.is_none(),
            _ => false,
        };
        if skips {
            page.events.pop();
        }
        Ok(page)
    }

    async fn get(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
        self.0.get(ids).await
    }

    async fn count(&self, filter: &Arc<Filter>, until: Option<&Cursor>) -> Result<u64, EventStoreError> {
        let mut filter = Filter::clone(filter);
        if self.1 == Fault::CountsWithoutTheUpperEdge {
            filter.to = filter.to.map(|to| to - Duration::from_nanos(1));
        }
        self.0.count(&Arc::new(filter), until).await
    }

    async fn head(&self) -> Result<Cursor, EventStoreError> {
        self.0.head().await
    }

    async fn changed(&self, after: &Cursor, timeout: Duration) -> Result<Cursor, EventStoreError> {
        self.0.changed(after, timeout).await
    }

    async fn trim(&self, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
        let mut request = request.clone();
        request.dry_run &= self.1 != Fault::DryRunTrims;
        if self.1 == Fault::IgnoresHolds {
            request.holds.clear();
        }
        self.0.trim(&request).await
    }

    async fn erase(&self, entity: &Entity) -> Result<Erased, EventStoreError> {
        self.0.erase(entity).await
    }

    async fn verify(&self, progress: Option<Progress>) -> Result<VerifyReport, EventStoreError> {
        self.0.verify(progress).await
    }

    async fn info(&self) -> Result<StoreInfo, EventStoreError> {
        self.0.info().await
    }
}

#[async_trait]
impl CheckpointStore for Faulty {
    async fn save_checkpoint(
        &self,
        checkpoint: Checkpoint,
        replace: bool,
    ) -> Result<(), CheckpointStoreError> {
        self.0.save_checkpoint(checkpoint, replace || self.1 == Fault::AlwaysReplaces).await
    }

    async fn find_checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, CheckpointStoreError> {
        self.0.find_checkpoint(name_or_id).await
    }

    async fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointStoreError> {
        self.0.list_checkpoints().await
    }

    async fn delete_checkpoint(&self, name_or_id: &str) -> Result<bool, CheckpointStoreError> {
        self.0.delete_checkpoint(name_or_id).await
    }
}

#[async_trait]
impl SchemaStore for Faulty {
    async fn put_schema(&self, record: SchemaRecord) -> Result<(), SchemaStoreError> {
        self.0.put_schema(record).await
    }

    async fn list_schemas(&self) -> Result<Vec<SchemaRecord>, SchemaStoreError> {
        self.0.list_schemas().await
    }

    async fn remove_schema(&self, event_type: &str, version: Option<&str>) -> Result<bool, SchemaStoreError> {
        self.0.remove_schema(event_type, version).await
    }
}

#[async_trait]
impl ReplayStore for Faulty {
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError> {
        match (self.1, positions.split_first()) {
            (Fault::ForgetsOneReplay, Some((_, rest))) => self.0.record_replayed(rest, at).await,
            _ => self.0.record_replayed(positions, at).await,
        }
    }
}

struct FaultyHarness(Fault);

#[async_trait]
impl Harness for FaultyHarness {
    async fn fresh(&self, clock: ManualClock) -> Box<dyn Storage> {
        Box::new(FaultyStorage(Faulty(MemoryStore::new(Arc::new(clock)), self.0)))
    }
}

struct FaultyStorage(Faulty);

#[async_trait]
impl Storage for FaultyStorage {
    async fn open(&self) -> Arc<dyn Stores> {
        Arc::new(self.0.clone())
    }

    fn faults(&self) -> Option<&dyn Faults> {
        None
    }
}

async fn passes(fault: Fault) -> bool {
    tokio::spawn(async move { laws::model::agrees_with_the_model(&FaultyHarness(fault)).await }).await.is_ok()
}

#[tokio::test]
async fn a_store_without_fault_agrees_with_the_model() {
    assert!(passes(Fault::None).await);
}

#[tokio::test]
async fn no_fault_escapes_the_model() {
    for fault in [
        Fault::AlwaysEach,
        Fault::LosesTheLastOfAPage,
        Fault::ForgetsTheMark,
        Fault::NewestFirstSkipsTheFirst,
        Fault::CountsWithoutTheUpperEdge,
        Fault::IgnoresHolds,
        Fault::DryRunTrims,
        Fault::ForgetsOneReplay,
        Fault::LosesIndexEntries,
        Fault::AlwaysReplaces,
    ] {
        assert!(!passes(fault).await, "{fault:?} was not found");
    }
}
