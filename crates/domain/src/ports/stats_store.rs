//! Counters over time, kept with the events so that they outlive the programs that counted; and counts of the events.

use async_trait::async_trait;
use serde::Serialize;

use crate::{error::StorageFailure, tally::Tally};

/// Counts of one thing in one minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatSample {
    /// The minute, counted from the Unix epoch; 0 for everything that was folded together.
    pub minute: i64,
    /// What was counted.
    pub name: String,
    /// Of which kind, such as an event type; may be empty.
    pub label: String,
    /// How often.
    pub count: u64,
    /// The sum of what was measured, in its unit; 0 for a plain counter.
    pub sum: u64,
}

/// Keeps counters.
///
/// Laws:
/// - `add_stats` MUST add counts and sums to those of the same minute, name and label, all of a call in one step.
/// - `stats` MUST give every sample at or after a minute, or all, by minute, name and label.
/// - `fold_stats` MUST add what is older than a minute into minute 0, and lose nothing.
/// - `event_counts` MUST equal what a scan of the log counts, or be none. Events that cannot be read are counted, or not.
#[async_trait]
pub trait StatsStore: Send + Sync {
    /// Adds to the counters.
    async fn add_stats(&self, samples: &[StatSample]) -> Result<(), StorageFailure>;

    /// The counters from a minute on; all of them, minute 0 included, when none.
    async fn stats(&self, since_minute: Option<i64>) -> Result<Vec<StatSample>, StorageFailure>;

    /// Folds what is older than a minute together.
    async fn fold_stats(&self, before_minute: i64) -> Result<(), StorageFailure>;

    /// The events of the log by type, source, day and kind of entity, without a scan; none where the store does not count
    /// them.
    async fn event_counts(&self) -> Result<Option<Tally>, StorageFailure>;
}
