//! Expectations: the conditions of a conditional append on the log.

use std::{fmt, sync::Arc};

use crate::{
    entity::Entity,
    event::Event,
    filter::Filter,
    group::Key,
    position::{Cursor, Position},
    stored::StoredEvent,
};

/// The part of the log that an expectation covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpectationScope {
    /// Every event of the store. A store checks this scope only if it has one partition.
    #[default]
    Store,
    /// The events with the ordering key of the appended events. They lie in one partition, for any number of
    /// partitions.
    Key,
}

/// Expects that the log has no event of a filter after a place. A conditional append stores its events only if the
/// expectation holds in the step that stores them.
///
/// ```
/// use event_replay_domain::{Cursor, Expectation, Filter, StoreId};
/// let head = Cursor::new(StoreId(7), 1, vec![42]);
/// // No order of ann has been stored since the decision was made, which knew the log up to its head.
/// let unchanged = Expectation::none_of(Filter::types(["order.*"]).entity("user", "ann")).after(head);
/// // The name was never taken.
/// let free = Expectation::none_of(Filter::types(["name.taken"]).entity("name", "ann"));
/// assert_ne!(unchanged, free);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an expectation is checked by the append that it is given to"]
pub struct Expectation {
    /// Filter of the events that must not be in the log.
    pub filter: Arc<Filter>,
    /// Part of the log that is checked.
    pub scope: ExpectationScope,
    /// The last place whose events are known. Events at or before it may match the filter. If it is none, no event in
    /// the log may match.
    pub after: Option<Cursor>,
}

impl Expectation {
    /// Expects that no event in the log matches.
    pub fn none_of(filter: impl Into<Arc<Filter>>) -> Self {
        Self { filter: filter.into(), scope: ExpectationScope::Store, after: None }
    }

    /// Restricts the expectation to events after this place. It is mostly the head of the log at the read on which
    /// the decision is based.
    pub fn after(self, known: Cursor) -> Self {
        Self { after: Some(known), ..self }
    }

    /// Restricts the expectation to events with the ordering key of the appended events. A store with several
    /// partitions checks no other expectations.
    pub fn of_key(self) -> Self {
        Self { scope: ExpectationScope::Key, ..self }
    }
}

/// Matching events above a sequence of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewerEvents {
    /// Filter of the events.
    pub filter: Arc<Filter>,
    /// Ordering key of the events. None stands for any key.
    pub key: Option<Key>,
    /// The sequence (exclusive).
    pub after: u64,
}

impl NewerEvents {
    /// Returns the events of a filter above a sequence, restricted to an ordering key if one is given. The filter
    /// also names the parts of the key, so that an index can find the events.
    pub fn new(filter: &Arc<Filter>, key: Option<Key>, after: u64) -> Self {
        let mut narrowed = Arc::clone(filter);
        match key.as_ref().map(|key| (&*key.kind, &*key.id)) {
            // The key is an event's own id, and no index finds other events by it.
            None | Some(("event", _)) => {}
            Some(("correlation", id)) if filter.correlation_ids.is_empty() => {
                narrowed = Arc::new(Filter::clone(filter).correlated(id));
            }
            Some(("correlation", _)) => {}
            Some((kind, id)) if !filter.entities.contains_key(kind) => {
                let mut own = Filter::clone(filter);
                own.add_entity(Entity::new(kind, id));
                narrowed = Arc::new(own);
            }
            Some(_) => {}
        }
        Self { filter: narrowed, key, after }
    }

    /// Returns whether an event above the sequence is one of the described events.
    pub fn contains(&self, event: &Event) -> bool {
        let has_key = |key: &Key| {
            let own = event.ordering_key();
            *key.kind == *own.kind && *key.id == *own.id
        };
        self.key.as_ref().is_none_or(has_key) && self.filter.matches(event)
    }
}

/// An event in the log that an expectation rules out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnexpectedEvent {
    /// Position of the event.
    pub position: Position,
    /// Id of the event.
    pub id: String,
    /// Type of the event.
    pub event_type: String,
}

impl From<&StoredEvent> for UnexpectedEvent {
    fn from(stored: &StoredEvent) -> Self {
        let (id, event_type) = (stored.event.id().to_owned(), stored.event.event_type().to_owned());
        Self { position: stored.position, id, event_type }
    }
}

impl fmt::Display for UnexpectedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {:?} ({}) at {}", self.id, self.event_type, self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Document, Limits},
        ordering::{KeySource, OrderingRule},
    };

    fn event(members: &str) -> Event {
        let json = format!(
            r#"{{"id":"e","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}}{members}}}"#
        );
        let event = Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
        let key = OrderingRule::default().resolve(&event, None);
        event.with_key_source(key)
    }

    fn newer(of: &Event, filter: Filter) -> NewerEvents {
        NewerEvents::new(&Arc::new(filter), Some(of.ordering_key().into()), 0)
    }

    #[test]
    fn a_key_narrows_to_its_own_events_alone() {
        let (ann, bob) = (event(r#","userId":"ann""#), event(r#","userId":"bob""#));
        let of_ann = newer(&ann, Filter::default());
        assert!(of_ann.contains(&ann) && !of_ann.contains(&bob));
        // The same entity with another key.
        let other = event(r#","userId":"ann","correlationId":"c""#).with_key_source(KeySource::Correlation);
        assert!(!of_ann.contains(&other));
        assert!(newer(&other, Filter::default()).contains(&other));
    }

    #[test]
    fn a_key_never_widens_what_the_filter_says() {
        let ann = event(r#","userId":"ann","correlationId":"c""#);
        for filter in
            [Filter::default().entity("user", "bob"), Filter::types(["other"]), Filter::correlation("d")]
        {
            assert!(!newer(&ann, filter.clone()).contains(&ann), "{filter:?}");
        }
        let keyless = event("");
        assert!(newer(&keyless, Filter::types(["t"])).contains(&keyless));
    }
}
