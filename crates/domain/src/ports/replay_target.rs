//! Where a replay goes.

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

use crate::{error::Retry, stored::StoredEvent};

/// One hand-over of an event by a replay.
#[derive(Debug, Clone)]
pub struct ReplayDelivery {
    /// The event as stored; its `replay_count` is the count before this delivery.
    pub stored: StoredEvent,
    /// The replay.
    pub replay_id: String,
    /// When it is handed over.
    pub replay_timestamp: Timestamp,
}

impl ReplayDelivery {
    /// How often the event has been replayed, this time included.
    pub fn replay_count(&self) -> u32 {
        self.stored.replay_count.saturating_add(1)
    }
}

/// What became of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It was handled.
    Handled,
    /// The target does not take this event, or takes no replays.
    Skipped,
    /// It was refused permanently, with the reason.
    Failed(String),
}

/// Why a whole batch could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    /// The target cannot be reached now; the same batch may be tried again.
    #[error("the target cannot be reached: {0}")]
    Unavailable(String),
    /// The reader is gone and wants no more, as when a pipe is closed.
    #[error("the reader closed the output")]
    Closed,
    /// The target failed in a way that no retry fixes.
    #[error("the target failed: {0}")]
    Failed(String),
}

impl TargetError {
    /// Whether repeating the call can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unavailable(_) => Retry::Later,
            Self::Closed | Self::Failed(_) => Retry::Never,
        }
    }
}

/// Takes replayed events.
///
/// Laws:
/// - `deliver` MUST answer one outcome a delivery, in order, and only after all of them are with the target:
///   what it has answered for is never delivered again by the same run.
/// - It MUST NOT change the order of the batch.
#[async_trait]
pub trait ReplayTarget: Send {
    /// Hands over a batch.
    async fn deliver(&mut self, batch: &[ReplayDelivery]) -> Result<Vec<DeliveryOutcome>, TargetError>;

    /// Of a batch that `deliver` answered with [`TargetError::Unavailable`]: what is settled all the same, event by event. Empty
    /// where nothing is.
    fn settled(&self, batch: &[ReplayDelivery]) -> Vec<Option<DeliveryOutcome>> {
        let _ = batch;
        Vec::new()
    }
}
