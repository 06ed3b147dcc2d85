//! What a group is asked to be, and what may be asked.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{DEFAULT_SEGMENTS, GroupKey, MAX_SEGMENTS};
use crate::filter::TypePattern;

/// Bytes that a group's name, and the entity kind of its key, may have.
pub const MAX_NAME_BYTES: usize = 128;

/// What a group is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupSpec {
    /// Its name, 1 to [`MAX_NAME_BYTES`] bytes.
    pub name: String,
    /// The types it takes; all when empty. May change from one subscription to the next.
    pub types: Vec<TypePattern>,
    /// What keeps its order. Frozen when the group is made.
    pub key: GroupKey,
    /// How many segments it has, 1 to [`MAX_SEGMENTS`]. Frozen when the group is made.
    pub segments: u16,
}

impl GroupSpec {
    /// A group that takes everything, ordered by the events' own keys, in 16 segments.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), types: Vec::new(), key: GroupKey::default(), segments: DEFAULT_SEGMENTS }
    }

    /// Whether it takes events of this type.
    pub fn takes(&self, event_type: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|pattern| pattern.matches(event_type))
    }

    /// Whether a group may be made of it.
    ///
    /// # Errors
    /// Says the first part that is out of its bounds.
    pub fn check(&self) -> Result<(), GroupSpecError> {
        let names = 1..=MAX_NAME_BYTES;
        if !names.contains(&self.name.len()) {
            return Err(GroupSpecError::Name { bytes: self.name.len() });
        }
        if !(1..=MAX_SEGMENTS).contains(&self.segments) {
            return Err(GroupSpecError::Segments { segments: self.segments });
        }
        match &self.key {
            GroupKey::Entity(kind) if !names.contains(&kind.len()) => {
                Err(GroupSpecError::EntityKind { bytes: kind.len() })
            }
            _ => Ok(()),
        }
    }

    /// What of it is frozen when the group is made, for people.
    ///
    /// ```
    /// use event_replay_domain::group::GroupSpec;
    /// assert_eq!(GroupSpec::new("mail").describe(), "the order of the events' own keys and 16 segments");
    /// ```
    pub fn describe(&self) -> String {
        let order = match &self.key {
            GroupKey::Event => "the order of the events' own keys".to_owned(),
            GroupKey::Correlation => "the order of correlation ids".to_owned(),
            GroupKey::Entity(kind) => format!("the order of entities of the kind {kind:?}"),
            GroupKey::All => "one order of everything".to_owned(),
        };
        format!("{order} and {} segments", self.segments)
    }
}

/// Why no group can be made of a specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GroupSpecError {
    /// The name is empty or too long.
    #[error("a group's name has 1 to {MAX_NAME_BYTES} bytes; this one has {bytes}")]
    Name {
        /// Bytes that it has.
        bytes: usize,
    },
    /// There are no segments, or too many.
    #[error("a group has 1 to {MAX_SEGMENTS} segments; {segments} were asked for")]
    Segments {
        /// Segments that were asked for.
        segments: u16,
    },
    /// The entity kind of the key is empty or too long.
    #[error("the entity kind of a group's key has 1 to {MAX_NAME_BYTES} bytes; this one has {bytes}")]
    EntityKind {
        /// Bytes that it has.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_each_is_named() {
        let named = |bytes: usize| GroupSpec::new("n".repeat(bytes)).check();
        assert_eq!([named(1), named(128)], [Ok(()); 2]);
        assert_eq!([0, 129].map(named), [0, 129].map(|bytes| Err(GroupSpecError::Name { bytes })));
        // Bytes, not characters.
        assert_eq!(GroupSpec::new("\u{20ac}".repeat(43)).check(), Err(GroupSpecError::Name { bytes: 129 }));
        let of = |segments| GroupSpec { segments, ..GroupSpec::new("g") }.check();
        assert_eq!([of(1), of(MAX_SEGMENTS)], [Ok(()); 2]);
        for segments in [0, MAX_SEGMENTS + 1, u16::MAX] {
            assert_eq!(of(segments), Err(GroupSpecError::Segments { segments }));
        }
        let kind =
            |bytes| GroupSpec { key: GroupKey::Entity("k".repeat(bytes)), ..GroupSpec::new("g") }.check();
        assert_eq!([kind(1), kind(128)], [Ok(()); 2]);
        assert_eq!([0, 129].map(kind), [0, 129].map(|bytes| Err(GroupSpecError::EntityKind { bytes })));
        for key in [GroupKey::Event, GroupKey::Correlation, GroupKey::All] {
            assert_eq!(GroupSpec { key, ..GroupSpec::new("g") }.check(), Ok(()));
        }
        let said = GroupSpecError::Segments { segments: 0 }.to_string();
        assert_eq!(said, "a group has 1 to 1024 segments; 0 were asked for");
    }

    #[test]
    fn a_description_tells_every_key_from_the_others() {
        let describe = |key, segments| GroupSpec { key, segments, ..GroupSpec::new("g") }.describe();
        assert_eq!(describe(GroupKey::Correlation, 1), "the order of correlation ids and 1 segments");
        let kind = GroupKey::Entity("lab\n".to_owned());
        assert_eq!(describe(kind, 4), r#"the order of entities of the kind "lab\n" and 4 segments"#);
        assert_eq!(describe(GroupKey::All, 2), "one order of everything and 2 segments");
    }
}
