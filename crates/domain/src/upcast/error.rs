//! The errors of upcasters and of sets of upcasters.

use thiserror::Error;

use crate::event::Event;

/// An event that could not be upcast. A retry cannot help: the result depends on the event alone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("event {event_id:?} ({event_type} {version}): {}", failure(event_type, step, reason))]
pub struct UpcastError {
    /// The id of the event.
    pub event_id: String,
    /// The event type.
    pub event_type: String,
    /// The stored version of the event.
    pub version: String,
    /// The versions of the upcaster that failed, as `1.0 to 2.0`. In a chain the first may differ from the stored
    /// version.
    pub step: String,
    /// The reason.
    pub reason: String,
}

impl UpcastError {
    /// Returns the error of the upcaster from one version to another.
    pub fn new(event: &Event, from: &str, to: &str, reason: String) -> Self {
        Self {
            event_id: event.id().to_owned(),
            event_type: event.event_type().to_owned(),
            version: event.version().to_owned(),
            step: format!("{from} to {to}"),
            reason,
        }
    }

    /// Returns the failure without the event, for callers that name the event themselves.
    pub fn failure(&self) -> String {
        failure(&self.event_type, &self.step, &self.reason)
    }
}

fn failure(event_type: &str, step: &str, reason: &str) -> String {
    format!("upcasting {event_type} {step} failed: {reason}")
}

/// The reason why a set of upcasters was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UpcastersError {
    /// Two upcasters take the same version of a type.
    #[error("two upcasters take {event_type} {version}; remove one of them")]
    Duplicate {
        /// The event type.
        event_type: String,
        /// The version.
        version: String,
    },
    /// The upcasters of a type lead in a circle, so their chain has no end.
    #[error("the upcasters of {event_type} lead in a circle: {}; remove one of them", versions.join(" to "))]
    Cycle {
        /// The event type.
        event_type: String,
        /// The versions of the circle. The first version is repeated at the end.
        versions: Vec<String>,
    },
    /// The event type or a version is an empty text.
    #[error(
        "the upcaster of {event_type:?} from {from:?} to {to:?} lacks a name; name the type and both versions"
    )]
    Unnamed {
        /// The event type.
        event_type: String,
        /// The version that the upcaster takes.
        from: String,
        /// The version that the upcaster makes.
        to: String,
    },
}
