//! Deliveries: a delivery hands one event to one group. This module also defines the answers of a handler.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use crate::stored::StoredEvent;

/// Origin of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOrigin {
    /// The log: the group reads events in log order.
    Live,
    /// A replay.
    Replay {
        /// Id of the replay.
        replay_id: String,
    },
    /// A redrive of a dead letter.
    Redrive {
        /// Id of the dead letter.
        dead_letter: String,
    },
}

/// One event on its way to one group.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event, in the version to which the consumer upcasts it. In a replay, its `replay_count` is the count before
    /// this replay.
    pub stored: StoredEvent,
    /// Name of the group.
    pub group: String,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Whether the group gives up if this attempt fails.
    pub is_last_attempt: bool,
    /// Origin of the delivery.
    pub origin: DeliveryOrigin,
    /// Time at which the handler gets the event.
    pub delivered_at: Timestamp,
    /// Time at which the handler's attempt times out.
    pub deadline: Timestamp,
}

/// Facts about the replay of a replayed delivery, under the names that handlers use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayMetadata {
    /// Always true.
    pub is_replay: bool,
    /// Id of the replay.
    pub replay_id: String,
    /// Timestamp of the event.
    pub original_timestamp: Timestamp,
    /// Time at which the handler gets the event.
    pub replay_timestamp: Timestamp,
    /// Number of replays of the event, this one included.
    pub replay_count: u32,
}

impl Delivery {
    /// Returns the facts about the replay, or none if no replay sent the delivery.
    pub fn replay(&self) -> Option<ReplayMetadata> {
        let DeliveryOrigin::Replay { replay_id } = &self.origin else { return None };
        Some(ReplayMetadata {
            is_replay: true,
            replay_id: replay_id.clone(),
            original_timestamp: self.stored.event.timestamp(),
            replay_timestamp: self.delivered_at,
            replay_count: self.stored.replay_count.saturating_add(1),
        })
    }

    /// Returns whether a replay sent the delivery.
    pub fn is_replay(&self) -> bool {
        matches!(self.origin, DeliveryOrigin::Replay { .. })
    }
}

/// The next action for a delivery whose handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after the usual backoff, if attempts are left.
    Retry,
    /// Try again, but not before this time has passed, if attempts are left.
    RetryAfter(Duration),
    /// Give up at once: a retry cannot help.
    GiveUp,
}

/// Error of a handler. The `?` operator converts any error into it, including errors of `anyhow` and `eyre` and plain
/// texts. A converted error is tried again.
///
/// ```
/// use event_replay_domain::delivery::HandlerError;
/// fn handle(text: &str) -> Result<u64, HandlerError> {
///     if text.is_empty() {
///         return Err(HandlerError::give_up("the amount is empty"));
///     }
///     Ok(text.parse::<u64>()?)
/// }
/// assert!(handle("x").is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct HandlerError {
    /// Messages of the failure, the outermost error first, then its causes.
    pub errors: Vec<String>,
    /// The next action for the delivery.
    pub verdict: Verdict,
}

impl HandlerError {
    /// Most bytes that are kept of one message.
    pub const MAX_MESSAGE_BYTES: usize = 2048;
    /// Most messages that are kept of one error: the outermost one and its causes.
    pub const MAX_CAUSES: usize = 8;

    /// Returns an error whose delivery is tried again.
    pub fn retry(message: impl fmt::Display) -> Self {
        Self { errors: vec![bounded(message.to_string())], verdict: Verdict::Retry }
    }

    /// Returns an error whose delivery is tried again, but not before this time has passed.
    pub fn retry_after(pause: Duration, message: impl fmt::Display) -> Self {
        Self { verdict: Verdict::RetryAfter(pause), ..Self::retry(message) }
    }

    /// Returns an error that no retry can fix.
    pub fn give_up(message: impl fmt::Display) -> Self {
        Self { verdict: Verdict::GiveUp, ..Self::retry(message) }
    }

    /// Returns whether no retry can fix the error.
    pub fn is_permanent(&self) -> bool {
        self.verdict == Verdict::GiveUp
    }

    /// Returns the message of the outermost error.
    pub fn message(&self) -> &str {
        self.errors.first().map_or("", String::as_str)
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > HandlerError::MAX_MESSAGE_BYTES {
        let cut = (0..=HandlerError::MAX_MESSAGE_BYTES).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or(0));
        text.push('…');
    }
    text
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let error = error.into();
        let mut errors = vec![bounded(error.to_string())];
        let mut cause = error.source();
        while let Some(next) = cause.filter(|_| errors.len() < Self::MAX_CAUSES) {
            errors.push(bounded(next.to_string()));
            cause = next.source();
        }
        Self { errors, verdict: Verdict::Retry }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.errors.join(": "))
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError").field("errors", &self.errors).field("verdict", &self.verdict).finish()
    }
}
