//! Finding out once for many: one caller looks, the others wait for what comes of it.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use domain::StorageFailure;
use tokio::time::{Instant, timeout_at};

/// Whose turn it is to look.
#[derive(Default)]
pub(crate) struct SingleFlight {
    lock: tokio::sync::Mutex<()>,
    looks: AtomicU64,
    failure: Mutex<Option<StorageFailure>>,
}

impl SingleFlight {
    /// Answers with what is `known`, if that is so by the time that it is this caller's turn, else with what the look finds. A
    /// look of another caller that failed meanwhile is this one's, too: who stands in a long row is not to ask again and again
    /// what cannot be known yet.
    ///
    /// # Errors
    /// That of the look, and unavailable where it takes too long.
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
