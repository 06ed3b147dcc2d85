//! Replay counts. Each count is raised by its difference to the source, so a second run changes nothing.

use std::collections::BTreeMap;

use domain::{
    Position,
    ports::{ReplayStore, Stores},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::{error::MigrateError, retry::repeated_if_undone};

/// The highest migrated replay count. A store counts replays one by one, and real counts are lower.
pub(crate) const MOST_REPLAYS: u32 = 10_000;

/// The number of concurrent calls.
const AT_ONCE: usize = 32;

/// An event with a replay count that is too low.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raise {
    pub(crate) position: Position,
    /// The difference to the source, at least 1.
    pub(crate) by: u32,
    /// The time of the last replay.
    pub(crate) last: Timestamp,
}

/// Waits until the calls of an earlier run have ended in the store. A run that was dropped in this process may have
/// calls in progress. Their raises would otherwise be counted twice. Stores perform the writes of a partition in the order of their
/// calls, so a write to each partition ends after them. No event has the sequence 0, so the write counts nothing.
pub(crate) async fn settle(target: &dyn Stores) -> Result<(), MigrateError> {
    let partitions = target.head().await?.sequences.len();
    let nothing: Vec<Position> =
        (0..partitions as u16).map(|partition| Position::new(partition, 0)).collect();
    repeated_if_undone(|| target.record_replayed(&nothing, Timestamp::now()))
        .await
        .map_err(MigrateError::from)
}

/// Raises the counts of a batch. The last raise of each event comes at the end, because it sets the time.
///
/// If the call fails, a new call with the remaining differences has the same result.
pub(crate) async fn raise(target: &dyn ReplayStore, raises: &[Raise]) -> Result<(), MigrateError> {
    let rounds = raises.iter().map(|raise| raise.by).max().unwrap_or(0);
    let earlier = (1..rounds).filter_map(|round| {
        let lacking = raises.iter().filter(|raise| raise.by > round);
        let at = lacking.clone().map(|raise| raise.last).max()?;
        Some((at, lacking.map(|raise| raise.position).collect()))
    });
    count_all(target, earlier.collect()).await?;
    let mut last: BTreeMap<Timestamp, Vec<Position>> = BTreeMap::new();
    for raise in raises {
        last.entry(raise.last).or_default().push(raise.position);
    }
    count_all(target, last.into_iter().collect()).await
}

async fn count_all(
    target: &dyn ReplayStore,
    calls: Vec<(Timestamp, Vec<Position>)>,
) -> Result<(), MigrateError> {
    stream::iter(calls)
        .map(|(at, positions)| async move {
            repeated_if_undone(|| target.record_replayed(&positions, at)).await.map_err(MigrateError::from)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}
