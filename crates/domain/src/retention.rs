//! Retention: the rules by which old events are removed, and the holds that keep them.

use std::time::Duration;

use jiff::Timestamp;

use crate::{filter::TypePattern, position::Cursor, time::checked_earlier};

/// A rule that removes old events. The age counts from the stored time, not from the event's own timestamp. So an
/// event that was imported today is kept as long as an event that was published today.
///
/// The bounds are alternatives: an event is removed if any bound allows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionRule {
    /// Event types of the rule. Empty means all.
    pub types: Vec<TypePattern>,
    /// Remove events that were stored longer ago than this.
    pub max_age: Option<Duration>,
    /// Keep at most this many events (of the rule's types), the newest.
    pub max_events: Option<u64>,
    /// Keep at most this many bytes of events (of the rule's types), the newest.
    pub max_bytes: Option<u64>,
    /// Remove events at or before this mark.
    pub through: Option<Cursor>,
}

impl RetentionRule {
    /// Returns whether the rule can remove no event.
    pub fn is_empty(&self) -> bool {
        self.max_age.is_none()
            && self.max_events.is_none()
            && self.max_bytes.is_none()
            && self.through.is_none()
    }

    /// Returns the time before which stored events are too old, if the rule has an age.
    pub fn stored_before(&self, now: Timestamp) -> Option<Timestamp> {
        checked_earlier(now, self.max_age?)
    }
}

/// A hold: a mark after which retention removes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Name of the holder, for people: `checkpoint before-migration`.
    pub holder: String,
    /// The mark. Events after it must stay.
    pub mark: Cursor,
}
