//! The state of an event id: the position of its event, or a tombstone.

use domain::{StorageFailure, ports::engine::IdState};
use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use crate::{connection::execute, failure::sqlite};

/// Returns the position of an event id.
pub(crate) fn position_of(connection: &Connection, id: &str) -> Result<Option<u64>, StorageFailure> {
    connection
        .prepare_cached("SELECT seq FROM event_id WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([id], |row| row.get::<_, i64>(0)).optional())
        .map(|found| found.map(|seq| seq as u64))
        .map_err(sqlite)
}

/// Returns the id of a damaged event by its position. The query scans the whole table.
pub(crate) fn id_at(connection: &Connection, seq: u64) -> Result<Option<String>, StorageFailure> {
    connection
        .query_row("SELECT id FROM event_id WHERE seq = ?1", [seq as i64], |row| row.get(0))
        .optional()
        .map_err(sqlite)
}

/// Returns the state of an id in the log.
pub(crate) fn state_of(connection: &Connection, id: &str) -> Result<Option<IdState>, StorageFailure> {
    if is_erased(connection, id)? {
        return Ok(Some(IdState::Erased));
    }
    Ok(position_of(connection, id)?.map(IdState::Stored))
}

/// Returns the digest of an id for its tombstone.
pub(crate) fn digest(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}

/// Returns whether any id has a tombstone.
pub(crate) fn any_erased(connection: &Connection) -> Result<bool, StorageFailure> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM tombstone)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(sqlite)
}

/// Returns whether an id has a tombstone.
pub(crate) fn is_erased(connection: &Connection, id: &str) -> Result<bool, StorageFailure> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM tombstone WHERE digest = ?1)")
        .and_then(|mut statement| statement.query_row([digest(id)], |row| row.get(0)))
        .map_err(sqlite)
}

/// Stores a tombstone, so that later appends of its id are refused.
pub(crate) fn bury(connection: &Connection, digest: &[u8]) -> Result<(), StorageFailure> {
    execute(connection, "INSERT OR IGNORE INTO tombstone (digest) VALUES (?1)", [digest]).map(drop)
}
