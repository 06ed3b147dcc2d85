//! The ports: the interfaces through which the core uses the outside world, each with its laws.
//!
//! A sentence with MUST is a law. Each law is one named test in the conformance crate, and every adapter runs all of
//! these tests. A port follows atomic steps: changes that must happen together are one call of one port.

pub mod audit_store;
pub mod checkpoint_store;
pub mod clock;
pub mod dead_letter_store;
pub mod engine;
pub mod event_handler;
pub mod event_store;
pub mod event_upcaster;
pub mod event_validator;
pub mod group_store;
pub mod pause_store;
pub mod plan_store;
pub mod replay_store;
pub mod replay_target;
pub mod request_store;
pub mod schedule_store;
pub mod schema_store;
pub mod stats_store;
pub mod token_store;

pub use audit_store::AuditStore;
pub use checkpoint_store::{CheckpointStore, CheckpointStoreError};
pub use clock::{Clock, SystemClock};
pub use dead_letter_store::{DeadLetterChange, DeadLetterCount, DeadLetterQuery, DeadLetterStore};
pub use engine::StorageEngine;
pub use event_handler::EventHandler;
pub use event_store::{
    AppendOutcome, Atomicity, Erased, EventStore, EventStoreError, Finding, GroupHolds, Order, Page,
    ReadRequest, RetentionMode, StoreInfo, TrimRequest, Trimmed, VerifyReport,
};
pub use event_upcaster::EventUpcaster;
pub use event_validator::{EventValidator, SchemaSummary, Verdict};
pub use group_store::{
    CommitOutcome, EnqueueOutcome, GroupStore, GroupStoreError, LeaseRequest, Leases, MadeGroup,
    SegmentCommit,
};
pub use pause_store::PauseStore;
pub use plan_store::PlanStore;
pub use replay_store::{
    ReplayCommand, ReplayLease, ReplayRecord, ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate,
};
pub use replay_target::{DeliveryOutcome, ReplayDelivery, ReplayTarget, TargetError};
pub use request_store::{RequestClaim, RequestStore};
pub use schedule_store::{ScheduleOutcome, ScheduleStore, ScheduledEvent};
pub use schema_store::{Describes, SchemaRecord, SchemaStore};
pub use stats_store::{StatSample, StatsStore};
pub use token_store::TokenStore;

/// Every storage port of one store, for callers that need all of them.
pub trait Stores:
    EventStore
    + CheckpointStore
    + SchemaStore
    + ReplayStore
    + GroupStore
    + DeadLetterStore
    + ScheduleStore
    + StatsStore
    + AuditStore
    + TokenStore
    + PlanStore
    + PauseStore
    + RequestStore
{
}

impl<T> Stores for T where
    T: EventStore
        + CheckpointStore
        + SchemaStore
        + ReplayStore
        + GroupStore
        + DeadLetterStore
        + ScheduleStore
        + StatsStore
        + AuditStore
        + TokenStore
        + PlanStore
        + PauseStore
        + RequestStore
        + ?Sized
{
}
