//! A builder of events: it takes the members one by one, instead of a JSON text.

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use super::Event;
use crate::entity::Entity;

/// Default version of an event type.
pub const FIRST_VERSION: &str = "1.0";

/// A new event before it is published. The publisher adds the id, the timestamp and the source if they are not set.
///
/// ```
/// use event_replay_domain::Event;
/// # #[derive(serde::Serialize)] struct Order { cents: u64 }
/// let order = Event::new("order.placed").user("user-1").entity("order", "o-7").correlation("wf-7").data(&Order { cents: 500 });
/// let json = order.json("e-1", "2026-01-01T00:00:00Z".parse()?, "shop")?;
/// assert_eq!(
///     json,
///     r#"{"id":"e-1","type":"order.placed","version":"1.0","timestamp":"2026-01-01T00:00:00Z","source":"shop","correlationId":"wf-7","userId":"user-1","orderId":"o-7","metadata":{},"data":{"cents":500}}"#
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "an event in the making is not published until it is emitted"]
pub struct NewEvent {
    event_type: String,
    version: String,
    id: Option<String>,
    timestamp: Option<Timestamp>,
    source: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    entities: Vec<Entity>,
    metadata: Map<String, Value>,
    data: Result<Value, String>,
}

/// The data of a new event cannot be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the data of a new {event_type} cannot be written as JSON: {reason}")]
pub struct UnwritableData {
    /// Type of the event.
    pub event_type: String,
    /// Message of the serde error.
    pub reason: String,
}

impl Event {
    /// Starts a new event of this type.
    #[allow(clippy::new_ret_no_self, reason = "an event is complete: what begins here is its maker")]
    pub fn new(event_type: impl Into<String>) -> NewEvent {
        NewEvent {
            event_type: event_type.into(),
            version: FIRST_VERSION.to_owned(),
            id: None,
            timestamp: None,
            source: None,
            correlation_id: None,
            causation_id: None,
            entities: Vec::new(),
            metadata: Map::new(),
            data: Ok(Value::Object(Map::new())),
        }
    }
}

impl NewEvent {
    /// Sets the id. By default, the publisher creates one.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the version of the event type. The default is `1.0`.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Sets the time at which the event happened. The default is the time of publishing.
    pub fn at(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Sets the source. The default is the service that publishes the event.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets the correlation id: the workflow of the event.
    pub fn correlation(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Sets the causation id: the id of the event that caused this event.
    pub fn causation(mut self, id: impl Into<String>) -> Self {
        self.causation_id = Some(id.into());
        self
    }

    /// Names an entity by its kind and id: `entity("order", "o-7")` writes the member `orderId`.
    pub fn entity(mut self, kind: impl Into<String>, id: impl Into<String>) -> Self {
        self.entities.push(Entity::new(kind, id));
        self
    }

    /// Names a user: the member `userId`.
    pub fn user(self, id: impl Into<String>) -> Self {
        self.entity("user", id)
    }

    /// Adds a member to the metadata.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Sets the content. If the content cannot be written as JSON, the publishing call returns the error.
    pub fn data<T: Serialize + ?Sized>(mut self, data: &T) -> Self {
        self.data = serde_json::to_value(data).map_err(|error| error.to_string());
        self
    }

    /// Returns the event type.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Returns the id, if it was set.
    pub fn given_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns the correlation id, if it was set.
    pub fn given_correlation(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// Returns the causation id, if it was set.
    pub fn given_causation(&self) -> Option<&str> {
        self.causation_id.as_deref()
    }

    /// Returns the event as JSON. The arguments are defaults for the members that were not set.
    ///
    /// # Errors
    /// Returns [`UnwritableData`] when the data cannot be written as JSON.
    pub fn json(&self, id: &str, timestamp: Timestamp, source: &str) -> Result<String, UnwritableData> {
        let unwritable = |reason: &dyn std::fmt::Display| UnwritableData {
            event_type: self.event_type.clone(),
            reason: reason.to_string(),
        };
        let data = self.data.as_ref().map_err(|reason| unwritable(reason))?;
        let written = Written { event: self, id, timestamp, source, data };
        serde_json::to_string(&written).map_err(|error| unwritable(&error))
    }
}

struct Written<'a> {
    event: &'a NewEvent,
    id: &'a str,
    timestamp: Timestamp,
    source: &'a str,
    data: &'a Value,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", event.id.as_deref().unwrap_or(self.id))?;
        map.serialize_entry("type", &event.event_type)?;
        map.serialize_entry("version", &event.version)?;
        map.serialize_entry("timestamp", &event.timestamp.unwrap_or(self.timestamp))?;
        map.serialize_entry("source", event.source.as_deref().unwrap_or(self.source))?;
        if let Some(id) = &event.correlation_id {
            map.serialize_entry("correlationId", id)?;
        }
        if let Some(id) = &event.causation_id {
            map.serialize_entry("causationId", id)?;
        }
        for entity in &event.entities {
            map.serialize_entry(&format!("{}Id", entity.kind), &entity.id)?;
        }
        map.serialize_entry("metadata", &event.metadata)?;
        map.serialize_entry("data", self.data)?;
        map.end()
    }
}
