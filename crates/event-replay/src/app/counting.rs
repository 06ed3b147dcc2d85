//! Counters of a request, which are added to the counters of all processes on the store.

use std::time::Duration;

pub use stats::Meter;

use super::store::clock;
use crate::handle::StoreHandle;

/// Minutes with separate counters. Older minutes are merged into one. Each run does this, because there may be no
/// long-running process.
const MINUTES_KEPT: i64 = 24 * 60;

/// The longest wait until the counters of a run are stored.
const KEPT_WITHIN: Duration = Duration::from_secs(5);

/// Returns a meter for one run.
pub fn meter() -> Meter {
    Meter::new(clock())
}

/// Adds the counters of the run to the counters in the store. A failure does not fail the request, because the request
/// has taken effect. If another process locks the store, the counters are dropped after 5 s. The request may have
/// waited for that lock already.
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
