//! Entities: the things that an event names by its top-level `…Id` members.

use serde::{Deserialize, Serialize};

/// A thing that events name: `userId: "user-123"` names (`user`, `user-123`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entity {
    /// Name of the member without its `Id`: `user`, `targetUser`, `payment`.
    pub kind: String,
    /// Value of the member.
    pub id: String,
}

impl Entity {
    /// Returns the entity of this kind and id.
    pub fn new(kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self { kind: kind.into(), id: id.into() }
    }
}

impl std::fmt::Display for Entity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.kind, self.id)
    }
}

/// Returns the entity kind that a top-level member names, if the member names an entity. `correlationId` and
/// `causationId` name none.
///
/// ```
/// use event_replay_domain::entity::kind_of_member;
/// assert_eq!(kind_of_member("targetUserId"), Some("targetUser"));
/// assert_eq!(kind_of_member("correlationId"), None);
/// assert_eq!(kind_of_member("Id"), None);
/// ```
pub fn kind_of_member(member: &str) -> Option<&str> {
    match member {
        "correlationId" | "causationId" => None,
        _ => member.strip_suffix("Id").filter(|kind| !kind.is_empty()),
    }
}
