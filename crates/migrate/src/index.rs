//! The indexes by which counts are compared.

use domain::{Entity, Filter, StoredEvent, TypePattern};
use serde::Serialize;

/// What an index of the old system goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum IndexKind {
    /// All events, by their time.
    Time,
    /// By type.
    Type,
    /// By the service that published them.
    Source,
    /// By correlation id.
    Correlation,
    /// By user.
    User,
    /// By course.
    Course,
    /// By lab.
    Lab,
}

impl IndexKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Time, Self::Type, Self::Source, Self::Correlation, Self::User, Self::Course, Self::Lab];

    /// A short name for people.
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

    /// The entity kind that it goes by, if it goes by one.
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
    /// What it goes by; empty for [`IndexKind::Time`].
    pub(crate) value: String,
}

impl IndexKey {
    pub(crate) fn new(kind: IndexKind, value: impl Into<String>) -> Self {
        Self { kind, value: value.into() }
    }

    /// The events that it should list.
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

    /// The keys that list an event, but for the one of time, which lists all.
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
