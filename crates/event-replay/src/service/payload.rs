//! What handlers are given of an event.

use std::any::type_name;

use domain::Event;
use thiserror::Error;

/// What a handler takes: a value of a [`TypedEvent`](super::TypedEvent), one of several of them (`#[derive(Events)]` on an enum), or the
/// [`Event`] itself.
pub trait Payload: Sized + Send + 'static {
    /// The event types that it is of; empty: any.
    fn types() -> Vec<String>;

    /// The value of an event.
    ///
    /// # Errors
    /// When the event is of another type, or its content is not what the Rust type wants.
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

/// An event that is not what a Rust type wants. Trying again cannot help: the delivery becomes a dead letter at once. After a new
/// version of the service can read it, redrive it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("event {event_id:?} ({event_type} {version}) cannot be read as {target}: {reason}")]
pub struct DecodeError {
    /// The event.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// The version of its type.
    pub version: String,
    /// The Rust type.
    pub target: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl DecodeError {
    /// The event is of a type that the Rust type has no place for.
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
