//! Raising replay counts.

use domain::{
    Position, Retry,
    ports::{Clock, ReplayStore},
};

use crate::backoff::store_pauses;

/// How often raising replay counts is tried again, until it has failed permanently once.
const RETRIES: u32 = 3;

/// Raises replay counts. A store that cannot be written to does not keep history from its readers: what could not be
/// counted is told. After a lost answer it is not tried again, which could count twice.
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
    /// Counts one more replay of these events; how many could not be counted.
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
