//! One transaction of the writing thread: the state that the log, the index and the rows share during it.

use domain::StorageFailure;
use rusqlite::Connection;

use crate::{
    index::terms::Kinds,
    log::{
        fold::{self, Tail, TailLimits},
        ids,
    },
    rows::KnownRows,
    state::State,
};

/// Changes in a transaction. [`Change::finish`] saves the state with them.
pub(crate) struct Change<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) state: State,
    pub(crate) kinds: &'a mut Kinds,
    pub(crate) tail: &'a mut Tail,
    pub(crate) rows: &'a mut KnownRows,
    /// Time of the store's clock, in microseconds.
    pub(crate) now: i64,
    /// Whether any id has a tombstone. None before the first check.
    any_tombstones: Option<bool>,
}

impl<'a> Change<'a> {
    pub(crate) fn new(
        connection: &'a Connection,
        state: State,
        kinds: &'a mut Kinds,
        tail: &'a mut Tail,
        rows: &'a mut KnownRows,
        now: i64,
    ) -> Self {
        Self { connection, state, kinds, tail, rows, now, any_tombstones: None }
    }

    /// Returns whether an id has a tombstone. Most stores have no tombstones, and then no id needs a look-up.
    pub(crate) fn is_erased(&mut self, id: &str) -> Result<bool, StorageFailure> {
        let any = match self.any_tombstones {
            Some(any) => any,
            None => *self.any_tombstones.insert(ids::any_erased(self.connection)?),
        };
        if any { ids::is_erased(self.connection, id) } else { Ok(false) }
    }

    /// Stores a tombstone for an id, so that later appends of the id are refused.
    pub(crate) fn bury(&mut self, id: &str) -> Result<(), StorageFailure> {
        self.any_tombstones = Some(true);
        ids::bury(self.connection, &ids::digest(id))
    }

    /// Folds the tail if a limit is reached, and saves the state if it changed.
    pub(crate) fn finish(&mut self, before: &State, limits: TailLimits) -> Result<(), StorageFailure> {
        let appended = self.state.head.saturating_sub(before.head);
        if appended > 0 && limits.are_reached(&self.state, appended) {
            self.fold()?;
        }
        if self.state == *before { Ok(()) } else { self.state.save(self.connection) }
    }

    /// Indexes all events up to the head.
    pub(crate) fn fold(&mut self) -> Result<(), StorageFailure> {
        let from_start = self.state.indexed == 0;
        let terms = self.tail.take(self.connection, &self.state, self.kinds)?;
        fold::write_postings(self.connection, &terms)?;
        self.state.indexed = self.state.head;
        self.tail.begin_after(self.state.head);
        let tally = self.tally_of(terms.iter().map(|(term, positions)| (term, positions.len())))?;
        self.count_in(&tally, from_start)
    }
}
