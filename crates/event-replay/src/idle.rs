//! Waiting until a group has nothing left to do.

use std::time::Duration;

use domain::{
    Cursor,
    group::GroupStatus,
    ports::{EventStoreError, GroupStoreError, Stores},
};
use thiserror::Error;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why it could not be told whether a group is idle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdleError {
    /// The log could not be read.
    #[error(transparent)]
    Events(#[from] EventStoreError),
    /// The group could not be read, or there is none of this name.
    #[error(transparent)]
    Group(#[from] GroupStoreError),
}

/// Waits until a group has settled all there is: every event up to the head is handled, or given up on, nothing waits to be
/// tried again, and no replayed event is left in its lanes. What waits behind a dead letter does not count: it waits for
/// people.
///
/// It says what was so at one moment, so call it when no service publishes: in tests, and before a program ends. Without a
/// consumer it waits for ever.
///
/// # Errors
/// When the store fails, or has no group of this name.
pub async fn until_idle(store: &dyn Stores, group: &str) -> Result<(), IdleError> {
    while !is_idle(store, group).await? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

pub(crate) async fn is_idle(store: &dyn Stores, group: &str) -> Result<bool, IdleError> {
    // The head first: what comes after it is not asked for.
    let head = store.head().await?;
    let status = store.group(group).await?.ok_or_else(|| GroupStoreError::NoGroup(group.to_owned()))?;
    Ok(has_settled(&status, &head))
}

/// Whether a group has settled everything up to a head. A key that is parked behind a dead letter waits for people.
pub(crate) fn has_settled(status: &GroupStatus, head: &Cursor) -> bool {
    status.segments.iter().all(|segment| {
        segment.cursor >= head.sequence(segment.partition)
            && segment.blocked_keys == segment.parked_keys
            && segment.lane == 0
    })
}
