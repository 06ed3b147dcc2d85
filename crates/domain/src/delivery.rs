//! Deliveries: one hand-over of an event to a group, and what its handler may answer.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use crate::stored::StoredEvent;

/// Where a delivery comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOrigin {
    /// The log, as events come.
    Live,
    /// A replay.
    Replay {
        /// The replay.
        replay_id: String,
    },
    /// A dead letter that was redriven.
    Redrive {
        /// The dead letter.
        dead_letter: String,
    },
}

/// One hand-over of an event to a group.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event. In a replay its `replay_count` is the count before this replay.
    pub stored: StoredEvent,
    /// The group.
    pub group: String,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Whether the group gives up should this attempt fail.
    pub is_last_attempt: bool,
    /// Where it comes from.
    pub origin: DeliveryOrigin,
    /// When it is handed over.
    pub delivered_at: Timestamp,
    /// When the handler's time is up.
    pub deadline: Timestamp,
}

/// What a replayed delivery says of itself, under the names that handlers know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayMetadata {
    /// Always true.
    pub is_replay: bool,
    /// The replay.
    pub replay_id: String,
    /// When the event happened.
    pub original_timestamp: Timestamp,
    /// When it is handed over.
    pub replay_timestamp: Timestamp,
    /// How often the event has been replayed, this time included.
    pub replay_count: u32,
}

impl Delivery {
    /// What it says of its replay; none where it is of none.
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

    /// Whether a replay delivers it.
    pub fn is_replay(&self) -> bool {
        matches!(self.origin, DeliveryOrigin::Replay { .. })
    }
}

/// What is to become of a delivery whose handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after the usual pause, as long as attempts are left.
    Retry,
    /// Try again, but not before this much time has passed, as long as attempts are left.
    RetryAfter(Duration),
    /// Give up at once: trying again cannot help.
    GiveUp,
}

/// Why a handler failed. Any error becomes one by `?`, those of `anyhow` and `eyre` and plain texts included; it is then tried again.
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
    /// What happened, the outermost error first and then its causes.
    pub errors: Vec<String>,
    /// What is to become of the delivery.
    pub verdict: Verdict,
}

impl HandlerError {
    /// Most bytes of one message that are kept.
    pub const MAX_MESSAGE_BYTES: usize = 2048;
    /// Most causes that are kept.
    pub const MAX_CAUSES: usize = 8;

    /// A failure that is tried again.
    pub fn retry(message: impl fmt::Display) -> Self {
        Self { errors: vec![bounded(message.to_string())], verdict: Verdict::Retry }
    }

    /// A failure that is tried again, but not before this much time has passed.
    pub fn retry_after(pause: Duration, message: impl fmt::Display) -> Self {
        Self { verdict: Verdict::RetryAfter(pause), ..Self::retry(message) }
    }

    /// A failure that no retry can fix.
    pub fn give_up(message: impl fmt::Display) -> Self {
        Self { verdict: Verdict::GiveUp, ..Self::retry(message) }
    }

    /// Whether no retry can fix it.
    pub fn is_permanent(&self) -> bool {
        self.verdict == Verdict::GiveUp
    }

    /// The outermost error.
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
