//! Counting what a request does, beside the counters of every other process that uses the store.

use std::time::Duration;

pub use stats::Meter;

use super::store::clock;
use crate::handle::StoreHandle;

/// Minutes that are kept apart; older ones are folded together, here because no long-running process may ever do it.
const MINUTES_KEPT: i64 = 24 * 60;

/// How long a run waits until its counters are stored.
const KEPT_WITHIN: Duration = Duration::from_secs(5);

/// A meter for one run.
pub fn meter() -> Meter {
    Meter::new(clock())
}

/// Adds what was counted to the store's counters. What cannot be counted is no reason for a request to fail: what it
/// did is done. Where another process locks the store, they are given up soon: the request may have waited for the lock already.
pub async fn keep(meter: &Meter, store: &StoreHandle) {
    let keeping = async {
        meter.flush(&**store.ports()).await?;
        store.fold_stats(meter.minute() - MINUTES_KEPT).await
    };
    let kept = match tokio::time::timeout(KEPT_WITHIN, keeping).await {
        Ok(kept) => kept.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the store took longer than {KEPT_WITHIN:?}")),
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "the counters of this run could not be stored");
    }
}
