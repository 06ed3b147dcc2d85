//! Plans, runs and reports replays: deliveries of a frozen set of stored events.
//!
//! A [`Plan`] freezes a set of events by its marks. [`ReplayManager::run`] sends exactly that set to a
//! [`ReplayTarget`](domain::ports::ReplayTarget) and returns a [`ReplayReport`]. A replay reads the log and never
//! appends to it. It leaves a replay count beside each event, and a record of the replay.
//!
//! A replay into consumer groups is a job. [`ReplayManager::start_group_replay`] stores the job, and a [`JobRunner`]
//! runs it, in this process or another. Checkpoints and retention are also in this crate, since both work with marks in
//! the log. The [`Redriver`] redrives dead letters.

mod backoff;
pub mod cancel;
pub mod checkpoints;
mod counts;
pub mod error;
pub mod groups;
pub mod host;
pub mod housekeeping;
pub mod job;
pub mod kept;
mod lease;
pub mod manager;
pub mod membership;
pub mod options;
pub mod pace;
mod pages;
pub mod plan;
mod planner;
pub mod record;
mod recorded;
pub mod redrive;
pub mod report;
pub mod retention;
mod run;
mod segments;
mod span;
pub mod steering;
mod upcasting;
pub mod upcasts;

pub use cancel::Cancel;
pub use checkpoints::{CheckpointDiff, Checkpoints, NewCheckpoint};
pub use error::{GapCause, ReplayError};
pub use groups::{GroupChoice, GroupReplayOptions};
pub use host::{JobHost, resume_waiting};
pub use housekeeping::{Housekeeper, HousekeepingOptions};
pub use job::JobRunner;
pub use kept::PlanLosses;
pub use manager::ReplayManager;
pub use membership::{ReplayOf, ReplayedState};
pub use options::{ReplayOptions, ReplayProgress, ReplayWatcher};
pub use pace::{Pace, Pacer};
pub use plan::{DryRun, InvalidExample, Plan, PlanRequest, PlanSegment};
pub use record::ReplaySummary;
pub use redrive::{DiscardReport, Letters, RedriveError, RedriveReport, RedriveWatcher, Redriver};
pub use report::{GroupResult, PlanGap, ReplayErrorEntry, ReplayReport, ReplayStatus};
pub use retention::{RetentionOptions, RetentionReport};
pub use steering::{AutoPause, FailureLimit};
pub use upcasts::{FailedUpcast, PlanUpcasts, UpcastCount};
