//! Checkpoints: named marks that operators set in the log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::position::Cursor;

/// A named mark. Every event at or before the mark was processed when the checkpoint was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// Id of the checkpoint, a UUID.
    pub id: String,
    /// Name of the checkpoint, unique among the store's checkpoints.
    pub name: String,
    /// The mark. A recovery replays the events after it, by position.
    pub mark: Cursor,
    /// Id of the event that the operator named as the last one processed.
    pub last_processed_event_id: String,
    /// Number of events at or before the mark when the checkpoint was made.
    pub event_count: u64,
    /// Notes of the operator.
    pub metadata: Map<String, Value>,
    /// Time at which the checkpoint was made.
    pub created_at: Timestamp,
    /// Whether retention must keep the events after the mark.
    pub hold: bool,
}
