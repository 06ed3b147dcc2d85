//! The port of statistics: counters over time, and counts of the events. The store keeps the counters with the
//! events, so they outlive the programs that counted.

use async_trait::async_trait;
use serde::Serialize;

use crate::{error::StorageFailure, tally::Tally};

/// Counts of one counter in one minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatSample {
    /// Minute, counted from the Unix epoch. It is 0 for all samples that were merged.
    pub minute: i64,
    /// Name of the counter.
    pub name: String,
    /// Label of the sample, such as an event type. It may be empty.
    pub label: String,
    /// Number of occurrences.
    pub count: u64,
    /// Sum of the measured values, in their unit. It is 0 for a plain counter.
    pub sum: u64,
}

/// Keeps counters.
///
/// Laws:
/// - `add_stats` MUST add counts and sums to those of the same minute, name and label, all samples of a call in one
///   step.
/// - `stats` MUST return every sample at or after a minute, or all samples, sorted by minute, name and label.
/// - `fold_stats` MUST merge the samples before a minute into minute 0, and lose nothing.
/// - `event_counts` MUST equal the counts of a scan of the log, or be none. Unreadable events may be counted or not.
#[async_trait]
pub trait StatsStore: Send + Sync {
    /// Adds to the counters.
    async fn add_stats(&self, samples: &[StatSample]) -> Result<(), StorageFailure>;

    /// Returns the counters from a minute on. None returns all of them, minute 0 included.
    async fn stats(&self, since_minute: Option<i64>) -> Result<Vec<StatSample>, StorageFailure>;

    /// Merges the samples before a minute into minute 0.
    async fn fold_stats(&self, before_minute: i64) -> Result<(), StorageFailure>;

    /// Returns the counts of the log's events by type, source, day and kind of entity, without a scan. Returns none
    /// if the store does not count events.
    async fn event_counts(&self) -> Result<Option<Tally>, StorageFailure>;
}
