//! Pauses before trying again: doubling, capped, with full jitter.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use domain::{
    Retry, StorageFailure,
    ports::{CheckpointStoreError, EventStoreError, GroupStoreError, ReplayStoreError},
};

const BASE: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(30);

/// How often a call is repeated.
const RETRIES: usize = 5;

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
pub(crate) fn pauses(max_retries: usize) -> impl Iterator<Item = Duration> + Send {
    bounds(max_retries).map(|bound| bound.mul_f64(fastrand::f64()))
}

fn bounds(max_retries: usize) -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default().with_min_delay(BASE).with_max_delay(CAP).with_max_times(max_retries).build()
}

/// Repeats a call while its fault is one that passes. Only for calls that change nothing, or that come to the same however
/// often they are made.
pub(crate) async fn repeated<T, E, F>(mut call: impl FnMut() -> F) -> Result<T, E>
where
    E: Fault,
    F: Future<Output = Result<T, E>> + Send,
{
    let mut pauses = pauses(RETRIES);
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
