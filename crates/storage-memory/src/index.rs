//! The indexes. A term is a type, a source, a correlation id or an entity. The index holds the sorted sequences of
//! each term's events, and the sequence of each id.

use std::collections::{BTreeMap, BTreeSet, HashMap, btree_map};

use domain::Event;

/// Sequences of the events of one term.
pub(crate) type Postings = BTreeSet<u64>;

/// One indexed value of an event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Term {
    Type(String),
    Source(String),
    Correlation(String),
    Entity(String, String),
}

impl Term {
    /// Returns every term of an event.
    pub(crate) fn of(event: &Event) -> Vec<Self> {
        let mut terms =
            vec![Self::Type(event.event_type().to_owned()), Self::Source(event.source().to_owned())];
        terms.extend(event.correlation_id().map(|id| Self::Correlation(id.to_owned())));
        terms.extend(event.entities().map(|(kind, id)| Self::Entity(kind.to_owned(), id.to_owned())));
        terms
    }
}

/// All indexes of a log.
#[derive(Debug, Default)]
pub(crate) struct Index {
    terms: BTreeMap<Term, Postings>,
    ids: HashMap<String, u64>,
}

impl Index {
    pub(crate) fn insert(&mut self, sequence: u64, event: &Event) {
        for term in Term::of(event) {
            self.insert_term(term, sequence);
        }
        self.ids.insert(event.id().to_owned(), sequence);
    }

    pub(crate) fn insert_term(&mut self, term: Term, sequence: u64) {
        self.terms.entry(term).or_default().insert(sequence);
    }

    pub(crate) fn remove(&mut self, sequence: u64, event: &Event) {
        for term in Term::of(event) {
            self.remove_term(term, sequence);
        }
        self.ids.remove(event.id());
    }

    /// Removes a sequence from a term. A term without events is removed too, so that the index does not grow with
    /// terms of past events.
    pub(crate) fn remove_term(&mut self, term: Term, sequence: u64) {
        if let btree_map::Entry::Occupied(mut postings) = self.terms.entry(term) {
            postings.get_mut().remove(&sequence);
            if postings.get().is_empty() {
                postings.remove();
            }
        }
    }

    pub(crate) fn id(&self, id: &str) -> Option<u64> {
        self.ids.get(id).copied()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = (&str, u64)> {
        self.ids.iter().map(|(id, sequence)| (id.as_str(), *sequence))
    }

    pub(crate) fn term(&self, term: &Term) -> Option<&Postings> {
        self.terms.get(term)
    }

    pub(crate) fn terms(&self) -> impl Iterator<Item = (&Term, &Postings)> {
        self.terms.iter()
    }

    /// Returns every type that has events.
    pub(crate) fn types(&self) -> impl Iterator<Item = (&str, &Postings)> {
        // Types are the first variant of `Term`, so they come first in the map.
        self.terms.iter().map_while(|(term, postings)| match term {
            Term::Type(event_type) => Some((event_type.as_str(), postings)),
            _ => None,
        })
    }
}
