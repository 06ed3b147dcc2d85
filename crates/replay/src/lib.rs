//! Plan, run and report: what of history a replay would send, and sending exactly that.
//!
//! A [`Plan`] freezes a set of events by its marks; [`ReplayManager::run`] sends exactly that set to a
//! [`ReplayTarget`](domain::ports::ReplayTarget) and answers with a [`ReplayReport`]. Replays read the log and never
//! write to it: what they leave behind are replay counts, kept beside the events. Checkpoints and retention are here
//! too, since both are about marks in the log.

mod backoff;
pub mod cancel;
pub mod checkpoints;
pub mod error;
pub mod manager;
pub mod options;
pub mod pace;
mod pages;
pub mod plan;
mod planner;
pub mod report;
pub mod retention;
mod run;
mod segments;

pub use cancel::Cancel;
pub use checkpoints::{CheckpointDiff, Checkpoints, NewCheckpoint};
pub use error::{GapCause, ReplayError};
pub use manager::ReplayManager;
pub use options::{ReplayOptions, ReplayProgress, ReplayWatcher};
pub use pace::Pace;
pub use plan::{DryRun, InvalidExample, Plan, PlanRequest, PlanSegment};
pub use report::{GroupResult, PlanGap, ReplayErrorEntry, ReplayReport, ReplayStatus};
pub use retention::RetentionReport;
