//! Appending until the outcome is known.

use backon::{ExponentialBuilder, Retryable};
use domain::{
    Event, Retry,
    ports::{AppendOutcome, Atomicity, EventStore, EventStoreError},
};

use crate::settings::RetryRule;

/// Appends a batch and repeats it, with the same ids and bytes, after faults that pass and after lost answers: what an
/// earlier try stored is `AlreadyStored` then, so repeating never stores anything twice.
pub(crate) async fn append(
    store: &dyn EventStore,
    batch: &[Event],
    atomicity: Atomicity,
    rule: &RetryRule,
) -> Result<Vec<AppendOutcome>, EventStoreError> {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(rule.base)
        .with_max_delay(rule.cap)
        .with_max_times(rule.max_retries)
        .with_jitter();
    (|| store.append(batch, atomicity)).retry(pauses).when(|error| error.retry() != Retry::Never).await
}

/// Like [`append`], for events that stand or fall each on their own: a batch that the store finds too large is halved.
pub(crate) async fn append_each(
    store: &dyn EventStore,
    batch: &[Event],
    rule: &RetryRule,
) -> Result<Vec<AppendOutcome>, EventStoreError> {
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut size = batch.len().max(1);
    while let Some(rest) = batch.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
        let piece = rest.get(..size.min(rest.len())).unwrap_or(rest);
        match append(store, piece, Atomicity::Each, rule).await {
            Ok(answered) => outcomes.extend(answered),
            Err(EventStoreError::BatchTooLarge { .. }) if piece.len() > 1 => size = piece.len().div_ceil(2),
            Err(error) => return Err(error),
        }
    }
    Ok(outcomes)
}
