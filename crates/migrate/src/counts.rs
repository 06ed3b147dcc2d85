//! Replay counts: raised by what they lack, so that raising them again changes nothing.

use std::collections::BTreeMap;

use domain::{Position, ports::ReplayStore};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::{error::MigrateError, retry::repeated_if_undone};

/// The highest count that is brought over. A store counts replays one by one; no event is replayed more often.
pub(crate) const MOST_REPLAYS: u32 = 10_000;

/// Calls that are on their way at once.
const AT_ONCE: usize = 32;

/// An event whose count is too low.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raise {
    pub(crate) position: Position,
    /// By how much, at least 1.
    pub(crate) by: u32,
    /// When it was last replayed.
    pub(crate) last: Timestamp,
}

/// Waits until a run before this one has come to its end in the store: of one that was dropped in this process the last calls
/// may still be on their way, and what they raise would be raised once more.
pub(crate) async fn settle(target: &dyn ReplayStore) -> Result<(), MigrateError> {
    repeated_if_undone(|| target.record_replayed(&[], Timestamp::now())).await.map_err(MigrateError::from)
}

/// Raises the counts of a batch. The last raise of each event comes last, since it sets the time.
///
/// Whatever ends it, running it again with what is lacking then comes to the same.
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
