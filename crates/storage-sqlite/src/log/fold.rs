//! Folding: the index catches up with the log.

use std::collections::HashMap;

use domain::{Event, StorageFailure};
use rusqlite::Connection;

use super::event_row;
use crate::{
    failure::sqlite,
    index::{
        postings,
        terms::{Kinds, Term},
    },
    state::State,
};

/// How many events may stand unindexed at the end of the log. Readers look through them one by one, at about a
/// microsecond each; a fold costs less for each event the more events it takes together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TailLimits {
    /// When events come a few at a time, or come no more.
    pub(crate) quiet: u64,
    /// When events come in bulk.
    pub(crate) bulk: u64,
}

/// In bulk, commits that may pass between two folds.
const COMMITS_A_FOLD: u64 = 16;

impl TailLimits {
    /// Whether it is time to fold, after a commit that appended so many events.
    pub(crate) fn are_reached(self, state: &State, just_appended: u64) -> bool {
        let bulk = just_appended.saturating_mul(COMMITS_A_FOLD).min(self.bulk);
        state.unindexed() >= self.quiet.max(bulk).max(1)
    }
}

/// A term, and the positions of the events that have it.
pub(crate) type Posting = (Term<'static>, Vec<u64>);

/// The index entries of the newest events, gathered as they are appended.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    positions: HashMap<Term<'static>, Vec<u64>>,
    /// The events that these entries are of: after the first, up to the second.
    reach: (u64, u64),
}

impl Tail {
    /// Takes an event in that was just appended.
    pub(crate) fn push(
        &mut self,
        connection: &Connection,
        kinds: &mut Kinds,
        seq: u64,
        event: &Event,
    ) -> Result<(), StorageFailure> {
        if self.reach.1 + 1 != seq {
            self.begin_after(seq - 1);
        }
        for (kind, value) in kinds.terms(connection, event)? {
            self.positions.entry((kind, value.into_owned())).or_default().push(seq);
        }
        self.reach.1 = seq;
        Ok(())
    }

    /// Forgets everything. The file knows it all.
    pub(crate) fn clear(&mut self) {
        // No event has this position, so nothing follows on it.
        self.begin_after(u64::MAX - 1);
    }

    pub(crate) fn begin_after(&mut self, seq: u64) {
        self.positions.clear();
        self.reach = (seq, seq);
    }

    /// The index entries of all events that are not indexed: terms in the order of the index, each with its positions.
    pub(crate) fn take(
        &mut self,
        connection: &Connection,
        state: &State,
        kinds: &mut Kinds,
    ) -> Result<Vec<Posting>, StorageFailure> {
        // Other processes may have appended or folded, or this one just started.
        if self.reach != (state.indexed, state.head) {
            self.read_again(connection, state, kinds)?;
        }
        let mut terms: Vec<_> = self.positions.drain().collect();
        terms.sort_unstable();
        Ok(terms)
    }

    fn read_again(
        &mut self,
        connection: &Connection,
        state: &State,
        kinds: &mut Kinds,
    ) -> Result<(), StorageFailure> {
        self.begin_after(state.indexed);
        let mut statement = connection
            .prepare_cached("SELECT seq, at, stored_at, head, json FROM event WHERE seq > ?1 ORDER BY seq")
            .map_err(sqlite)?;
        for row in statement.query_map([state.indexed as i64], event_row::decode).map_err(sqlite)? {
            let row = row.map_err(sqlite)?;
            match row.event {
                Ok(event) => {
                    for (kind, value) in kinds.terms(connection, &event)? {
                        self.positions.entry((kind, value.into_owned())).or_default().push(row.seq);
                    }
                }
                // It cannot be found by what it was about any more; reads by position and `verify` report it.
                Err(detail) => {
                    tracing::warn!(position = row.seq, detail, "a damaged event is left out of the index");
                }
            }
        }
        Ok(())
    }
}

/// Writes one row for each term. Rows are written in key order, which is how the index is laid out.
pub(crate) fn write_postings(connection: &Connection, terms: &[Posting]) -> Result<(), StorageFailure> {
    let mut statement = connection
        .prepare_cached("INSERT INTO posting (kind, value, first, n, rest) VALUES (?1, ?2, ?3, ?4, ?5)")
        .map_err(sqlite)?;
    for ((kind, value), positions) in terms {
        let Some(first) = positions.first() else { continue };
        let rest = postings::encode_rest(positions);
        statement.execute((kind, value, *first as i64, positions.len() as i64, rest)).map_err(sqlite)?;
    }
    Ok(())
}
