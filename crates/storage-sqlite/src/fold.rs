//! Folding: the index catches up with the log.

use std::collections::HashMap;

use domain::{Event, StorageFailure};
use rusqlite::Connection;

use crate::{failure::sqlite, postings, rows, state::State, terms::Kinds};

/// Events that may stand unindexed at the end of the log. Readers look through them one by one, at about a
/// microsecond each; a fold costs less for each event the more events it takes together.
pub(crate) const TAIL_EVENTS: u64 = 512;

/// The newest events, kept from their appends until they are folded.
#[derive(Debug)]
pub(crate) struct Tail {
    most: u64,
    events: Vec<(u64, Event)>,
}

impl Tail {
    /// A tail that is folded once it has this many events.
    pub(crate) fn new(most: u64) -> Self {
        Self { most: most.max(1), events: Vec::new() }
    }

    pub(crate) fn push(&mut self, seq: u64, event: Event) {
        self.events.push((seq, event));
    }

    pub(crate) fn clear(&mut self) {
        self.events.clear();
    }

    /// Drops what a rolled-back transaction appended.
    pub(crate) fn truncate(&mut self, head: u64) {
        self.events.retain(|(seq, _)| *seq <= head);
    }

    /// Folds everything up to the head, if it is time to.
    pub(crate) fn fold(
        &mut self,
        connection: &Connection,
        state: &mut State,
        kinds: &mut Kinds,
    ) -> Result<(), StorageFailure> {
        if state.head - state.indexed < self.most {
            return Ok(());
        }
        // Other processes may have appended, or this one just started: then the file knows what this tail does not.
        let begin = self.events.partition_point(|(seq, _)| *seq <= state.indexed);
        let known = self.events.get(begin..).unwrap_or_default();
        if known.len() as u64 == state.head - state.indexed {
            write_postings(connection, kinds, known)?;
        } else {
            write_postings(connection, kinds, &unindexed(connection, state)?)?;
        }
        state.indexed = state.head;
        self.events.clear();
        Ok(())
    }
}

fn unindexed(connection: &Connection, state: &State) -> Result<Vec<(u64, Event)>, StorageFailure> {
    let mut statement = connection
        .prepare_cached("SELECT seq, at, stored_at, head, json FROM event WHERE seq > ?1 ORDER BY seq")
        .map_err(sqlite)?;
    let rows = statement.query_map([state.indexed as i64], rows::decode).map_err(sqlite)?;
    let mut events = Vec::new();
    for row in rows {
        let row = row.map_err(sqlite)?;
        match row.event {
            Ok(event) => events.push((row.seq, event)),
            // It cannot be found by what it was about any more; reads by position and `verify` report it.
            Err(detail) => {
                tracing::warn!(position = row.seq, detail, "a damaged event is left out of the index");
            }
        }
    }
    Ok(events)
}

/// One row for each term of these events. Rows are written in key order, which is how the index is laid out.
fn write_postings(
    connection: &Connection,
    kinds: &mut Kinds,
    events: &[(u64, Event)],
) -> Result<(), StorageFailure> {
    let mut by_term = HashMap::with_capacity(events.len());
    for (seq, event) in events {
        for term in kinds.terms(connection, event)? {
            by_term.entry(term).or_insert_with(Vec::new).push(*seq);
        }
    }
    let mut terms: Vec<_> = by_term.into_iter().collect();
    terms.sort_unstable();
    let mut statement = connection
        .prepare_cached("INSERT INTO posting (kind, value, first, n, rest) VALUES (?1, ?2, ?3, ?4, ?5)")
        .map_err(sqlite)?;
    for ((kind, value), positions) in terms {
        let Some(first) = positions.first() else { continue };
        let rest = postings::encode_rest(&positions);
        statement.execute((kind, value, *first as i64, positions.len() as i64, rest)).map_err(sqlite)?;
    }
    Ok(())
}
