//! Calls to the stores that are retried after transient faults.

use std::time::{Duration, Instant};

use backon::Retryable;
use domain::{
    Backoff, Jitter, RETRY_WITHIN, Retry, RetryPolicy,
    ports::{EventStoreError, ReplayStoreError},
};

const POLICY: RetryPolicy =
    RetryPolicy { max_retries: 5, backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)) };

/// Returns the pauses between the tries of a call that begins now. They end [`RETRY_WITHIN`] after the first try.
fn pauses() -> impl Iterator<Item = Duration> + Send + Sync + Unpin {
    let first_try = Instant::now();
    POLICY.pauses(Jitter::Added, fastrand::f64).take_while(move |_| first_try.elapsed() < RETRY_WITHIN)
}

/// Makes a call that is safe to repeat. Retries it after transient faults and lost answers.
pub(crate) async fn repeated<T, F>(call: impl FnMut() -> F) -> Result<T, EventStoreError>
where
    F: Future<Output = Result<T, EventStoreError>>,
{
    call.retry(pauses()).when(|error: &EventStoreError| error.retry() != Retry::Never).await
}

/// Makes a call that must not take effect twice. Retries it only if the failed try certainly had no effect.
pub(crate) async fn repeated_if_undone<F>(call: impl FnMut() -> F) -> Result<(), ReplayStoreError>
where
    F: Future<Output = Result<(), ReplayStoreError>>,
{
    call.retry(pauses()).when(|error: &ReplayStoreError| error.retry() == Retry::Later).await
}
