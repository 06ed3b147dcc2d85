//! The log, checkpoints and schemas of a faulty store.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Checkpoint, Cursor, Entity, Event, Filter, Position, StorageFailure, StoredEvent,
    ports::{
        AppendOutcome, Atomicity, CheckpointStore, CheckpointStoreError, Erased, EventStore, EventStoreError,
        Order, Page, ReadRequest, SchemaRecord, SchemaStore, StoreInfo, TrimRequest, Trimmed, VerifyReport,
        event_store::Progress,
    },
};

use super::{Fault, Faulty};

#[async_trait]
impl EventStore for Faulty {
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        let atomicity = if self.fault == Fault::AlwaysEach { Atomicity::Each } else { atomicity };
        let outcomes = self.store.append(batch, atomicity).await?;
        if self.fault == Fault::LosesIndexEntries
            && let Some(AppendOutcome::Stored(position)) = outcomes.get(3)
        {
            self.engine.drop_index_entry(*position);
        }
        Ok(outcomes)
    }

    async fn read(&self, request: &ReadRequest) -> Result<Page, EventStoreError> {
        let mut request = request.clone();
        if self.fault == Fault::ForgetsTheMark {
            request.until = None;
        }
        let mut page = self.store.read(&request).await?;
        let skips = match self.fault {
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
        self.store.get(ids).await
    }

    async fn at(&self, positions: &[Position]) -> Result<Page, EventStoreError> {
        self.store.at(positions).await
    }

    async fn count(&self, filter: &Arc<Filter>, until: Option<&Cursor>) -> Result<u64, EventStoreError> {
        let mut filter = Filter::clone(filter);
        if self.fault == Fault::CountsWithoutTheUpperEdge {
            filter.to = filter.to.map(|to| to - Duration::from_nanos(1));
        }
        self.store.count(&Arc::new(filter), until).await
    }

    async fn head(&self) -> Result<Cursor, EventStoreError> {
        self.store.head().await
    }

    async fn changed(&self, after: &Cursor, timeout: Duration) -> Result<Cursor, EventStoreError> {
        self.store.changed(after, timeout).await
    }

    async fn trim(&self, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
        let mut request = request.clone();
        request.dry_run &= self.fault != Fault::DryRunTrims;
        if self.fault == Fault::IgnoresHolds {
            request.holds.clear();
        }
        if self.fault == Fault::IgnoresGroupHolds {
            request.groups.max_hold = Some(Duration::ZERO);
        }
        self.store.trim(&request).await
    }

    async fn erase(&self, entity: &Entity) -> Result<Erased, EventStoreError> {
        self.store.erase(entity).await
    }

    async fn verify(&self, progress: Option<Progress>) -> Result<VerifyReport, EventStoreError> {
        self.store.verify(progress).await
    }

    async fn info(&self) -> Result<StoreInfo, EventStoreError> {
        self.store.info().await
    }
}

#[async_trait]
impl CheckpointStore for Faulty {
    async fn save_checkpoint(
        &self,
        checkpoint: Checkpoint,
        replace: bool,
    ) -> Result<(), CheckpointStoreError> {
        self.store.save_checkpoint(checkpoint, replace || self.fault == Fault::AlwaysReplaces).await
    }

    async fn find_checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, CheckpointStoreError> {
        self.store.find_checkpoint(name_or_id).await
    }

    async fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointStoreError> {
        self.store.list_checkpoints().await
    }

    async fn delete_checkpoint(&self, name_or_id: &str) -> Result<bool, CheckpointStoreError> {
        self.store.delete_checkpoint(name_or_id).await
    }
}

#[async_trait]
impl SchemaStore for Faulty {
    async fn put_schema(&self, record: SchemaRecord) -> Result<(), StorageFailure> {
        self.store.put_schema(record).await
    }

    async fn list_schemas(&self) -> Result<Vec<SchemaRecord>, StorageFailure> {
        self.store.list_schemas().await
    }

    async fn remove_schema(&self, event_type: &str, version: Option<&str>) -> Result<bool, StorageFailure> {
        self.store.remove_schema(event_type, version).await
    }
}
