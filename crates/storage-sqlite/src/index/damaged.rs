//! What the index still knows of an event that is damaged: whether it is one that a filter asks for.

use domain::{Filter, StorageFailure, time::from_unix_micros};
use rusqlite::Connection;

use super::{
    plan, postings,
    terms::{self, Kinds, Term, Value},
};
use crate::{log::ids, state::State};

/// What the index says of an event and a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The filter matches it.
    Matches,
    /// The filter does not match it.
    Differs,
    /// The index does not know.
    Unknown,
}

/// Asks the index about damaged events.
pub(crate) struct Index<'a> {
    connection: &'a Connection,
    state: &'a State,
    filter: &'a Filter,
    /// The parts of the filter that the index can answer; none before the first question.
    parts: Option<Vec<Vec<Term<'static>>>>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(connection: &'a Connection, state: &'a State, filter: &'a Filter) -> Self {
        Self { connection, state, filter, parts: None }
    }

    /// What is known of the event at a position with this timestamp, in microseconds.
    pub(crate) fn verdict(&mut self, seq: u64, at: i64) -> Result<Verdict, StorageFailure> {
        let parts = match self.parts.take() {
            Some(parts) => parts,
            None => plan::parts(self.connection, self.filter, &mut Kinds::default())?,
        };
        let verdict = self.judge(&parts, seq, at);
        self.parts = Some(parts);
        verdict
    }

    fn judge(&self, parts: &[Vec<Term<'static>>], seq: u64, at: i64) -> Result<Verdict, StorageFailure> {
        if !self.has_id(seq)? {
            return Ok(Verdict::Differs);
        }
        if !parts.is_empty() && !self.is_indexed(seq, at)? {
            return Ok(Verdict::Unknown);
        }
        for part in parts {
            if !self.holds_any(part, seq)? {
                return Ok(Verdict::Differs);
            }
        }
        // Times are indexed by the hour, conditions not at all.
        let filter = self.filter;
        let is_certain = filter.from.is_none() && filter.to.is_none() && filter.condition.is_none();
        Ok(if is_certain { Verdict::Matches } else { Verdict::Unknown })
    }

    /// Whether the event has one of the ids that the filter asks for, if it asks for ids.
    fn has_id(&self, seq: u64) -> Result<bool, StorageFailure> {
        for id in &self.filter.event_ids {
            if ids::position_of(self.connection, id)? == Some(seq) {
                return Ok(true);
            }
        }
        Ok(self.filter.event_ids.is_empty())
    }

    /// Every event that is indexed has an hour. One that was damaged before the index reached it has no entry at all.
    fn is_indexed(&self, seq: u64, at: i64) -> Result<bool, StorageFailure> {
        let hour = (terms::HOUR, Value::Hour(terms::hour_of(from_unix_micros(at))));
        Ok(seq <= self.state.indexed && postings::holds(self.connection, &hour, seq)?)
    }

    fn holds_any(&self, part: &[Term<'static>], seq: u64) -> Result<bool, StorageFailure> {
        for term in part {
            if postings::holds(self.connection, term, seq)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
