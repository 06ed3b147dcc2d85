//! A store with something in front of it: latency, outages, or whatever else a test wants to happen before a call.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Checkpoint, Cursor, DeadLetter, Entity, Event, Filter, Position, StorageFailure, StoredEvent,
    group::{BlockedKey, GroupRecord, GroupSpec, GroupStatus, LaneBatch, LaneResult, NewLaneBatch},
    ports::{
        AppendOutcome, Atomicity, CheckpointStore, CheckpointStoreError, CommitOutcome, DeadLetterChange,
        DeadLetterCount, DeadLetterQuery, DeadLetterStore, EnqueueOutcome, Erased, EventStore,
        EventStoreError, GroupStore, GroupStoreError, LeaseRequest, Leases, Page, ReadRequest, ReplayLease,
        ReplayRecord, ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate, ReplayWish, ScheduleOutcome,
        ScheduleStore, ScheduledEvent, SchemaRecord, SchemaStore, SegmentCommit, StatSample, StatsStore,
        StoreInfo, Stores, TrimRequest, Trimmed, VerifyReport, event_store::Progress,
    },
};
use jiff::Timestamp;

/// What happens around the calls of a [`Wrapped`] store.
#[async_trait]
pub trait Hook: Send + Sync {
    /// Before a call, named as the port's method: it may take its time, and it may fail instead of the call.
    async fn before(&self, call: &'static str) -> Result<(), StorageFailure>;

    /// After a call that was made: where this fails, the answer is lost.
    async fn after(&self, call: &'static str) -> Result<(), StorageFailure> {
        let _ = call;
        Ok(())
    }

    /// What is committed instead of what was to be.
    fn commits(&self, commits: &[SegmentCommit]) -> Vec<SegmentCommit> {
        commits.to_vec()
    }

    /// Is told which leases were given.
    fn leased(&self, leases: &Leases) {
        let _ = leases;
    }
}

/// A store behind a hook.
pub struct Wrapped<H> {
    store: Arc<dyn Stores>,
    hook: Arc<H>,
}

impl<H: Hook> Wrapped<H> {
    /// Puts a hook in front of a store.
    pub fn new(store: Arc<dyn Stores>, hook: Arc<H>) -> Self {
        Self { store, hook }
    }
}

macro_rules! pass_on {
    ($port:ident, $error:ty; $(fn $name:ident($($arg:ident: $ty:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl<H: Hook> $port for Wrapped<H> {
            $(async fn $name(&self, $($arg: $ty),*) -> Result<$answer, $error> {
                self.hook.before(stringify!($name)).await?;
                let answer = self.store.$name($($arg),*).await;
                self.hook.after(stringify!($name)).await?;
                answer
            })*
        }
    };
}

pass_on! { EventStore, EventStoreError;
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

pass_on! { CheckpointStore, CheckpointStoreError;
    fn save_checkpoint(checkpoint: Checkpoint, replace: bool) -> ();
    fn find_checkpoint(name_or_id: &str) -> Option<Checkpoint>;
    fn list_checkpoints() -> Vec<Checkpoint>;
    fn delete_checkpoint(name_or_id: &str) -> bool;
}

pass_on! { SchemaStore, StorageFailure;
    fn put_schema(record: SchemaRecord) -> ();
    fn list_schemas() -> Vec<SchemaRecord>;
    fn remove_schema(event_type: &str, event_version: Option<&str>) -> bool;
}

pass_on! { ReplayStore, ReplayStoreError;
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

pass_on! { DeadLetterStore, StorageFailure;
    fn dead_letters(query: &DeadLetterQuery) -> Vec<DeadLetter>;
    fn dead_letters_by_id(ids: &[String]) -> Vec<DeadLetter>;
    fn redrive(ids: &[String]) -> Vec<DeadLetterChange>;
    fn discard(ids: &[String], reason: &str) -> Vec<DeadLetterChange>;
    fn count_dead_letters() -> Vec<DeadLetterCount>;
    fn purge_dead_letters(closed_before: Timestamp) -> u64;
}

pass_on! { ScheduleStore, StorageFailure;
    fn schedule(event: &Event, due: Timestamp) -> ScheduleOutcome;
    fn scheduled(limit: usize) -> Vec<ScheduledEvent>;
    fn cancel_scheduled(event_id: &str) -> bool;
    fn append_due(limit: usize) -> Vec<(String, AppendOutcome)>;
    fn next_due() -> Option<Timestamp>;
}

pass_on! { StatsStore, StorageFailure;
    fn add_stats(samples: &[StatSample]) -> ();
    fn stats(since_minute: Option<i64>) -> Vec<StatSample>;
    fn fold_stats(before_minute: i64) -> ();
}

#[async_trait]
impl<H: Hook> GroupStore for Wrapped<H> {
    async fn create_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<GroupRecord, GroupStoreError> {
        self.hook.before("create_group").await?;
        self.store.create_group(spec, at).await
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError> {
        self.hook.before("groups").await?;
        self.store.groups().await
    }

    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError> {
        self.hook.before("group").await?;
        self.store.group(name).await
    }

    async fn blocked_keys(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<(u16, BlockedKey)>, GroupStoreError> {
        self.hook.before("blocked_keys").await?;
        self.store.blocked_keys(name, limit).await
    }

    async fn delete_group(&self, name: &str) -> Result<bool, GroupStoreError> {
        self.hook.before("delete_group").await?;
        self.store.delete_group(name).await
    }

    async fn reset_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
        self.hook.before("reset_group").await?;
        self.store.reset_group(name, at).await
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        self.hook.before("lease").await?;
        let leases = self.store.lease(request).await?;
        self.hook.leased(&leases);
        self.hook.after("lease").await?;
        Ok(leases)
    }

    async fn leave(&self, group: &str, consumer: &str, token: u64) -> Result<(), GroupStoreError> {
        self.hook.before("leave").await?;
        self.store.leave(group, consumer, token).await
    }

    async fn commit(&self, commits: &[SegmentCommit]) -> Result<Vec<CommitOutcome>, GroupStoreError> {
        self.hook.before("commit").await?;
        let outcomes = self.store.commit(&self.hook.commits(commits)).await?;
        self.hook.after("commit").await?;
        Ok(outcomes)
    }

    async fn enqueue(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        self.hook.before("enqueue").await?;
        self.store.enqueue(runner, batches).await
    }

    async fn lane(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError> {
        self.hook.before("lane").await?;
        self.store.lane(group, after, limit).await
    }

    async fn withdraw(&self, replay_id: &str) -> Result<u64, GroupStoreError> {
        self.hook.before("withdraw").await?;
        self.store.withdraw(replay_id).await
    }
}
