//! The port of pauses of groups.

use async_trait::async_trait;

use crate::{group::GroupPause, ports::group_store::GroupStoreError};

/// Keeps the pauses of groups.
///
/// Laws:
/// - After `pause_group`, every handle MUST find the pause, in place of another pause of the same source. For a group
///   that does not exist, the error MUST be `NoGroup`.
/// - After `resume_group`, no handle MUST find the pause of the source, or any pause if no source is named. It MUST
///   return the number of removed pauses. It MUST also succeed in a full store, as far as the storage has room in
///   reserve.
/// - `pauses` MUST return every pause of a group, by source, whether it is in effect or not. For another group, it
///   MUST return none.
/// - Deleting a group MUST remove its pauses. Resetting the group MUST keep them.
/// - A store still grants leases of a paused group. The group's consumers stop the deliveries.
#[async_trait]
pub trait PauseStore: Send + Sync {
    /// Pauses a group.
    async fn pause_group(&self, group: &str, pause: &GroupPause) -> Result<(), GroupStoreError>;

    /// Removes the pause of a source, or every pause. Returns their number.
    async fn resume_group(&self, group: &str, source: Option<&str>) -> Result<u64, GroupStoreError>;

    /// Returns the pauses of a group.
    async fn pauses(&self, group: &str) -> Result<Vec<GroupPause>, GroupStoreError>;
}
