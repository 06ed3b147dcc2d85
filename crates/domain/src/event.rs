//! The event: its published bytes, and an envelope that points into them.
//!
//! # Constraints
//! An event is read far more often than it is written. Its bytes must be returned as they were published. A scan must
//! not parse JSON. So the store keeps the published text unchanged. The id, type, time, entities and ordering key are
//! found once, on admission, as spans into that text. A store keeps the spans beside the text as the *head* of the
//! event, a few dozen bytes. See [`head`].

mod content;
mod document;
mod entities;
mod envelope;
pub mod head;
mod limits;
mod new_event;
mod options;
mod strict_json;
mod timestamp;
pub(crate) mod varint;

use std::{ops::Range, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

pub use content::same_content;
pub use document::Document;
pub use head::HeadError;
pub use limits::Limits;
pub use new_event::{FIRST_VERSION, NewEvent, UnwritableData};
pub use options::{DeliveryOptions, Priority};
pub use timestamp::{TimestampError, parse_timestamp};

use self::entities::Entities;
use crate::{
    entity::Entity,
    ordering::{KeySource, OrderingKey},
};

/// A range in the text of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntitySpan {
    pub(crate) kind: Span,
    pub(crate) id: Span,
}

/// Content of an event's head: the places of the envelope members in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) timestamp: Timestamp,
    pub(crate) id: Span,
    pub(crate) event_type: Span,
    pub(crate) version: Span,
    pub(crate) source: Span,
    pub(crate) correlation_id: Option<Span>,
    pub(crate) causation_id: Option<Span>,
    pub(crate) entities: Entities,
    pub(crate) key: KeySource,
    pub(crate) options: DeliveryOptions,
}

struct Inner {
    /// The published JSON, then the decoded form of envelope strings that the JSON spells with escapes.
    text: Box<str>,
    json_len: usize,
    envelope: Envelope,
}

/// A published event. A clone is cheap: all clones share the same bytes.
///
/// ```
/// use event_replay_domain::{Document, Limits};
/// let json = br#"{"id":"e1","type":"user.registered","version":"1.0","timestamp":"2024-01-15T10:30:00Z",
///                 "source":"user-service","metadata":{},"userId":"user-123","data":{"email":"a@example.com"}}"#;
/// let event = Document::parse(json, &Limits::default()).unwrap().into_event().unwrap();
/// assert_eq!(event.event_type(), "user.registered");
/// assert_eq!(event.entities().collect::<Vec<_>>(), [("user", "user-123")]);
/// assert_eq!(event.json().as_bytes(), json);
/// ```
#[derive(Clone)]
pub struct Event(Arc<Inner>);

impl Event {
    /// Joins a text with an envelope. The caller has checked the spans of the envelope against the text.
    pub(crate) fn from_parts(text: Box<str>, json_len: usize, envelope: Envelope) -> Self {
        Self(Arc::new(Inner { text, json_len, envelope }))
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.0.envelope
    }

    /// Returns the decoded strings that follow the JSON in the text.
    pub(crate) fn tail(&self) -> &str {
        self.0.text.get(self.0.json_len..).unwrap_or_default()
    }

    fn at(&self, span: Span) -> &str {
        // Spans are checked when an event is made, so the default is never used.
        self.0.text.get(span.range()).unwrap_or_default()
    }

    /// Returns the JSON of the event, byte for byte as it was published.
    pub fn json(&self) -> &str {
        self.0.text.get(..self.0.json_len).unwrap_or_default()
    }

    /// Returns the id of the event: opaque text of 1 to 128 bytes.
    pub fn id(&self) -> &str {
        self.at(self.0.envelope.id)
    }

    /// Returns the event type, such as `user.registered`.
    pub fn event_type(&self) -> &str {
        self.at(self.0.envelope.event_type)
    }

    /// Returns the version of the event type.
    pub fn version(&self) -> &str {
        self.at(self.0.envelope.version)
    }

    /// Returns the source: the service that published the event.
    pub fn source(&self) -> &str {
        self.at(self.0.envelope.source)
    }

