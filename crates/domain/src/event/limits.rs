//! Limits on the size, depth and timestamp of an event. They apply even if validation is off.

use std::time::Duration;

/// Limits of the envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest event, in bytes of its JSON as published.
    pub max_event_bytes: usize,
    /// Deepest nesting of objects and arrays. The event itself is depth 1.
    pub max_depth: usize,
    /// Longest id, type, version, source, correlation id, causation id and entity value, in bytes.
    pub max_name_bytes: usize,
    /// Longest time by which a timestamp may lie ahead of the store's clock.
    pub max_ahead: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_event_bytes: 1024 * 1024,
            max_depth: 64,
            max_name_bytes: 128,
            max_ahead: Duration::from_secs(24 * 60 * 60),
        }
    }
}
