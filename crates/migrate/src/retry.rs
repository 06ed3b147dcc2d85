//! Calls of the stores that are tried again after faults that pass by themselves.

use std::time::{Duration, Instant};

use backon::Retryable;
use domain::{
    Backoff, Jitter, RETRY_WITHIN, Retry, RetryPolicy,
    ports::{EventStoreError, ReplayStoreError},
};

const POLICY: RetryPolicy =
    RetryPolicy { max_retries: 5, backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)) };

/// The pauses of a call that begins now. They end [`RETRY_WITHIN`] of it.
fn pauses() -> impl Iterator<Item = Duration> + Send + Sync + Unpin {
    let first_try = Instant::now();
    POLICY.pauses(Jitter::Added, fastrand::f64).take_while(move |_| first_try.elapsed() < RETRY_WITHIN)
}

/// A call that comes to the same however often it is made.
pub(crate) async fn repeated<T, F>(call: impl FnMut() -> F) -> Result<T, EventStoreError>
where
    F: Future<Output = Result<T, EventStoreError>>,
{
    call.retry(pauses()).when(|error: &EventStoreError| error.retry() != Retry::Never).await
}

/// A call that must not take effect twice: it is repeated only where it certainly took none.
pub(crate) async fn repeated_if_undone<F>(call: impl FnMut() -> F) -> Result<(), ReplayStoreError>
where
    F: Future<Output = Result<(), ReplayStoreError>>,
{
    call.retry(pauses()).when(|error: &ReplayStoreError| error.retry() == Retry::Later).await
}
