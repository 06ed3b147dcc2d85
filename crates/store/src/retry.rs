//! Repeats a read, its decision and its write when another caller changed the rows first.

use std::time::Instant;

use domain::{Jitter, RetryPolicy, StorageFailure};

/// The attempts of one call.
pub(crate) struct OptimisticRetry {
    made: u32,
    began: Instant,
}

impl OptimisticRetry {
    /// Starts with no attempt made.
    pub(crate) fn new() -> Self {
        Self { made: 0, began: Instant::now() }
    }

    /// Counts a refused write, and waits for a random time. The random pause keeps two callers from colliding again.
    ///
    /// # Errors
    /// Returns [`StorageFailure::Busy`] when the engine refused the write too often.
    pub(crate) async fn again(&mut self) -> Result<(), StorageFailure> {
        self.made += 1;
        let Some(pause) = RetryPolicy::CONFLICTS.pause(self.made, Jitter::Full, fastrand::f64()) else {
            return Err(StorageFailure::Busy { waited: self.began.elapsed() });
        };
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
