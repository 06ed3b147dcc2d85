//! Calls that are tried again after faults that pass.

use std::time::Duration;

use domain::{
    Backoff, Jitter, RETRY_WITHIN, Retry, RetryPolicy, StorageFailure,
    ports::{CheckpointStoreError, EventStoreError, GroupStoreError, ReplayStoreError},
};

/// How often a call is repeated.
const RETRIES: u32 = 5;

/// A port's error, which knows whether repeating the call can help.
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

/// As many pauses as there may be retries. Each is drawn evenly from zero to the doubling bound, so that many runners
/// that failed together do not come back together.
pub(crate) fn pauses(max_retries: u32) -> impl Iterator<Item = Duration> + Send {
    policy(max_retries).pauses(Jitter::Full, fastrand::f64)
}

/// The pauses of a call of a store that begins now. They end [`RETRY_WITHIN`] of it.
pub(crate) fn store_pauses(max_retries: u32) -> impl Iterator<Item = Duration> + Send {
    let first_try = tokio::time::Instant::now();
    pauses(max_retries).take_while(move |_| first_try.elapsed() < RETRY_WITHIN)
}

/// From 1 second to 30.
fn policy(max_retries: u32) -> RetryPolicy {
    RetryPolicy { max_retries, backoff: Backoff::default() }
}

/// Repeats a call of a store while its fault is one that passes. Only for calls that change nothing, or that come to the same
/// however often they are made.
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
