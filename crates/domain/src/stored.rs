//! The stored form of an event.

use jiff::Timestamp;

use crate::{event::Event, position::Position};

/// An event with its position, its stored time and its replay count. A clone is cheap, because all clones share the
/// event's bytes.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// The event as it was published.
    pub event: Event,
    /// Position of the event in the log.
    pub position: Position,
    /// Time at which the store accepted the event, by the store's clock.
    pub stored_at: Timestamp,
    /// Number of replays that have delivered the event.
    pub replay_count: u32,
    /// Time at which a replay last delivered the event.
    pub last_replay_at: Option<Timestamp>,
}

/// An event whose stored bytes differ from the written bytes. A read still returns the other events of its page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptEvent {
    /// Position of the event.
    pub position: Position,
    /// Description of the damage.
    pub detail: String,
}
