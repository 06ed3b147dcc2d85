//! The port of replay targets: the destinations of replayed events.

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

use crate::{error::Retry, stored::StoredEvent};

/// One delivery of an event by a replay.
#[derive(Debug, Clone)]
pub struct ReplayDelivery {
    /// The event, in the version to which the replay upcasts it. Its `replay_count` is the count before this delivery.
    pub stored: StoredEvent,
    /// Id of the replay.
    pub replay_id: String,
    /// Time of the delivery.
    pub replay_timestamp: Timestamp,
}

impl ReplayDelivery {
    /// Returns the number of replays of the event, this one included.
    pub fn replay_count(&self) -> u32 {
        self.stored.replay_count.saturating_add(1)
    }
}

/// Outcome of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The target handled the event.
    Handled,
    /// The target does not take this event, or takes no replays.
    Skipped,
    /// The target refused the event permanently, with this reason.
    Failed(String),
}

/// Errors for a whole batch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    /// The target cannot be reached now. The same batch may be tried again.
    #[error("the target cannot be reached: {0}")]
    Unavailable(String),
    /// The reader has closed its end and takes no more events, for example at the end of a pipe.
    #[error("the reader closed the output")]
    Closed,
    /// The target failed, and no retry can help.
    #[error("the target failed: {0}")]
    Failed(String),
}

impl TargetError {
    /// Returns whether a repeated call can help.
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
/// - `deliver` MUST return one outcome for each delivery, in order, and only after the target has all of them. The
///   same run never delivers an event again after `deliver` has returned an outcome for it.
/// - It MUST NOT change the order of the batch.
#[async_trait]
pub trait ReplayTarget: Send {
    /// Delivers a batch.
    async fn deliver(&mut self, batch: &[ReplayDelivery]) -> Result<Vec<DeliveryOutcome>, TargetError>;

    /// Returns the outcomes that are settled after `deliver` returned [`TargetError::Unavailable`] for this batch,
    /// event by event. It is empty if no event is settled.
    fn settled(&self, batch: &[ReplayDelivery]) -> Vec<Option<DeliveryOutcome>> {
        let _ = batch;
        Vec::new()
    }
}
