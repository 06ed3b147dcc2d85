//! The port of upcasting: it transforms stored events to later versions of their types.

use std::fmt;

use crate::{event::Event, upcast::UpcastError};

/// Transforms events that were stored under an older version of their type.
///
/// The stored bytes never change. A consumer upcasts an event before it calls a handler, and a replay before it calls
/// its target.
///
/// Laws:
/// - `upcast` MUST return an event of the version that `target` returns. It MUST return an event without a target
///   unchanged.
/// - `upcast` MUST keep the id, the type, the timestamp and the delivery options. It MUST keep the ordering key if the
///   event still has the member of the key.
/// - The result MUST NOT depend on anything but the event. Each attempt and each replay upcasts the event again.
/// - `upcast` MUST NOT panic. A panic in the code of a user is an error.
/// - `target` MUST NOT parse the event. It is called for each delivery.
pub trait EventUpcaster: fmt::Debug + Send + Sync {
    /// Returns the version to which events of this type and version are upcast. Returns none if they stay as they are.
    fn target(&self, event_type: &str, version: &str) -> Option<&str>;

    /// Upcasts an event.
    ///
    /// # Errors
    /// Returns [`UpcastError`] when an upcaster fails, or when its result is not a valid event.
    fn upcast(&self, event: &Event) -> Result<Event, UpcastError>;
}
