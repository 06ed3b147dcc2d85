//! Pauses of groups.

use async_trait::async_trait;

use crate::{group::GroupPause, ports::group_store::GroupStoreError};

/// Keeps the pauses of groups.
///
/// Laws:
/// - After `pause_group` every handle MUST find the pause, in place of another one of its source. A group that does not exist
///   MUST be refused with `NoGroup`.
/// - After `resume_group` no handle MUST find the pause of the source, or any pause where none is named. It MUST answer how many
///   there were, and MUST also be done where the store is full, as far as the storage has room kept back.
/// - `pauses` MUST give every pause of a group, by source, whether it is in effect or not; of another group it MUST give none.
/// - Deleting a group MUST remove its pauses. Resetting it MUST leave them.
/// - A store hands out leases of a paused group: its consumers stop handing over.
#[async_trait]
pub trait PauseStore: Send + Sync {
    /// Pauses a group.
    async fn pause_group(&self, group: &str, pause: &GroupPause) -> Result<(), GroupStoreError>;

    /// Ends the pause of a source, or every pause; how many there were.
    async fn resume_group(&self, group: &str, source: Option<&str>) -> Result<u64, GroupStoreError>;

    /// The pauses of a group.
    async fn pauses(&self, group: &str) -> Result<Vec<GroupPause>, GroupStoreError>;
}
