//! Folding writes the index entries of the unindexed events as one batch.

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

/// Numbers of unindexed events at the end of the log that trigger a fold. Readers scan these events at about one
/// microsecond each. A larger fold costs less for each event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TailLimits {
    /// Limit when few events arrive at a time, or none.
    pub(crate) quiet: u64,
    /// Limit when events arrive in bulk.
    pub(crate) bulk: u64,
}

/// In bulk, number of commits between two folds.
const COMMITS_A_FOLD: u64 = 16;

impl TailLimits {
    /// Returns whether a commit that appended `just_appended` events must fold.
    pub(crate) fn are_reached(self, state: &State, just_appended: u64) -> bool {
        let bulk = just_appended.saturating_mul(COMMITS_A_FOLD).min(self.bulk);
        state.unindexed() >= self.quiet.max(bulk).max(1)
    }
}

/// A term and the positions of its events.
pub(crate) type Posting = (Term<'static>, Vec<u64>);

/// The index entries of the newest events, collected during the appends.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    positions: HashMap<Term<'static>, Vec<u64>>,
    /// Range of events that the entries cover: after the first position, up to and including the second.
    reach: (u64, u64),
}

impl Tail {
    /// Adds the entries of an event that was just appended.
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

    /// Discards all entries. [`Tail::take`] reads them from the file again.
    pub(crate) fn clear(&mut self) {
        // No event has the next position, so the next push starts a new range.
        self.begin_after(u64::MAX - 1);
    }

    pub(crate) fn begin_after(&mut self, seq: u64) {
        self.positions.clear();
        self.reach = (seq, seq);
    }

    /// Returns the index entries of all unindexed events: terms in index order, each with its positions.
    pub(crate) fn take(
        &mut self,
        connection: &Connection,
        state: &State,
        kinds: &mut Kinds,
    ) -> Result<Vec<Posting>, StorageFailure> {
        // The entries are incomplete if another process appended or folded, or if this process just started.
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
                // The index cannot find a damaged event by its terms. Reads by position and `verify` report the event.
                Err(detail) => {
                    tracing::warn!(position = row.seq, detail, "a damaged event is left out of the index");
                }
            }
        }
        Ok(())
    }
}

/// Writes one row for each term, in key order. The table is stored in the same order.
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
