//! Documents of scheduled events.

use domain::{Priority, ports::ScheduledEvent};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

/// The schedule, earliest first.
#[derive(Debug, Serialize)]
pub struct ScheduledList {
    /// The events.
    pub scheduled: Vec<ScheduledDocument>,
}

/// A scheduled event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledDocument {
    /// The event as it was published.
    pub event: Option<Box<RawValue>>,
    /// The time at which it is appended to the log.
    pub due: Timestamp,
    /// The time at which it was published.
    pub scheduled_at: Timestamp,
    /// The priority among the events that a consumer has fetched.
    pub priority: Priority,
    /// The expiry: from this instant on the event is not delivered.
    pub expires_at: Option<Timestamp>,
    /// The number of retries of a failed delivery.
    pub retries: Option<u16>,
}

impl ScheduledDocument {
    /// Makes the document of a scheduled event.
    pub fn of(scheduled: &ScheduledEvent) -> Self {
        let options = scheduled.event.options();
        let mut line = Vec::new();
        targets::write_event(&scheduled.event, &mut line);
        let event = String::from_utf8(line).ok().and_then(|text| RawValue::from_string(text).ok());
        Self {
            event,
            due: scheduled.due,
            scheduled_at: scheduled.scheduled_at,
            priority: options.priority,
            expires_at: options.expires_at,
            retries: options.retries,
        }
    }
}

/// Events that were removed from the schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CancelledDocument<'a> {
    /// The ids of the removed events.
    pub cancelled: Vec<&'a str>,
    /// The ids without a scheduled event.
    pub unknown: Vec<&'a str>,
}
