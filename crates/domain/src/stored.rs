//! An event as the log holds it.

use jiff::Timestamp;

use crate::{event::Event, position::Position};

/// An event with what the log knows about it. Cloning is cheap: the event's bytes are shared.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// The event as it was published.
    pub event: Event,
    /// Where the log put it.
    pub position: Position,
    /// When the store took it, by the store's clock.
    pub stored_at: Timestamp,
    /// How often a replay has delivered it.
    pub replay_count: u32,
    /// When a replay last delivered it.
    pub last_replay_at: Option<Timestamp>,
}

/// An event whose stored bytes are not what was written. The rest of its page is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptEvent {
    /// Where it is.
    pub position: Position,
    /// What is wrong with it.
    pub detail: String,
}
