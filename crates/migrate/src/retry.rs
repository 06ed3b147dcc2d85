//! Calls of the stores that are tried again after faults that pass by themselves.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use domain::{
    Retry,
    ports::{EventStoreError, ReplayStoreError},
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const RETRIES: usize = 5;

fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(RETRIES)
        .with_jitter()
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
