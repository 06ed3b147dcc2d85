//! The ports that `Watched` passes on as they are.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Checkpoint, Cursor, Entity, Event, Filter, Position, StorageFailure, StoredEvent,
    dead_letter::DeadLetter,
    group::LaneResult,
    ports::{
        AppendOutcome, Atomicity, CheckpointStore, CheckpointStoreError, DeadLetterChange, DeadLetterCount,
        DeadLetterQuery, DeadLetterStore, Erased, EventStore, EventStoreError, Page, ReadRequest,
        ReplayLease, ReplayRecord, ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate, ReplayWish,
        ScheduleOutcome, ScheduleStore, ScheduledEvent, SchemaRecord, SchemaStore, StatSample, StatsStore,
        StoreInfo, TrimRequest, Trimmed, VerifyReport, event_store::Progress,
    },
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
    fn read(request: &ReadRequest) -> Page;
    fn get(ids: &[String]) -> Vec<StoredEvent>;
    fn at(positions: &[Position]) -> Page;
    fn count(filter: &Arc<Filter>, until: Option<&Cursor>) -> u64;
    fn head() -> Cursor;
    fn changed(after: &Cursor, timeout: Duration) -> Cursor;
    fn trim(request: &TrimRequest) -> Trimmed;
    fn erase(entity: &Entity) -> Erased;
    fn verify(progress: Option<Progress>) -> VerifyReport;
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
    fn wish(id: &str, wish: ReplayWish) -> Option<ReplayState>;
    fn results(id: &str, limit: usize) -> Vec<LaneResult>;
    fn delete_replay(id: &str) -> bool;
}

passes_on! { DeadLetterStore, StorageFailure:
    fn dead_letters(query: &DeadLetterQuery) -> Vec<DeadLetter>;
    fn dead_letters_by_id(ids: &[String]) -> Vec<DeadLetter>;
    fn redrive(ids: &[String]) -> Vec<DeadLetterChange>;
    fn discard(ids: &[String], reason: &str) -> Vec<DeadLetterChange>;
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
}
