//! The ports that `Watched` forwards unchanged.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Checkpoint, Cursor, Entity, Event, Expectation, Filter, Position, StorageFailure, StoredEvent, Tally,
    audit::{AuditEntry, AuditNote},
    dead_letter::{DeadLetter, LetterEdit},
    group::{GroupPause, LaneResult},
    plan::PlanRecord,
    ports::{
        AppendOutcome, Atomicity, AuditStore, CheckpointStore, CheckpointStoreError, DeadLetterChange,
        DeadLetterCount, DeadLetterQuery, DeadLetterStore, Erased, EventStore, EventStoreError,
        GroupStoreError, Page, PauseStore, PlanStore, ReadRequest, ReplayCommand, ReplayLease, ReplayRecord,
        ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate, RequestClaim, RequestStore,
        ScheduleOutcome, ScheduleStore, ScheduledEvent, SchemaRecord, SchemaStore, StatSample, StatsStore,
        StoreInfo, TokenStore, TrimRequest, Trimmed, VerifyReport, event_store::ProgressCallback,
    },
    request::{RecordedAnswer, RequestId, RequestState},
    token::TokenRecord,
};
use jiff::Timestamp;

use crate::watched::Watched;

macro_rules! passes_on {
    ($port:ident, $error:ident: $(fn $name:ident($($arg:ident: $of:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl $port for Watched {
            $(async fn $name(&self $(, $arg: $of)*) -> Result<$answer, $error> {
                $port::$name(&*self.inner $(, $arg)*).await
            })*
        }
    };
}

passes_on! { EventStore, EventStoreError:
    fn append(batch: &[Event], atomicity: Atomicity) -> Vec<AppendOutcome>;
    fn append_expecting(batch: &[Event], expectation: &Expectation) -> Vec<AppendOutcome>;
    fn read(request: &ReadRequest) -> Page;
    fn get(ids: &[String]) -> Vec<StoredEvent>;
    fn at(positions: &[Position]) -> Page;
    fn count(filter: &Arc<Filter>, until: Option<&Cursor>) -> u64;
    fn head() -> Cursor;
    fn changed(after: &Cursor, timeout: Duration) -> Cursor;
    fn trim(request: &TrimRequest) -> Trimmed;
    fn erase(entity: &Entity) -> Erased;
    fn verify(progress: Option<ProgressCallback>) -> VerifyReport;
    fn info() -> StoreInfo;
}

passes_on! { CheckpointStore, CheckpointStoreError:
    fn save_checkpoint(checkpoint: Checkpoint, replace: bool) -> ();
    fn find_checkpoint(name_or_id: &str) -> Option<Checkpoint>;
    fn list_checkpoints() -> Vec<Checkpoint>;
    fn delete_checkpoint(name_or_id: &str) -> bool;
}

passes_on! { SchemaStore, StorageFailure:
    fn put_schema(record: SchemaRecord) -> ();
    fn list_schemas() -> Vec<SchemaRecord>;
    fn remove_schema(event_type: &str, event_version: Option<&str>) -> bool;
}

passes_on! { ReplayStore, ReplayStoreError:
    fn record_replayed(positions: &[Position], at: Timestamp) -> ();
    fn create_replay(record: &ReplayRecord) -> ();
    fn find_replay(id: &str) -> Option<ReplayRecord>;
    fn list_replays(limit: usize) -> Vec<ReplayRecord>;
    fn waiting_replays() -> Vec<ReplayRecord>;
    fn lease_replay(id: &str, token: u64, duration: Duration) -> Option<ReplayLease>;
    fn update_replay(lease: &ReplayLease, update: &ReplayUpdate) -> ReplayState;
    fn request(id: &str, wish: ReplayCommand) -> Option<ReplayState>;
    fn results(id: &str, limit: usize) -> Vec<LaneResult>;
    fn steer(id: &str, steering: &str) -> Option<ReplayState>;
    fn delete_replay(id: &str) -> bool;
}

passes_on! { DeadLetterStore, StorageFailure:
    fn dead_letters(query: &DeadLetterQuery) -> Vec<DeadLetter>;
    fn dead_letters_by_id(ids: &[String]) -> Vec<DeadLetter>;
    fn redrive(ids: &[String]) -> Vec<DeadLetterChange>;
    fn discard(ids: &[String], reason: &str) -> Vec<DeadLetterChange>;
    fn edit(id: &str, edit: Option<&LetterEdit>) -> DeadLetterChange;
    fn restore(ids: &[String]) -> Vec<DeadLetterChange>;
    fn count_dead_letters() -> Vec<DeadLetterCount>;
    fn purge_dead_letters(closed_before: Timestamp) -> u64;
}

passes_on! { ScheduleStore, StorageFailure:
    fn schedule(event: &Event, due: Timestamp) -> ScheduleOutcome;
    fn scheduled(limit: usize) -> Vec<ScheduledEvent>;
    fn cancel_scheduled(event_id: &str) -> bool;
    fn append_due(limit: usize) -> Vec<(String, AppendOutcome)>;
    fn next_due() -> Option<Timestamp>;
}

passes_on! { StatsStore, StorageFailure:
    fn add_stats(samples: &[StatSample]) -> ();
    fn stats(since_minute: Option<i64>) -> Vec<StatSample>;
    fn fold_stats(before_minute: i64) -> ();
    fn event_counts() -> Option<Tally>;
}

passes_on! { AuditStore, StorageFailure:
    fn append_audit(note: &AuditNote) -> AuditEntry;
    fn audit(below: Option<u64>, limit: usize) -> Vec<AuditEntry>;
}

passes_on! { TokenStore, StorageFailure:
    fn add_token(token: &TokenRecord) -> bool;
    fn token(id: &str) -> Option<TokenRecord>;
    fn list_tokens() -> Vec<TokenRecord>;
    fn revoke_token(id: &str) -> bool;
}

passes_on! { PlanStore, StorageFailure:
    fn add_plan(plan: &PlanRecord, document: &str) -> bool;
    fn plan(id: &str) -> Option<PlanRecord>;
    fn plan_document(id: &str) -> Option<String>;
    fn list_plans() -> Vec<PlanRecord>;
    fn replace_plan(before: &PlanRecord, after: &PlanRecord) -> bool;
    fn delete_plan(id: &str) -> bool;
}

passes_on! { PauseStore, GroupStoreError:
    fn pause_group(group: &str, pause: &GroupPause) -> ();
    fn resume_group(group: &str, source: Option<&str>) -> u64;
    fn pauses(group: &str) -> Vec<GroupPause>;
}

passes_on! { RequestStore, StorageFailure:
    fn begin_request(id: &RequestId, claim: RequestClaim<'_>) -> RequestState;
    fn finish_request(id: &RequestId, claim: &str, answer: Option<&RecordedAnswer>) -> bool;
    fn remembered_requests() -> u64;
}
