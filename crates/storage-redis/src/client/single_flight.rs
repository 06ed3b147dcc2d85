//! One request for many callers: one caller asks, and the others wait for its result.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use domain::StorageFailure;
use tokio::time::{Instant, timeout_at};

/// The lock of the caller that asks, and the result of the last request.
#[derive(Default)]
pub(crate) struct SingleFlight {
    lock: tokio::sync::Mutex<()>,
    looks: AtomicU64,
    failure: Mutex<Option<StorageFailure>>,
}

impl SingleFlight {
    /// Returns the `known` value if there is one when this caller gets the lock, and otherwise runs `look`. If the
    /// look of another caller failed meanwhile, this caller gets the same failure. So callers in a long queue do not
    /// repeat a request that fails.
    ///
    /// # Errors
    /// Returns the error of `look`, or [`StorageFailure::Unavailable`] when the deadline passes first.
    pub(crate) async fn look<T>(
        &self,
        deadline: Instant,
        known: impl Fn() -> Option<T>,
        look: impl Future<Output = Result<T, StorageFailure>>,
    ) -> Result<T, StorageFailure> {
        let late = |_| StorageFailure::Unavailable("no master was found before the deadline".to_owned());
        let before = self.looks.load(Ordering::Acquire);
        let _turn = timeout_at(deadline, self.lock.lock()).await.map_err(late)?;
        if let Some(known) = known() {
            return Ok(known);
        }
        if self.looks.load(Ordering::Acquire) != before
            && let Some(failure) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
        {
            return Err(failure);
        }
        let found = timeout_at(deadline, look).await.map_err(late).flatten();
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = found.as_ref().err().cloned();
        self.looks.fetch_add(1, Ordering::Release);
        found
    }
}
