//! Rows of table `event`, read back into events.

use domain::{CorruptEvent, Event, Position, StorageFailure, StoredEvent, event::head};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{failure::sqlite, state::from_micros};

/// An event row, or what is wrong with it.
pub(crate) struct EventRow {
    pub(crate) seq: u64,
    pub(crate) stored_at: i64,
    /// Bytes of its text, damaged or not.
    pub(crate) bytes: u64,
    pub(crate) event: Result<Event, String>,
}

/// Reads a row of `seq, at, stored_at, head, json`.
pub(crate) fn decode(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let event = match (row.get_ref(4)?.as_str(), row.get_ref(3)?.as_blob()) {
        (Ok(json), Ok(head)) => head::decode(json, head).map_err(|error| error.to_string()),
        _ => Err("the event's text or head is damaged".to_owned()),
    };
    let bytes = row.get_ref(4)?.as_bytes().map_or(0, <[u8]>::len) as u64;
    Ok(EventRow { seq: row.get::<_, i64>(0)? as u64, stored_at: row.get(2)?, bytes, event })
}

/// The copy of an event in the columns `head, json` from `at` on; none where it is damaged.
pub(crate) fn copy(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Event>> {
    Ok(match (row.get_ref(at + 1)?.as_str(), row.get_ref(at)?.as_blob()) {
        (Ok(json), Ok(head)) => head::decode(json, head).ok(),
        _ => None,
    })
}

/// The row at a position.
pub(crate) fn find(connection: &Connection, seq: u64) -> Result<Option<EventRow>, StorageFailure> {
    connection
        .prepare_cached("SELECT seq, at, stored_at, head, json FROM event WHERE seq = ?1")
        .and_then(|mut statement| statement.query_row([seq as i64], decode).optional())
        .map_err(sqlite)
}

/// The position of an event id.
pub(crate) fn position_of(connection: &Connection, id: &str) -> Result<Option<u64>, StorageFailure> {
    connection
        .prepare_cached("SELECT seq FROM event_id WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([id], |row| row.get::<_, i64>(0)).optional())
        .map(|found| found.map(|seq| seq as u64))
        .map_err(sqlite)
}

/// Turns rows into stored events, with their replay counts.
pub(crate) struct Assembler<'a> {
    connection: &'a Connection,
    /// Most stores have replayed nothing, and then no event needs a look.
    any_replays: bool,
}

impl<'a> Assembler<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Result<Self, StorageFailure> {
        let any_replays = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM replay)")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(sqlite)?;
        Ok(Self { connection, any_replays })
    }

    pub(crate) fn stored(
        &self,
        seq: u64,
        stored_at: i64,
        event: Event,
    ) -> Result<StoredEvent, StorageFailure> {
        let replayed = if self.any_replays { self.replayed(seq)? } else { None };
        let (replay_count, last_replay_at) = match replayed {
            Some((count, at)) => (count, Some(from_micros(at))),
            None => (0, None),
        };
        Ok(StoredEvent {
            event,
            position: Position::new(0, seq),
            stored_at: from_micros(stored_at),
            replay_count,
            last_replay_at,
        })
    }

    fn replayed(&self, seq: u64) -> Result<Option<(u32, i64)>, StorageFailure> {
        self.connection
            .prepare_cached("SELECT count, at FROM replay WHERE seq = ?1")
            .and_then(|mut statement| {
                statement.query_row([seq as i64], |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(sqlite)
    }
}

/// A row that cannot be read, for a page.
pub(crate) fn corrupt(seq: u64, detail: String) -> CorruptEvent {
    CorruptEvent { position: Position::new(0, seq), detail }
}
