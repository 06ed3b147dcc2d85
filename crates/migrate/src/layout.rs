//! The keys of the TypeScript system in Redis, below a prefix. The default prefix is `cloudmasters:events`:
//!
//! ```text
//! PREFIX:{id}                 hash: event (JSON), storedAt, replayCount, lastReplayAt?
//! PREFIX:by_time              sorted set: event ids, scored by the event's timestamp in milliseconds
//! PREFIX:by_type:{type}       likewise; and by_source, by_correlation, by_user, by_course, by_lab
//! CHECKPOINTS:{id}            hash: id, name, timestamp, lastProcessedEventId, eventCount, metadata (JSON)
//! ```
//!
//! The old system escapes nothing in a key, so an event's id may look like an index (`by_type:x`). The type of the key
//! in Redis decides: a hash is an event, a sorted set is an index.

use crate::index::{IndexKey, IndexKind};

/// The names of the old system's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    events: String,
    checkpoints: String,
}

impl Default for Layout {
    fn default() -> Self {
        Self { events: "cloudmasters:events".to_owned(), checkpoints: "cloudmasters:checkpoints".to_owned() }
    }
}

impl Layout {
    /// Returns the layout below a prefix. The checkpoints are beside the events. For `shop:events` they are below
    /// `shop:checkpoints`. For a prefix that does not end in `events`, they are below the prefix and `:checkpoints`.
    ///
    /// ```
    /// use event_replay_migrate::Layout;
    /// assert_eq!(Layout::below("cloudmasters:events"), Layout::default());
    /// assert_eq!(Layout::below("shop").checkpoints(), "shop:checkpoints");
    /// ```
    pub fn below(prefix: impl Into<String>) -> Self {
        let events = prefix.into();
        let checkpoints = match events.strip_suffix("events") {
            Some(before) if before.is_empty() || before.ends_with(':') => format!("{before}checkpoints"),
            _ => format!("{events}:checkpoints"),
        };
        Self { events, checkpoints }
    }

    /// Returns the same layout with another prefix of checkpoints.
    #[must_use]
    pub fn with_checkpoints(self, prefix: impl Into<String>) -> Self {
        Self { checkpoints: prefix.into(), ..self }
    }

    /// Returns the prefix of events and indexes.
    pub fn events(&self) -> &str {
        &self.events
    }

    /// Returns the prefix of checkpoints.
    pub fn checkpoints(&self) -> &str {
        &self.checkpoints
    }

    pub(crate) fn by_time(&self) -> Vec<u8> {
        self.event(b"by_time")
    }

    /// Returns the key of an event's hash.
    pub(crate) fn event(&self, id: &[u8]) -> Vec<u8> {
        [self.events.as_bytes(), b":", id].concat()
    }

    /// Returns a pattern that matches every key of events and indexes.
    pub(crate) fn events_pattern(&self) -> String {
        format!("{}:*", literally(&self.events))
    }

    /// Returns a pattern that matches every key of checkpoints.
    pub(crate) fn checkpoints_pattern(&self) -> String {
        format!("{}:*", literally(&self.checkpoints))
    }

    /// Returns the id of the event in a hash with this key. Returns `None` for a checkpoint, which a short prefix may
    /// include.
    pub(crate) fn event_id<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        match below(&self.checkpoints, key) {
            Some(_) if self.checkpoints.len() > self.events.len() => None,
            _ => below(&self.events, key),
        }
    }

    /// Returns the index in a sorted set with this key. Returns `None` if the old system has no such index, or if its
    /// name is not UTF-8.
    pub(crate) fn index(&self, key: &[u8]) -> Option<IndexKey> {
        let name = std::str::from_utf8(below(&self.events, key)?).ok()?;
        if name == "by_time" {
            return Some(IndexKey::new(IndexKind::Time, ""));
        }
        let (index, value) = name.split_once(':')?;
        let kind = IndexKind::ALL.into_iter().find(|kind| index.strip_prefix("by_") == Some(kind.name()))?;
        (kind != IndexKind::Time).then(|| IndexKey::new(kind, value))
    }
}

fn below<'k>(prefix: &str, key: &'k [u8]) -> Option<&'k [u8]> {
    key.strip_prefix(prefix.as_bytes())?.strip_prefix(b":")
}

/// Returns a pattern that matches only `text`.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_an_index_by_its_name_and_an_event_by_its_type() {
        let layout = Layout::default();
        let of = |name: &str| layout.index(format!("cloudmasters:events:{name}").as_bytes());
        assert_eq!(of("by_time"), Some(IndexKey::new(IndexKind::Time, "")));
        assert_eq!(of("by_type:a:b"), Some(IndexKey::new(IndexKind::Type, "a:b")));
        assert_eq!(of("by_correlation:"), Some(IndexKey::new(IndexKind::Correlation, "")));
        for other in ["by_time:x", "by_type", "by_payment:p", "type:x", "e1", "by_"] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(layout.event_id(b"cloudmasters:events:by_type:x"), Some(&b"by_type:x"[..]));
        assert_eq!(layout.event_id(b"cloudmasters:eventsx"), None);
    }

    #[test]
    fn a_short_prefix_does_not_take_checkpoints_for_events() {
        let layout = Layout::below("cloudmasters");
        assert_eq!(layout.event_id(b"cloudmasters:checkpoints:c1"), None);
        assert_eq!(layout.event_id(b"cloudmasters:e1"), Some(&b"e1"[..]));
    }

    #[test]
    fn a_prefix_with_the_signs_of_a_pattern_means_itself() {
        assert_eq!(Layout::below("a*[b]?\\").events_pattern(), "a\\*\\[b\\]\\?\\\\:*");
    }
}
