//! Checkpoints: an operator's named marks in the log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::position::Cursor;

/// A named mark: everything at or before it was processed when it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// Its id, a UUID.
    pub id: String,
    /// Its name, unique among the store's checkpoints.
    pub name: String,
    /// The mark: recovery replays what comes after it, by position.
    pub mark: Cursor,
    /// The event that was named as the last one processed.
    pub last_processed_event_id: String,
    /// How many events the store held at or before the mark when the checkpoint was made.
    pub event_count: u64,
    /// What the operator noted.
    pub metadata: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether retention must keep what comes after the mark.
    pub hold: bool,
}
