//! Delivery options that a publisher sets. They stand beside the event, never in its content: the same event
//! published with other options is the same event.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Which of several keys' events a group takes first among those it has fetched. Never changes the order within a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// After all others.
    Low,
    /// As most events.
    #[default]
    Medium,
    /// Before most.
    High,
    /// Before all others.
    Critical,
}

/// Options of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeliveryOptions {
    /// Among the events that are fetched, which goes first.
    pub priority: Priority,
    /// From this instant on a live delivery is not handed over any more. A replay takes no notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How often a failed delivery is tried again, instead of the consumer's own setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u16>,
    /// Whether an error handler published it. Where such an event fails, no error handler is called: they would feed
    /// themselves.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reports_error: bool,
}

impl DeliveryOptions {
    /// Whether no option is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a live delivery at this instant comes too late.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expiry| now >= expiry)
    }

    pub(crate) fn flags(&self) -> u8 {
        (self.priority as u8) | (u8::from(self.reports_error) << 2)
    }

    pub(crate) fn from_flags(flags: u64) -> Option<Self> {
        let priority = match flags & 3 {
            0 => Priority::Low,
            1 => Priority::Medium,
            2 => Priority::High,
            _ => Priority::Critical,
        };
        (flags < 8).then(|| Self { priority, reports_error: flags & 4 != 0, ..Self::default() })
    }
}
