//! The indexes whose counts are compared.

use domain::{Entity, Filter, StoredEvent, TypePattern};
use serde::Serialize;

/// The kind of an index of the old system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum IndexKind {
    /// All events, by their timestamp.
    Time,
    /// Events of one type.
    Type,
    /// Events of one source, which is the publishing service.
    Source,
    /// Events of one correlation id.
    Correlation,
    /// Events of one user.
    User,
    /// Events of one course.
    Course,
    /// Events of one lab.
    Lab,
}

impl IndexKind {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::Time, Self::Type, Self::Source, Self::Correlation, Self::User, Self::Course, Self::Lab];

    /// Returns a short name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Type => "type",
            Self::Source => "source",
            Self::Correlation => "correlation",
            Self::User => "user",
            Self::Course => "course",
            Self::Lab => "lab",
        }
    }

    /// Returns the entity kind of the index, if it is an index of entities.
    fn entity(self) -> Option<&'static str> {
        match self {
            Self::User => Some("user"),
            Self::Course => Some("course"),
            Self::Lab => Some("lab"),
            _ => None,
        }
    }
}

/// One key of an index: all events of one type, of one user, and so on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct IndexKey {
    pub(crate) kind: IndexKind,
    /// The value of the key. It is empty for [`IndexKind::Time`].
    pub(crate) value: String,
}

impl IndexKey {
    pub(crate) fn new(kind: IndexKind, value: impl Into<String>) -> Self {
        Self { kind, value: value.into() }
    }

    /// Returns the filter for the events that the key should list.
    pub(crate) fn filter(&self) -> Filter {
        let value = self.value.clone();
        if let Some(kind) = self.kind.entity() {
            return Filter::of_entity(Entity::new(kind, value));
        }
        match self.kind {
            IndexKind::Type => Filter { types: vec![TypePattern::new(value)], ..Filter::default() },
            IndexKind::Source => Filter { sources: [value].into(), ..Filter::default() },
            IndexKind::Correlation => Filter::correlation(value),
            _ => Filter::default(),
        }
    }

    /// Returns the keys that list an event. The key of [`IndexKind::Time`], which lists all events, is not included.
    pub(crate) fn of(stored: &StoredEvent) -> Vec<Self> {
        let event = &stored.event;
        let mut keys = vec![
            Self::new(IndexKind::Type, event.event_type()),
            Self::new(IndexKind::Source, event.source()),
        ];
        keys.extend(event.correlation_id().map(|id| Self::new(IndexKind::Correlation, id)));
        let kinds = IndexKind::ALL.into_iter();
        keys.extend(kinds.filter_map(|kind| {
            let (_, id) = event.entities().find(|(named, _)| Some(*named) == kind.entity())?;
            Some(Self::new(kind, id))
        }));
        keys
    }
}
