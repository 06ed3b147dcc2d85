//! Migrates events, replay counts and checkpoints into a store. The source is the Redis of the TypeScript event system
//! ([`migrate`]), or another store of this project ([`copy`]) with any backend and any number of partitions.
//!
//! # Why a migration needs no state
//! An append is idempotent by id and content, so the target itself shows the progress of a migration. Each batch is
//! looked up first, and existing events are skipped. A replay count is raised by its difference, and a checkpoint is
//! identified by its id. So a new run continues a killed run. A run after a complete run changes nothing and reports
//! this.
//!
//! # Guarantees
//! - The source is only read. [`Source`] has no command that writes.
//! - Nothing is dropped silently: each event or key that is not migrated is counted, as a [`Problem`] with its reason.
//! - Each index of the migrated events is compared. The [`Report`] has every key with a different count, and the cause.
//!
//! Read the modules in this order: `layout` (the keys of the old system), `reference` (the run), `taking` (a batch).

mod checkpoints;
mod comparing;
mod copy;
mod counts;
mod differences;
mod error;
mod index;
mod layout;
mod marks;
mod old_checkpoint;
mod old_event;
mod options;
mod reference;
mod report;
mod retry;
mod source;
mod strays;
mod taking;
mod time_order;

pub use copy::copy;
pub use error::{MigrateError, SourceError};
pub use index::IndexKind;
pub use layout::Layout;
pub use options::{Options, Phase, ProgressCallback};
pub use reference::migrate;
pub use report::{
    CheckpointTally, CountTally, Difference, IndexTally, Problem, Report, SchemaTally, StayedBehind,
};
pub use source::Source;
