//! The ordering key: what keeps its events in order, and which of an event's members names it.
//!
//! The key is resolved once, when an event is admitted, and stored in the event's head: a schema that is added or
//! changed later never moves events that are stored already.

use serde::{Deserialize, Serialize};

use crate::event::Event;

/// Which member of an event its ordering key was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeySource {
    /// The event's id: it is ordered with nothing but itself.
    #[default]
    Id,
    /// The correlation id.
    Correlation,
    /// The entity at this place among the event's entities.
    Entity(u16),
}

/// An event's ordering key: events with equal keys are delivered in log order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderingKey<'a> {
    /// What kind of thing the key names: an entity kind, `correlation`, or `event`.
    pub kind: &'a str,
    /// Its id.
    pub id: &'a str,
}

impl std::fmt::Display for OrderingKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.kind, self.id)
    }
}

/// Where to look for the ordering key of an event whose schema names none. Frozen with the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderingRule {
    /// Members to try first, in order.
    pub members: Vec<String>,
}

impl Default for OrderingRule {
    fn default() -> Self {
        Self { members: vec!["userId".to_owned()] }
    }
}

impl OrderingRule {
    /// Resolves an event's key source: the member that its schema names, else the first present of the rule's members,
    /// else the other entity members by name, else the correlation id, else the event's own id.
    pub fn resolve(&self, event: &Event, schema_member: Option<&str>) -> KeySource {
        schema_member
            .into_iter()
            .chain(self.members.iter().map(String::as_str))
            .find_map(|member| Self::member(event, member))
            .or_else(|| Self::first_entity(event))
            .or_else(|| event.correlation_id().map(|_| KeySource::Correlation))
            .unwrap_or_default()
    }

    fn member(event: &Event, member: &str) -> Option<KeySource> {
        if member == "correlationId" {
            return event.correlation_id().map(|_| KeySource::Correlation);
        }
        let kind = member.strip_suffix("Id")?;
        let at = event.entities().position(|(k, _)| k == kind)?;
        u16::try_from(at).ok().map(KeySource::Entity)
    }

    fn first_entity(event: &Event) -> Option<KeySource> {
        let (at, _) = event.entities().enumerate().min_by_key(|(_, (kind, _))| *kind)?;
        u16::try_from(at).ok().map(KeySource::Entity)
    }
}
