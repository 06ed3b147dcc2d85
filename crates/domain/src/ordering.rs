//! The ordering key: the key within which events stay in order, and the member of an event that names it.
//!
//! The key is resolved once, when an event is admitted, and is stored in the event's head. A schema that is added or
//! changed later never moves events that are already stored.

use serde::{Deserialize, Serialize};

use crate::event::Event;

/// Member of an event from which its ordering key was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeySource {
    /// The event's id: the event is ordered only with itself.
    #[default]
    Id,
    /// The correlation id.
    Correlation,
    /// The entity at this index among the event's entities.
    Entity(u16),
}

/// The ordering key of an event. Events with equal keys are delivered in log order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderingKey<'a> {
    /// Kind of the named thing: an entity kind, `correlation`, or `event`.
    pub kind: &'a str,
    /// Id of the named thing.
    pub id: &'a str,
}

impl std::fmt::Display for OrderingKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.kind, self.id)
    }
}

/// Rule that finds the ordering key of an event whose schema names none. It is frozen with the namespace.
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
    /// Resolves the key source of an event: the first item of this list that the event has.
    ///
    /// - the member that its schema names,
    /// - the members of the rule, in order,
    /// - the other entity members, by name,
    /// - the correlation id,
    /// - the event's own id.
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
