//! What the log knows of an event id: where its event is, or that it was erased.

use domain::{StorageFailure, ports::engine::IdState};
use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use crate::{connection::execute, failure::sqlite};

/// The position of an event id.
pub(crate) fn position_of(connection: &Connection, id: &str) -> Result<Option<u64>, StorageFailure> {
    connection
        .prepare_cached("SELECT seq FROM event_id WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([id], |row| row.get::<_, i64>(0)).optional())
        .map(|found| found.map(|seq| seq as u64))
        .map_err(sqlite)
}

/// The id of the event at a position, for one that can no longer say it: the whole table is asked.
pub(crate) fn id_at(connection: &Connection, seq: u64) -> Result<Option<String>, StorageFailure> {
    connection
        .query_row("SELECT id FROM event_id WHERE seq = ?1", [seq as i64], |row| row.get(0))
        .optional()
        .map_err(sqlite)
}

/// What the log knows of an id.
pub(crate) fn state_of(connection: &Connection, id: &str) -> Result<Option<IdState>, StorageFailure> {
    if is_erased(connection, id)? {
        return Ok(Some(IdState::Erased));
    }
    Ok(position_of(connection, id)?.map(IdState::Stored))
}

/// What a tombstone keeps of an erased id.
pub(crate) fn digest(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}

/// Whether any id was erased.
pub(crate) fn any_erased(connection: &Connection) -> Result<bool, StorageFailure> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM tombstone)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(sqlite)
}

/// Whether the event of an id was erased.
pub(crate) fn is_erased(connection: &Connection, id: &str) -> Result<bool, StorageFailure> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM tombstone WHERE digest = ?1)")
        .and_then(|mut statement| statement.query_row([digest(id)], |row| row.get(0)))
        .map_err(sqlite)
}

/// Refuses the id of a digest from now on.
pub(crate) fn bury(connection: &Connection, digest: &[u8]) -> Result<(), StorageFailure> {
    execute(connection, "INSERT OR IGNORE INTO tombstone (digest) VALUES (?1)", [digest]).map(drop)
}
