//! Waits until a group is idle.

use std::time::Duration;

use domain::{
    Cursor,
    group::GroupStatus,
    ports::{EventStoreError, GroupStoreError, Stores},
};
use thiserror::Error;

/// The pause between two reads of the group.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The reason for which the state of a group is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdleError {
    /// The log could not be read.
    #[error(transparent)]
    Events(#[from] EventStoreError),
    /// The group could not be read, or no group has this name.
    #[error(transparent)]
    Group(#[from] GroupStoreError),
}

/// Waits until a group is idle. Then the group has handled or given up on every event up to the head. No key waits for
/// a retry, and no replayed event is in the replay queue of a segment. Parked keys do not count, because they wait for
/// an operator.
///
/// The answer is true for one moment. Call this function when no service publishes: in tests, and before a program
/// ends. If the group has no consumer and has work left, the call never returns.
///
/// # Errors
/// Returns [`IdleError`] when the store fails, or when no group has this name.
pub async fn until_idle(store: &dyn Stores, group: &str) -> Result<(), IdleError> {
    while !is_idle(store, group).await? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

pub(crate) async fn is_idle(store: &dyn Stores, group: &str) -> Result<bool, IdleError> {
    // Read the head first: later events do not count.
    let head = store.head().await?;
    let status = store.group(group).await?.ok_or_else(|| GroupStoreError::NoGroup(group.to_owned()))?;
    Ok(has_settled(&status, &head))
}

/// Returns whether a group has settled every event up to a head. Parked keys do not count, because they wait for an
/// operator.
pub(crate) fn has_settled(status: &GroupStatus, head: &Cursor) -> bool {
    status.segments.iter().all(|segment| {
        segment.cursor >= head.sequence(segment.partition)
            && segment.blocked_keys == segment.parked_keys
            && segment.lane == 0
    })
}
