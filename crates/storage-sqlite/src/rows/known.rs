//! A cache of the rows that the writing thread last read or wrote. Guards and writes thus avoid reads of the table.
//!
//! The cache is valid until another connection commits. Each transaction asks SQLite about such commits. A rollback
//! clears the cache.

use std::collections::HashMap;

use domain::{
    StorageFailure,
    ports::engine::{RowId, Space},
};
use rusqlite::Connection;

use crate::failure::sqlite;

/// Longest cached value, and highest total size of keys and values, in bytes.
const MOST_OF_ONE: usize = 2 * 1024;
const MOST_OF_ALL: usize = 2 * 1024 * 1024;

/// Cached rows. A cached row has a value, or is known to be absent.
#[derive(Debug, Default)]
pub(crate) struct KnownRows {
    rows: HashMap<RowId, Option<Vec<u8>>>,
    /// Bytes added to the cache since it was last cleared. Replaced values count as well.
    bytes: usize,
    /// SQLite's `data_version` at the time of the reads. It changes when another connection commits.
    version: i64,
}

impl KnownRows {
    /// Begins a transaction. Clears the cache if another connection has committed, or if the cache has become too
    /// large.
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

    /// Returns the cached value of a row. The outer option is none if the row is not cached. The inner option is none
    /// if the row is absent.
    pub(super) fn value(&self, row: &RowId) -> Option<Option<&[u8]>> {
        self.rows.get(row).map(Option::as_deref)
    }

    /// Caches the current value of a row. A value that is too long is not cached.
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

    /// Removes the rows of a space from the cache.
    pub(super) fn forget_space(&mut self, space: &Space) {
        self.rows.retain(|row, _| row.space != *space);
    }
}