    /// Returns the time at which the event happened, to the nanosecond. The original spelling and zone offset are in
    /// [`Event::json`].
    pub fn timestamp(&self) -> Timestamp {
        self.0.envelope.timestamp
    }

    /// Returns the correlation id: the workflow of the event.
    pub fn correlation_id(&self) -> Option<&str> {
        self.0.envelope.correlation_id.map(|span| self.at(span))
    }

    /// Returns the causation id: the id of the event that caused this event.
    pub fn causation_id(&self) -> Option<&str> {
        self.0.envelope.causation_id.map(|span| self.at(span))
    }

    /// Returns the entities that the event names, as (kind, id), in the order of the members.
    pub fn entities(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.envelope.entities.iter().map(|entity| (self.at(entity.kind), self.at(entity.id)))
    }

    /// Returns whether the event names this entity.
    pub fn names(&self, entity: &Entity) -> bool {
        self.entities().any(|(kind, id)| kind == entity.kind && id == entity.id)
    }

    /// Returns the key within which events stay in order. See [`crate::ordering`].
    pub fn ordering_key(&self) -> OrderingKey<'_> {
        let by_id = OrderingKey { kind: "event", id: self.id() };
        match self.0.envelope.key {
            KeySource::Id => by_id,
            KeySource::Correlation => {
                self.correlation_id().map_or(by_id, |id| OrderingKey { kind: "correlation", id })
            }
            KeySource::Entity(at) => match self.0.envelope.entities.get(usize::from(at)) {
                Some(entity) => OrderingKey { kind: self.at(entity.kind), id: self.at(entity.id) },
                None => by_id,
            },
        }
    }

    /// Returns the same event with another ordering key. It is meant for admission, before the event is stored.
    #[must_use]
    pub fn with_key_source(self, key: KeySource) -> Self {
        if self.0.envelope.key == key {
            return self;
        }
        let envelope = Envelope { key, ..self.0.envelope.clone() };
        Self::from_parts(self.0.text.clone(), self.0.json_len, envelope)
    }

    /// Returns the same event with the ordering key of another event. The key is the id of this event if it has neither
    /// that entity nor that correlation id.
    #[must_use]
    pub fn with_key_of(self, other: &Event) -> Self {
        let key = other.ordering_key();
        let at = self.entities().position(|(kind, id)| (kind, id) == (key.kind, key.id));
        let source = match at.and_then(|at| u16::try_from(at).ok()) {
            Some(at) => KeySource::Entity(at),
            None if key.kind == "correlation" && self.correlation_id() == Some(key.id) => {
                KeySource::Correlation
            }
            None => KeySource::Id,
        };
        self.with_key_source(source)
    }

    /// Returns the delivery options that the publisher set.
    pub fn options(&self) -> DeliveryOptions {
        self.0.envelope.options
    }

    /// Returns the same event with other delivery options. It is meant for admission, before the event is stored.
    #[must_use]
    pub fn with_options(self, options: DeliveryOptions) -> Self {
        if self.0.envelope.options == options {
            return self;
        }
        let envelope = Envelope { options, ..self.0.envelope.clone() };
        Self::from_parts(self.0.text.clone(), self.0.json_len, envelope)
    }

    /// Returns the event as parsed JSON, for readers of its content. Numbers beyond 64 bits become floats here. To
    /// compare or store an event, use [`Event::json`], never this value.
    ///
    /// # Errors
    /// Returns an error when the text is not JSON. This cannot happen for an admitted event.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(self.json())
    }

    /// Returns the size of the event's JSON, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.0.json_len
    }

    /// Returns whether another event has the same content. The contents are the same if the bytes are equal. They are
    /// also the same if the JSON values are equal, with members in any order and numbers compared by exact decimal
    /// value.
    pub fn same_content(&self, other: &Event) -> bool {
        same_content(self.json(), other.json())
    }
}

impl std::fmt::Debug for Event {
    /// Names the event and never shows its content, which may be personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id())
            .field("type", &self.event_type())
            .field("bytes", &self.size_bytes())
            .finish_non_exhaustive()
    }
}
