//! Counting what a request does, beside the counters of every other process that uses the store.

use stats::Meter;

use super::store::clock;
use crate::handle::StoreHandle;

/// Minutes that are kept apart; older ones are folded together, here because no long-running process may ever do it.
const MINUTES_KEPT: i64 = 24 * 60;

/// A meter for one run.
pub fn meter() -> Meter {
    Meter::new(clock())
}

/// Adds what was counted to the store's counters. What cannot be counted is no reason for a request to fail: what it
/// did is done.
pub async fn keep(meter: &Meter, store: &StoreHandle) {
    let kept = match meter.flush(&**store.ports()).await {
        Ok(()) => store.fold_stats(meter.minute() - MINUTES_KEPT).await,
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "the counters of this run could not be stored");
    }
}
