//! Retries of calls after temporary failures.

use std::time::Duration;

use domain::{
    Backoff, Jitter, RETRY_WITHIN, Retry, RetryPolicy, StorageFailure,
    ports::{CheckpointStoreError, EventStoreError, GroupStoreError, ReplayStoreError},
};

/// The most retries of a call.
const RETRIES: u32 = 5;

/// The error of a port. It says whether a retry of the call can succeed.
pub(crate) trait Fault {
    fn retry(&self) -> Retry;
}

macro_rules! faults {
    ($($error:ty),+) => {
        $(impl Fault for $error {
            fn retry(&self) -> Retry {
                <$error>::retry(self)
            }
        })+
    };
}

faults!(EventStoreError, ReplayStoreError, GroupStoreError, StorageFailure, CheckpointStoreError);

/// Returns one pause for each permitted retry. Each pause is drawn evenly from zero to a doubling bound. Runners that
/// failed together therefore do not retry together.
pub(crate) fn pauses(max_retries: u32) -> impl Iterator<Item = Duration> + Send {
    policy(max_retries).pauses(Jitter::Full, fastrand::f64)
}

/// Returns the pauses of a store call that begins now. They end when [`RETRY_WITHIN`] has passed.
pub(crate) fn store_pauses(max_retries: u32) -> impl Iterator<Item = Duration> + Send {
    let first_try = tokio::time::Instant::now();
    pauses(max_retries).take_while(move |_| first_try.elapsed() < RETRY_WITHIN)
}

/// The bounds of the pauses grow from 1 second to 30 seconds.
fn policy(max_retries: u32) -> RetryPolicy {
    RetryPolicy { max_retries, backoff: Backoff::default() }
}

/// Repeats a store call after a temporary failure. It is only for calls that change nothing, or that are idempotent.
pub(crate) async fn repeated<T, E, F>(mut call: impl FnMut() -> F) -> Result<T, E>
where
    E: Fault,
    F: Future<Output = Result<T, E>> + Send,
{
    let mut pauses = store_pauses(RETRIES);
    loop {
        match (call().await, pauses.next()) {
            (Err(error), Some(pause)) if error.retry() != Retry::Never => tokio::time::sleep(pause).await,
            (answer, _) => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(max_retries: u32) -> impl Iterator<Item = Duration> {
        policy(max_retries).pauses(Jitter::Full, || 1.0)
    }

    #[test]
    fn the_bounds_double_up_to_the_cap() {
        let seconds: Vec<u64> = bounds(8).map(|bound| bound.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn every_pause_lies_within_its_bound() {
        for _ in 0..200 {
            assert!(pauses(8).zip(bounds(8)).all(|(pause, bound)| pause <= bound));
        }
        assert_eq!(pauses(0).count(), 0);
    }
}
