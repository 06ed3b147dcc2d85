//! The values that handlers get from events.

use std::any::type_name;

use domain::Event;
use thiserror::Error;

/// The parameter type of a handler. It is a [`TypedEvent`](super::TypedEvent), an enum of typed events
/// (`#[derive(Events)]`), or the [`Event`].
pub trait Payload: Sized + Send + 'static {
    /// Returns the event types of the payload. Empty: all types.
    fn types() -> Vec<String>;

    /// Decodes an event into a value.
    ///
    /// # Errors
    /// Returns [`DecodeError`] when the event has another type, or when its content does not match the Rust type.
    fn decode(event: &Event) -> Result<Self, DecodeError>;
}

impl Payload for Event {
    fn types() -> Vec<String> {
        Vec::new()
    }

    fn decode(event: &Event) -> Result<Self, DecodeError> {
        Ok(event.clone())
    }
}

/// An event does not match a Rust type. No retry can help, so the delivery becomes a dead letter at once. Redrive it
/// after a new version of the service can decode the event.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("event {event_id:?} ({event_type} {version}) cannot be read as {target}: {reason}")]
pub struct DecodeError {
    /// The id of the event.
    pub event_id: String,
    /// The event type.
    pub event_type: String,
    /// The version of the event type.
    pub version: String,
    /// The name of the Rust type.
    pub target: &'static str,
    /// The reason.
    pub reason: String,
}

impl DecodeError {
    /// Returns the error for an event with a type that the Rust type does not cover.
    pub fn unexpected_type<T>(event: &Event) -> Self {
        Self::new::<T>(event, &"it is of another type")
    }

    pub(crate) fn new<T>(event: &Event, reason: &dyn std::fmt::Display) -> Self {
        let target = type_name::<T>();
        Self {
            event_id: event.id().to_owned(),
            event_type: event.event_type().to_owned(),
            version: event.version().to_owned(),
            target: target.rsplit("::").next().unwrap_or(target),
            reason: reason.to_string(),
        }
    }
}
