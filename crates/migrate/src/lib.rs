//! Brings events, replay counts and checkpoints into a store: from what the TypeScript event system keeps in Redis
//! ([`migrate`]), or from another store of ours ([`copy`]), whatever its backend or number of partitions.
//!
//! # Why it needs no state of its own
//! Appending is idempotent by id and content, so the target itself says how far a migration has come: a batch is looked
//! up first, and what is there is passed over. A replay count is raised by what it lacks, a checkpoint is known by its id.
//! So a run that was killed is resumed by running it again, and a run after the last one changes nothing and says so.
//!
//! # What is promised
//! - The source is only read. [`Source`] has no command that writes.
//! - Nothing is dropped in silence: whatever is not taken is a [`Problem`] with its reason, and counted.
//! - What was taken is compared, index by index: the [`Report`] has every key whose count differs, and why.
//!
//! Read in this order: `layout` (what the old system keeps where), `reference` (the run), `taking` (a batch).

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
