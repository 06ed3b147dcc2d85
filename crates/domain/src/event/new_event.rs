//! An event in the making: its members one by one, instead of its text.

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use super::Event;
use crate::entity::Entity;

/// The version of a type where nothing else is said.
pub const FIRST_VERSION: &str = "1.0";

/// An event in the making. What is not said of it (id, timestamp, source) its publisher adds.
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

/// Why an event in the making has no JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the data of a new {event_type} cannot be written as JSON: {reason}")]
pub struct UnwritableData {
    /// The type of the event.
    pub event_type: String,
    /// What serde says.
    pub reason: String,
}

impl Event {
    /// Begins an event of a type.
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
    /// Its id; a publisher makes one up where nothing is said.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The version of its type; `1.0` where nothing is said.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// When it happened; when it is published where nothing is said.
    pub fn at(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The service that it comes from; the one that publishes it where nothing is said.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The workflow it belongs to.
    pub fn correlation(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// The event that caused it.
    pub fn causation(mut self, id: impl Into<String>) -> Self {
        self.causation_id = Some(id.into());
        self
    }

    /// Names an entity by its kind and id: `entity("order", "o-7")` is the member `orderId`.
    pub fn entity(mut self, kind: impl Into<String>, id: impl Into<String>) -> Self {
        self.entities.push(Entity::new(kind, id));
        self
    }

    /// Names a user: the member `userId`.
    pub fn user(self, id: impl Into<String>) -> Self {
        self.entity("user", id)
    }

    /// Adds a member to its metadata.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Its content. Where it cannot be written as JSON, publishing says so.
    pub fn data<T: Serialize + ?Sized>(mut self, data: &T) -> Self {
        self.data = serde_json::to_value(data).map_err(|error| error.to_string());
        self
    }

    /// Its type.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Its id, where one was given.
    pub fn given_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its correlation id, where one was given.
    pub fn given_correlation(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// Its causation id, where one was given.
    pub fn given_causation(&self) -> Option<&str> {
        self.causation_id.as_deref()
    }

    /// The event as JSON, with these values where nothing else was said.
    ///
    /// # Errors
    /// When its data cannot be written.
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
