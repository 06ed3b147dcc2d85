//! The log, checkpoints and schemas of a faulty store.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Checkpoint, Cursor, Entity, Event, Expectation, Filter, Position, StorageFailure, StoredEvent,
    audit::{AuditEntry, AuditNote},
    plan::PlanRecord,
    ports::{
        AppendOutcome, Atomicity, AuditStore, CheckpointStore, CheckpointStoreError, Erased, EventStore,
        EventStoreError, Order, Page, PlanStore, ReadRequest, RequestClaim, RequestStore, SchemaRecord,
        SchemaStore, StoreInfo, TokenStore, TrimRequest, Trimmed, VerifyReport,
        event_store::ProgressCallback,
    },
    request::{RecordedAnswer, RequestId, RequestState},
    token::TokenRecord,
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

    async fn append_expecting(
        &self,
        batch: &[Event],
        expectation: &Expectation,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        match self.fault {
            Fault::IgnoresExpectations => self.store.append(batch, Atomicity::AllOrNothing).await,
            Fault::ChecksExpectationsTooEarly => {
                let mut request = ReadRequest::new(expectation.filter.clone(), 1);
                request.after = expectation.after.clone();
                let page = self.store.read(&request).await?;
                // Other callers can append in between.
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                match page.events.first() {
                    Some(stored) => Err(EventStoreError::Unexpected(stored.into())),
                    None => self.store.append(batch, Atomicity::AllOrNothing).await,
                }
            }
            _ => self.store.append_expecting(batch, expectation).await,
        }
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

    async fn verify(&self, progress: Option<ProgressCallback>) -> Result<VerifyReport, EventStoreError> {
        self.store.verify(progress).await
    }

    async fn info(&self) -> Result<StoreInfo, EventStoreError> {
        self.store.info().await
    }
}

#[async_trait]
impl AuditStore for Faulty {
    async fn append_audit(&self, note: &AuditNote) -> Result<AuditEntry, StorageFailure> {
        self.store.append_audit(note).await
    }

    async fn audit(&self, below: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StorageFailure> {
        self.store.audit(below, limit).await
    }
}

#[async_trait]
impl TokenStore for Faulty {
    async fn add_token(&self, token: &TokenRecord) -> Result<bool, StorageFailure> {
        self.store.add_token(token).await
    }

    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, StorageFailure> {
        self.store.token(id).await
    }

    async fn list_tokens(&self) -> Result<Vec<TokenRecord>, StorageFailure> {
        self.store.list_tokens().await
    }

    async fn revoke_token(&self, id: &str) -> Result<bool, StorageFailure> {
        self.store.revoke_token(id).await
    }
}

#[async_trait]
impl PlanStore for Faulty {
    async fn add_plan(&self, plan: &PlanRecord, document: &str) -> Result<bool, StorageFailure> {
        self.store.add_plan(plan, document).await
    }

    async fn plan(&self, id: &str) -> Result<Option<PlanRecord>, StorageFailure> {
        self.store.plan(id).await
    }

    async fn plan_document(&self, id: &str) -> Result<Option<String>, StorageFailure> {
        self.store.plan_document(id).await
    }

    async fn list_plans(&self) -> Result<Vec<PlanRecord>, StorageFailure> {
        self.store.list_plans().await
    }

    async fn replace_plan(&self, before: &PlanRecord, after: &PlanRecord) -> Result<bool, StorageFailure> {
        self.store.replace_plan(before, after).await
    }

    async fn delete_plan(&self, id: &str) -> Result<bool, StorageFailure> {
        self.store.delete_plan(id).await
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

#[async_trait]
impl RequestStore for Faulty {
    async fn begin_request(
        &self,
        id: &RequestId,
        claim: RequestClaim<'_>,
    ) -> Result<RequestState, StorageFailure> {
        self.store.begin_request(id, claim).await
    }

    async fn finish_request(
        &self,
        id: &RequestId,
        claim: &str,
        answer: Option<&RecordedAnswer>,
    ) -> Result<bool, StorageFailure> {
        self.store.finish_request(id, claim, answer).await
    }

    async fn remembered_requests(&self) -> Result<u64, StorageFailure> {
        self.store.remembered_requests().await
    }
}
