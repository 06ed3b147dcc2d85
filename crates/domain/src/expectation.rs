//! What a conditional append expects of the log.

use std::{fmt, sync::Arc};

use crate::{
    entity::Entity,
    event::Event,
    filter::Filter,
    group::Key,
    position::{Cursor, Position},
    stored::StoredEvent,
};

/// How much of the log an expectation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpectationScope {
    /// Every event of the store. It can be checked where the store has one partition.
    #[default]
    Store,
    /// The events with the ordering key of the events that are appended. They lie in one partition, whatever the number of
    /// partitions.
    Key,
}

/// Expects that no event of a filter stands behind a place in the log. A conditional append stores its events only if that holds
/// in the step that stores them.
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
    /// The events that must not be there.
    pub filter: Arc<Filter>,
    /// How much of the log is checked.
    pub scope: ExpectationScope,
    /// The last place whose events are known: those at or before it may match. None: no event that the log holds may match.
    pub after: Option<Cursor>,
}

impl Expectation {
    /// No event in the log matches.
    pub fn none_of(filter: impl Into<Arc<Filter>>) -> Self {
        Self { filter: filter.into(), scope: ExpectationScope::Store, after: None }
    }

    /// No event behind this place matches: mostly the head of the log at the time of the read that the decision is based on.
    pub fn after(self, known: Cursor) -> Self {
        Self { after: Some(known), ..self }
    }

    /// Only the events with the ordering key of the appended events count. A store of several partitions checks no other
    /// expectations.
    pub fn of_key(self) -> Self {
        Self { scope: ExpectationScope::Key, ..self }
    }
}

/// Events above a sequence of a partition that match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewerEvents {
    /// Which.
    pub filter: Arc<Filter>,
    /// Their ordering key; none: any.
    pub key: Option<Key>,
    /// The sequence (exclusive).
    pub after: u64,
}

impl NewerEvents {
    /// The events of a filter, and of an ordering key where one is given, above a sequence. The filter also names what the key is
    /// made of, so that an index may find them.
    pub fn new(filter: &Arc<Filter>, key: Option<Key>, after: u64) -> Self {
        let mut narrowed = Arc::clone(filter);
        match key.as_ref().map(|key| (&*key.kind, &*key.id)) {
            // An event's own id: no index of others.
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

    /// Whether an event above the sequence is one of them.
    pub fn contains(&self, event: &Event) -> bool {
        let has_key = |key: &Key| {
            let own = event.ordering_key();
            *key.kind == *own.kind && *key.id == *own.id
        };
        self.key.as_ref().is_none_or(has_key) && self.filter.matches(event)
    }
}

/// An event that an expectation had ruled out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnexpectedEvent {
    /// Where it is.
    pub position: Position,
    /// Its id.
    pub id: String,
    /// Its type.
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
        // The same entity, and another key.
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
