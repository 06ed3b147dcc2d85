//! Delivery options that a publisher sets. The store keeps them beside the event, never in its content. An event that
//! is published again with other options is still the same event.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The order in which a group takes the fetched events of different keys. It never changes the order within a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// After all other priorities.
    Low,
    /// The default priority.
    #[default]
    Medium,
    /// Before `Medium` and `Low`.
    High,
    /// Before all other priorities.
    Critical,
}

/// Options of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeliveryOptions {
    /// Priority of the event among the fetched events.
    pub priority: Priority,
    /// Time from which the event is no longer delivered live. A replay ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Number of retries of a failed delivery, instead of the consumer's own setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u16>,
    /// Whether an error handler published the event. If such an event fails, no error handler is called. Otherwise an
    /// error handler could trigger itself without end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reports_error: bool,
}

impl DeliveryOptions {
    /// Returns whether no option is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether a live delivery at this time is past its expiry.
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
