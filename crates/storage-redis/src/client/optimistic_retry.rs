//! Reading, deciding and writing again, because another caller was quicker.

use std::time::Instant;

use domain::{Jitter, RetryPolicy, StorageFailure};

/// The tries of one call.
pub(crate) struct OptimisticRetry {
    made: u32,
    began: Instant,
}

impl OptimisticRetry {
    /// None was made yet.
    pub(crate) fn new() -> Self {
        Self { made: 0, began: Instant::now() }
    }

    /// Notes that a try was in vain, and waits a little, by chance: callers that met once should not meet again.
    ///
    /// # Errors
    /// Busy, when it was in vain too often.
    pub(crate) async fn again(&mut self) -> Result<(), StorageFailure> {
        self.made += 1;
        let Some(pause) = RetryPolicy::CONFLICTS.pause(self.made, Jitter::Full, fastrand::f64()) else {
            return Err(StorageFailure::Busy { waited: self.began.elapsed() });
        };
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
