//! The ports: what the core needs of the world, each with its laws.
//!
//! A sentence with MUST is a law, and each law is one named test in the conformance crate, which every adapter runs
//! whole. Ports follow atomic steps: what must happen together is one call of one port.

pub mod checkpoint_store;
pub mod clock;
pub mod event_store;
pub mod event_validator;
pub mod replay_store;
pub mod replay_target;
pub mod schema_store;

pub use checkpoint_store::{CheckpointStore, CheckpointStoreError};
pub use clock::{Clock, SystemClock};
pub use event_store::{
    AppendOutcome, Atomicity, Erased, EventStore, EventStoreError, Finding, Order, Page, ReadRequest,
    StoreInfo, TrimRequest, Trimmed, VerifyReport,
};
pub use event_validator::{EventValidator, SchemaSummary, Verdict};
pub use replay_store::{ReplayStore, ReplayStoreError};
pub use replay_target::{DeliveryOutcome, ReplayDelivery, ReplayTarget, TargetError};
pub use schema_store::{Describes, SchemaRecord, SchemaStore, SchemaStoreError};
