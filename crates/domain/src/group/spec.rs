//! The settings of a group, and their bounds.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{DEFAULT_SEGMENTS, GroupKey, MAX_SEGMENTS};
use crate::filter::TypePattern;

/// Most bytes of a group's name and of the entity kind of its key.
pub const MAX_NAME_BYTES: usize = 128;

/// Settings of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupSpec {
    /// Name of the group, 1 to [`MAX_NAME_BYTES`] bytes.
    pub name: String,
    /// Event types that the group takes. Empty means all. They may change from one subscription to the next.
    pub types: Vec<TypePattern>,
    /// Rule by which the group keeps events in order. It is frozen when the group is made.
    pub key: GroupKey,
    /// Number of segments, 1 to [`MAX_SEGMENTS`]. It is frozen when the group is made.
    pub segments: u16,
}

impl GroupSpec {
    /// Returns the settings of a group that takes every event, ordered by the events' own keys, in 16 segments.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), types: Vec::new(), key: GroupKey::default(), segments: DEFAULT_SEGMENTS }
    }

    /// Returns whether the group takes events of this type.
    pub fn takes(&self, event_type: &str) -> bool {
        takes(&self.types, event_type)
    }

    /// Checks that the settings are within their bounds.
    ///
    /// # Errors
    /// Returns the first setting that is out of its bounds.
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

    /// Describes the frozen settings, for people.
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

/// Returns whether a group with these types takes events of a type. An empty list takes all.
pub(super) fn takes(types: &[TypePattern], event_type: &str) -> bool {
    types.is_empty() || types.iter().any(|pattern| pattern.matches(event_type))
}

/// A setting of a group is out of its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GroupSpecError {
    /// The name is empty or too long.
    #[error("a group's name has 1 to {MAX_NAME_BYTES} bytes; this one has {bytes}")]
    Name {
        /// Number of bytes of the name.
        bytes: usize,
    },
    /// The number of segments is 0 or too high.
    #[error("a group has 1 to {MAX_SEGMENTS} segments; {segments} were asked for")]
    Segments {
        /// Requested number of segments.
        segments: u16,
    },
    /// The entity kind of the key is empty or too long.
    #[error("the entity kind of a group's key has 1 to {MAX_NAME_BYTES} bytes; this one has {bytes}")]
    EntityKind {
        /// Number of bytes of the entity kind.
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
        // The bound counts bytes, not characters.
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
