//! Repeats of a read, a decision and a write, because another caller wrote first.

use std::time::Instant;

use domain::{Jitter, RetryPolicy, StorageFailure};

/// The tries of one call.
pub(crate) struct OptimisticRetry {
    made: u32,
    began: Instant,
}

impl OptimisticRetry {
    /// Returns a retry with no tries yet.
    pub(crate) fn new() -> Self {
        Self { made: 0, began: Instant::now() }
    }

    /// Records a failed try and waits for a short random time. So callers that collided once are unlikely to collide
    /// again.
    ///
    /// # Errors
    /// Returns [`StorageFailure::Busy`] after too many failed tries.
    pub(crate) async fn again(&mut self) -> Result<(), StorageFailure> {
        self.made += 1;
        let Some(pause) = RetryPolicy::CONFLICTS.pause(self.made, Jitter::Full, fastrand::f64()) else {
            return Err(StorageFailure::Busy { waited: self.began.elapsed() });
        };
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
