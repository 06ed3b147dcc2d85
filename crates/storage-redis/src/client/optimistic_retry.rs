//! Reading, deciding and writing again, because another caller was quicker.

use std::time::{Duration, Instant};

use domain::StorageFailure;

/// How often something is tried before it is given up as busy. Each time another caller got on.
const MOST: u32 = 200;
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

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
        if self.made >= MOST {
            return Err(StorageFailure::Busy { waited: self.began.elapsed() });
        }
        let at_most = Duration::from_micros(500).saturating_mul(1 << self.made.min(8)).min(LONGEST_PAUSE);
        tokio::time::sleep(at_most.mul_f64(fastrand::f64())).await;
        Ok(())
    }
}
