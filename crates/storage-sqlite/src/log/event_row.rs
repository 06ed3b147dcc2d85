//! Reads rows of table `event` as events.

use std::collections::BTreeSet;

use domain::{
    Event, Position, StorageFailure, StoredEvent,
    event::head,
    ports::engine::{DamagedEvent, Entry},
    time::from_unix_micros,
};
use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use crate::{
    connection::execute,
    failure::sqlite,
    state::{PARTITION, State},
};

/// A row of table `event`, with the event or a description of the damage.
pub(crate) struct EventRow {
    pub(crate) seq: u64,
    /// Timestamp of the event from its own column, in microseconds.
    pub(crate) at: i64,
    pub(crate) stored_at: i64,
    /// Size of the JSON text in bytes, even if the text is damaged.
    pub(crate) bytes: u64,
    pub(crate) event: Result<Event, String>,
}

impl EventRow {
    /// Returns the row for a position that an index names but the log does not contain.
    pub(crate) fn lost(seq: u64) -> Self {
        let detail = "an index names it, and the log has no event there".to_owned();
        Self { seq, at: 0, stored_at: 0, bytes: 0, event: Err(detail) }
    }
}

/// Reads a row of `seq, at, stored_at, head, json`.
pub(crate) fn decode(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let text = row.get_ref(4)?;
    let bytes = text.as_bytes().map_or(0, <[u8]>::len) as u64;
    let event = match (text.as_str(), row.get_ref(3)?.as_blob()) {
        (Ok(json), Ok(head)) => head::decode(json, head).map_err(|error| error.to_string()),
        _ => Err("the event's text or head is damaged".to_owned()),
    };
    Ok(EventRow { seq: row.get::<_, i64>(0)? as u64, at: row.get(1)?, stored_at: row.get(2)?, bytes, event })
}

/// Finds the rows at positions.
pub(crate) struct Finder<'a>(CachedStatement<'a>);

impl<'a> Finder<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Result<Self, StorageFailure> {
        connection
            .prepare_cached("SELECT seq, at, stored_at, head, json FROM event WHERE seq = ?1")
            .map(Self)
            .map_err(sqlite)
    }

    /// Returns the row at a position.
    pub(crate) fn find(&mut self, seq: u64) -> Result<Option<EventRow>, StorageFailure> {
        self.0.query_row([seq as i64], decode).optional().map_err(sqlite)
    }
}

/// Returns whether a row exists at a position.
pub(crate) fn is_at(connection: &Connection, seq: u64) -> Result<bool, StorageFailure> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM event WHERE seq = ?1)")
        .and_then(|mut statement| statement.query_row([seq as i64], |row| row.get(0)))
        .map_err(sqlite)
}

/// Converts rows into stored events with their replay counts.
pub(crate) struct Assembler<'a> {
    connection: &'a Connection,
    /// Whether any event has a replay count. Most stores have none, and then no event needs a look-up.
    any_replays: bool,
}

impl<'a> Assembler<'a> {
    pub(crate) fn new(connection: &'a Connection, state: &State) -> Self {
        Self { connection, any_replays: state.any_replays }
    }

    /// Returns the event of a row, or a description of its damage. `indexed` states whether the index matched a damaged
    /// row to the filter.
    pub(crate) fn entry(&self, row: EventRow, indexed: bool) -> Result<Entry, StorageFailure> {
        let stored_at = from_unix_micros(row.stored_at);
        let event = match row.event {
            Ok(event) => event,
            Err(detail) => {
                let EventRow { seq: sequence, bytes, .. } = row;
                return Ok(Err(DamagedEvent { sequence, stored_at, bytes, detail, indexed }));
            }
        };
        let replayed = if self.any_replays { self.replayed(row.seq)? } else { None };
        let (replay_count, last_replay_at) = match replayed {
            Some((count, at)) => (count, Some(instant(&at)?)),
            None => (0, None),
        };
        let position = Position::new(PARTITION, row.seq);
        Ok(Ok(StoredEvent { event, position, stored_at, replay_count, last_replay_at }))
    }

    fn replayed(&self, seq: u64) -> Result<Option<(u32, String)>, StorageFailure> {
        self.connection
            .prepare_cached("SELECT count, at FROM replay WHERE seq = ?1")
            .and_then(|mut statement| {
                statement.query_row([seq as i64], |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(sqlite)
    }
}

fn instant(text: &str) -> Result<Timestamp, StorageFailure> {
    text.parse().map_err(|_| StorageFailure::Corrupt(format!("{text:?} is no instant")))
}

/// Raises the replay count of each event by one. A repeated sequence counts once. Positions without an event get no
/// count.
pub(crate) fn count_replays(
    connection: &Connection,
    sequences: &[u64],
    at: Timestamp,
) -> Result<(), StorageFailure> {
    let (sequences, at) = (sequences.iter().copied().collect::<BTreeSet<_>>(), at.to_string());
    for (first, last) in runs(sequences) {
        execute(
            connection,
            "INSERT INTO replay (seq, count, at) SELECT seq, 1, ?3 FROM event WHERE seq BETWEEN ?1 AND ?2 \
             ON CONFLICT (seq) DO UPDATE SET count = count + 1, at = excluded.at",
            (first as i64, last as i64, &at),
        )?;
    }
    Ok(())
}

/// Groups rising numbers into ranges of consecutive numbers, each as its first and last number.
fn runs(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}
