//! Raises the replay counts of events.

use domain::{
    Position, Retry,
    ports::{Clock, ReplayStore},
};

use crate::backoff::store_pauses;

/// The most retries of one raise of replay counts. After a first permanent failure there are no more retries.
const RETRIES: u32 = 3;

/// Raises replay counts. A store that cannot be written does not stop a replay. The caller gets the number of events
/// that could not be counted. After a lost answer there is no retry, because it could count twice.
#[derive(Debug)]
pub(crate) struct Counter {
    retries: u32,
}

impl Default for Counter {
    fn default() -> Self {
        Self { retries: RETRIES }
    }
}

impl Counter {
    /// Counts one more replay of these events. Returns how many events could not be counted.
    pub(crate) async fn count(
        &mut self,
        replays: &dyn ReplayStore,
        clock: &dyn Clock,
        positions: &[Position],
    ) -> u64 {
        if positions.is_empty() {
            return 0;
        }
        let mut pauses = store_pauses(self.retries);
        loop {
            let Err(error) = replays.record_replayed(positions, clock.now()).await else { return 0 };
            match pauses.next().filter(|_| error.retry() == Retry::Later) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    tracing::warn!(%error, events = positions.len(), "replay counts were not raised");
                    self.retries = 0;
                    return positions.len() as u64;
                }
            }
        }
    }
}
