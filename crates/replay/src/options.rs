//! How a replay runs, and who watches.

use crate::{
    cancel::Cancel,
    error::ReplayError,
    pace::Pace,
    steering::{AutoPause, FailureLimit},
};

/// How a replay runs.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Events handed to the target at once, at least 1.
    pub batch_size: usize,
    /// How fast it goes.
    pub pace: Pace,
    /// How often a batch is tried again while the target cannot be reached.
    pub max_retries: u32,
    /// Permits a replay of everything: without filter and from the start of the log.
    pub all: bool,
    /// For the calls that plan by themselves: at most this many events, the oldest of those that match.
    pub limit: Option<u64>,
    /// The number of failed events at which the run ends as [cancelled](crate::ReplayStatus::Cancelled).
    pub failure_limit: Option<FailureLimit>,
    /// The target's name in the run's record and in counters.
    pub target: String,
    /// Ends the run after the batch in hand.
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
    /// Checks that they make sense.
    ///
    /// # Errors
    /// When the batch size is zero or the rate is not a positive number.
    pub fn check(&self) -> Result<(), ReplayError> {
        if self.batch_size == 0 {
            return Err(ReplayError::InvalidOption("a batch has at least 1 event".to_owned()));
        }
        self.failure_limit.as_ref().map_or(Ok(()), FailureLimit::check)?;
        self.pace.check()
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayProgress {
    /// Events of the plan.
    pub total: u64,
    /// Events the target handled.
    pub successful: u64,
    /// Events that it refused permanently.
    pub failed: u64,
    /// Events it declined.
    pub skipped: u64,
}

impl ReplayProgress {
    /// Events done with.
    pub fn done(&self) -> u64 {
        self.successful + self.failed + self.skipped
    }
}

/// Is told how far a run has come, after every batch. Any `Fn(ReplayProgress)` is one.
pub trait ReplayWatcher: Send + Sync {
    /// A batch is done.
    fn progressed(&self, progress: ReplayProgress);

    /// It pauses by itself, for this reason. A call of [`ReplayWatcher::rests`] follows.
    fn stopped(&self, reason: &AutoPause) {
        let _ = reason;
    }

    /// It rests from now on because it was asked to, or goes on.
    fn rests(&self, is_paused: bool) {
        let _ = is_paused;
    }
}

impl<F: Fn(ReplayProgress) + Send + Sync> ReplayWatcher for F {
    fn progressed(&self, progress: ReplayProgress) {
        self(progress);
    }
}

/// Ignores progress.
impl ReplayWatcher for () {
    fn progressed(&self, _: ReplayProgress) {}
}
