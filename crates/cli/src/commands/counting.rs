//! Counting what a command does, beside the counters of every other process that uses the store.

use stats::Meter;

use crate::store::{self, Stores};

/// Minutes that are kept apart; older ones are folded together, here because no long-running process may ever do it.
const MINUTES_KEPT: i64 = 24 * 60;

/// A meter for one run.
pub(super) fn meter() -> Meter {
    Meter::new(store::clock())
}

/// Adds what was counted to the store's counters. What cannot be counted is no reason for a command to fail: what it
/// did is done.
pub(super) async fn keep(meter: &Meter, stores: &Stores) {
    let kept = match meter.flush(&*stores.counters).await {
        Ok(()) => stores.counters.fold_stats(meter.minute() - MINUTES_KEPT).await,
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "the counters of this run could not be stored");
    }
}
