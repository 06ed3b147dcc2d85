//! Decides from the index whether a damaged event matches a filter.

use domain::{Filter, StorageFailure, time::from_unix_micros};
use rusqlite::Connection;

use super::{
    plan, postings,
    terms::{self, Kinds, Term, Value},
};
use crate::{log::ids, state::State};

/// The result for one event and one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The filter matches the event.
    Matches,
    /// The filter does not match the event.
    Differs,
    /// The index cannot decide.
    Unknown,
}

/// Evaluates a filter on damaged events with the index.
pub(crate) struct Index<'a> {
    connection: &'a Connection,
    state: &'a State,
    filter: &'a Filter,
    /// Parts of the filter that the index can answer. None before the first use.
    parts: Option<Vec<Vec<Term<'static>>>>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(connection: &'a Connection, state: &'a State, filter: &'a Filter) -> Self {
        Self { connection, state, filter, parts: None }
    }

    /// Evaluates the filter on the event at a position with this timestamp, in microseconds.
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
        // The index holds times by the hour and holds no conditions.
        let filter = self.filter;
        let is_certain = filter.from.is_none() && filter.to.is_none() && filter.condition.is_none();
        Ok(if is_certain { Verdict::Matches } else { Verdict::Unknown })
    }

    /// Returns true if the filter names no ids, or if one of them has this position.
    fn has_id(&self, seq: u64) -> Result<bool, StorageFailure> {
        for id in &self.filter.event_ids {
            if ids::position_of(self.connection, id)? == Some(seq) {
                return Ok(true);
            }
        }
        Ok(self.filter.event_ids.is_empty())
    }

    /// Returns whether the event is indexed. Every indexed event has an hour. An event that was damaged before it was
    /// indexed has no entries.
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
