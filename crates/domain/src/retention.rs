//! What may be dropped from the old end of the log, and what holds it.

use std::time::Duration;

use jiff::Timestamp;

use crate::{filter::TypePattern, position::Cursor, time::checked_earlier};

/// A rule for dropping old events. Age is counted from when the store took an event, not from the event's own
/// timestamp: history that was imported today is kept as long as an event published today.
///
/// The bounds are alternatives: an event goes when any of them says so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionRule {
    /// Only events of these types; all when empty.
    pub types: Vec<TypePattern>,
    /// Drop what was stored longer ago than this.
    pub max_age: Option<Duration>,
    /// Keep at most this many events (of the rule's types), the newest.
    pub max_events: Option<u64>,
    /// Keep at most this many bytes of events (of the rule's types), the newest.
    pub max_bytes: Option<u64>,
    /// Drop what is at or before this mark.
    pub through: Option<Cursor>,
}

impl RetentionRule {
    /// Whether the rule can drop anything at all.
    pub fn is_empty(&self) -> bool {
        self.max_age.is_none()
            && self.max_events.is_none()
            && self.max_bytes.is_none()
            && self.through.is_none()
    }

    /// The instant before which stored events are too old, if the rule has an age.
    pub fn stored_before(&self, now: Timestamp) -> Option<Timestamp> {
        checked_earlier(now, self.max_age?)
    }
}

/// Something that still needs what comes after its mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Who holds, for people: `checkpoint before-migration`.
    pub holder: String,
    /// Events after this mark must stay.
    pub mark: Cursor,
}
