//! The yardstick of the SQLite rows: the same events in typical plain SQL. It has a table of events, one row for each
//! index entry, prepared statements, WAL, and every commit synced to disk.

use std::path::Path;

use anyhow::Result;
use domain::Event;
use rusqlite::Connection;

/// A store in plain SQL.
pub(crate) struct PlainSql {
    connection: Connection,
}

impl PlainSql {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.set_prepared_statement_cache_capacity(32);
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA cache_size = -16384;
             CREATE TABLE event (
                 seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL,
                 stored_at INTEGER NOT NULL, json TEXT NOT NULL);
             CREATE TABLE entry (
                 kind INTEGER NOT NULL, value TEXT NOT NULL, seq INTEGER NOT NULL,
                 PRIMARY KEY (kind, value, seq)) WITHOUT ROWID;
             CREATE INDEX event_at ON event (at);",
        )?;
        Ok(Self { connection })
    }

    /// Appends a batch in one durable transaction.
    pub(crate) fn append(&mut self, batch: &[Event]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO event (id, at, stored_at, json) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING",
            )?;
            let mut entry = transaction.prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3)")?;
            for event in batch {
                let at = event.timestamp().as_microsecond();
                if insert.execute((event.id(), at, at, event.json()))? == 0 {
                    continue;
                }
                let seq = transaction.last_insert_rowid();
                entry.execute((1, event.event_type(), seq))?;
                entry.execute((2, event.source(), seq))?;
                if let Some(correlation) = event.correlation_id() {
                    entry.execute((3, correlation, seq))?;
                }
                for (kind, id) in event.entities() {
                    // A number for each entity kind, as a lookup table would give.
                    entry.execute((16 + kind.len() as i64, id, seq))?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Reads every event without decoding it, and returns the number of bytes.
    pub(crate) fn scan(&self) -> Result<usize> {
        let mut statement =
            self.connection.prepare_cached("SELECT seq, stored_at, json FROM event ORDER BY seq")?;
        let mut rows = statement.query([])?;
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            bytes += row.get_ref(2)?.as_bytes()?.len();
        }
        Ok(bytes)
    }

    /// Returns the number of events with a correlation id.
    pub(crate) fn by_correlation(&self, id: &str) -> Result<usize> {
        let mut statement = self.connection.prepare_cached(
            "SELECT event.json FROM entry JOIN event USING (seq) WHERE kind = 3 AND value = ?1 ORDER BY seq",
        )?;
        let mut rows = statement.query([id])?;
        let mut found = 0;
        while let Some(row) = rows.next()? {
            found += usize::from(!row.get_ref(0)?.as_bytes()?.is_empty());
        }
        Ok(found)
    }
}
