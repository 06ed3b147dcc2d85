//! Events that wait for their time.

use domain::{Priority, ports::ScheduledEvent};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

/// The schedule, the earliest first.
#[derive(Debug, Serialize)]
pub struct ScheduledList {
    /// The events.
    pub scheduled: Vec<ScheduledDocument>,
}

/// An event that waits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledDocument {
    /// The event as it was published.
    pub event: Option<Box<RawValue>>,
    /// When it comes into the log.
    pub due: Timestamp,
    /// When it was published.
    pub scheduled_at: Timestamp,
    /// Among the events that a group has fetched, which goes first.
    pub priority: Priority,
    /// From when on it is not delivered any more.
    pub expires_at: Option<Timestamp>,
    /// How often a failed delivery is tried again.
    pub retries: Option<u16>,
}

impl ScheduledDocument {
    /// The document of an event that waits.
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

/// Events that were taken out of the schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CancelledDocument<'a> {
    /// Ids that waited and were taken out.
    pub cancelled: Vec<&'a str>,
    /// Ids under which no event waited.
    pub unknown: Vec<&'a str>,
}
