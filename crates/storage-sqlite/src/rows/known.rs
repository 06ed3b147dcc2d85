//! Rows as the writing thread read or wrote them last, so that guards and writes need not look at the table again.
//!
//! What is known holds until another connection commits, which each transaction asks SQLite about. A transaction that is rolled
//! back takes everything along.

use std::collections::HashMap;

use domain::{
    StorageFailure,
    ports::engine::{RowId, Space},
};
use rusqlite::Connection;

use crate::failure::sqlite;

/// The longest value that is kept, and the most bytes of keys and values.
const MOST_OF_ONE: usize = 2 * 1024;
const MOST_OF_ALL: usize = 2 * 1024 * 1024;

/// Known rows: their values, or that there is no such row.
#[derive(Debug, Default)]
pub(crate) struct KnownRows {
    rows: HashMap<RowId, Option<Vec<u8>>>,
    /// Bytes that were taken in. Those of values that were replaced are counted as well.
    bytes: usize,
    /// SQLite's number for what other connections have committed, when the rows were read.
    version: i64,
}

impl KnownRows {
    /// Begins a transaction: forgets everything where another connection has committed since.
    pub(crate) fn begin(&mut self, connection: &Connection) -> Result<(), StorageFailure> {
        let version: i64 = connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(sqlite)?;
        if version != self.version || self.bytes > MOST_OF_ALL {
            self.forget();
            self.version = version;
        }
        Ok(())
    }

    pub(crate) fn forget(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }

    /// The value of a row, or none where there is no such row; nothing where that is not known.
    pub(super) fn value(&self, row: &RowId) -> Option<Option<&[u8]>> {
        self.rows.get(row).map(Option::as_deref)
    }

    /// Notes what a row is now.
    pub(super) fn note(&mut self, row: &RowId, value: Option<&[u8]>) {
        if value.is_some_and(|value| value.len() > MOST_OF_ONE) {
            self.rows.remove(row);
            return;
        }
        self.bytes += value.map_or(0, <[u8]>::len);
        match (self.rows.get_mut(row), value) {
            (Some(Some(known)), Some(value)) => {
                known.clear();
                known.extend_from_slice(value);
            }
            (Some(known), value) => *known = value.map(<[u8]>::to_vec),
            (None, value) => {
                self.bytes += row.space.scope.len() + row.key.len();
                self.rows.insert(row.clone(), value.map(<[u8]>::to_vec));
            }
        }
    }

    /// Forgets the rows of a space.
    pub(super) fn forget_space(&mut self, space: &Space) {
        self.rows.retain(|row, _| row.space != *space);
    }
}
