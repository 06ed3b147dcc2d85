//! The options of a replay, and the watcher of its progress.

use crate::{
    cancel::Cancel,
    error::ReplayError,
    pace::Pace,
    steering::{AutoPause, FailureLimit},
};

/// The options of a replay.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// The number of events in one batch for the target, at least 1.
    pub batch_size: usize,
    /// The speed limit of the replay.
    pub pace: Pace,
    /// The most retries of a batch while the target is unavailable.
    pub max_retries: u32,
    /// Permits a replay of everything: without a filter, from the start of the log.
    pub all: bool,
    /// For calls that make their own plan: the most events, the oldest matching events first.
    pub limit: Option<u64>,
    /// The number of failed events at which the run ends as [cancelled](crate::ReplayStatus::Cancelled).
    pub failure_limit: Option<FailureLimit>,
    /// The target's name in the record of the run and in the counters.
    pub target: String,
    /// Ends the run after the current batch.
    pub cancel: Cancel,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            batch_size: 50,
            pace: Pace::default(),
            max_retries: 3,
            all: false,
            limit: None,
            failure_limit: None,
            target: "stdout".to_owned(),
            cancel: Cancel::default(),
        }
    }
}

impl ReplayOptions {
    /// Checks the options.
    ///
    /// # Errors
    /// Returns [`ReplayError::InvalidOption`] when the batch size is zero or the pace is invalid.
    pub fn check(&self) -> Result<(), ReplayError> {
        if self.batch_size == 0 {
            return Err(ReplayError::InvalidOption("a batch has at least 1 event".to_owned()));
        }
        self.failure_limit.as_ref().map_or(Ok(()), FailureLimit::check)?;
        self.pace.check()
    }
}

/// The progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayProgress {
    /// Events of the plan.
    pub total: u64,
    /// Events that the target handled.
    pub successful: u64,
    /// Events that the target refused permanently.
    pub failed: u64,
    /// Events that the target skipped.
    pub skipped: u64,
}

impl ReplayProgress {
    /// Returns the number of events with an outcome.
    pub fn done(&self) -> u64 {
        self.successful + self.failed + self.skipped
    }
}

/// Receives the progress of a run after every batch. Every `Fn(ReplayProgress)` implements it.
pub trait ReplayWatcher: Send + Sync {
    /// Receives the progress after a batch has ended.
    fn progressed(&self, progress: ReplayProgress);

    /// It pauses by itself, for this reason. A call of [`ReplayWatcher::rests`] follows.
    fn stopped(&self, reason: &AutoPause) {
        let _ = reason;
    }

    /// Receives whether the run is paused, on each pause and resumption.
    fn rests(&self, is_paused: bool) {
        let _ = is_paused;
    }
}

impl<F: Fn(ReplayProgress) + Send + Sync> ReplayWatcher for F {
    fn progressed(&self, progress: ReplayProgress) {
        self(progress);
    }
}

/// Ignores the progress.
impl ReplayWatcher for () {
    fn progressed(&self, _: ReplayProgress) {}
}
