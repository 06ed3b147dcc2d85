//! Rows of table `dead_letter`, read back into letters.

use std::sync::atomic::{AtomicU16, Ordering};

use domain::{DeadLetter, DeadLetterState, Event, Position, StorageFailure, event::head};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{
    failure::sqlite,
    groups::{execute, from_json, to_json},
    rows,
    state::{from_micros, micros},
    verify_groups::Found,
};

pub(crate) const SELECT: &str = "SELECT id, grp, seq, state, attempts, fingerprint, replay, parked, created_at, updated_at, \
     reason, history, head, json FROM dead_letter";

pub(crate) type Columns = (
    String,
    String,
    i64,
    String,
    u32,
    String,
    Option<String>,
    bool,
    i64,
    i64,
    Option<String>,
    String,
    Vec<u8>,
    String,
);

pub(crate) fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    row.try_into()
}

pub(crate) fn decode(
    (
        id,
        group,
        seq,
        state,
        attempts,
        fingerprint,
        replay_id,
        parked,
        created_at,
        updated_at,
        reason,
        history,
        head,
        json,
    ): Columns,
) -> Result<DeadLetter, StorageFailure> {
    let damaged = |what: String| StorageFailure::Corrupt(format!("the dead letter {id}: {what}"));
    let event = head::decode(&json, &head).map_err(|error| damaged(error.to_string()))?;
    let state = state_of(&state).ok_or_else(|| damaged(format!("it is in no state, but {state:?}")))?;
    Ok(DeadLetter {
        group,
        position: Position::new(0, seq as u64),
        event,
        state,
        attempts,
        history: from_json(&history, &format!("the history of the dead letter {id}"))?,
        fingerprint,
        replay_id,
        parked,
        created_at: from_micros(created_at),
        updated_at: from_micros(updated_at),
        reason,
        id,
    })
}

const STATES: [(DeadLetterState, &str); 4] = [
    (DeadLetterState::Open, "open"),
    (DeadLetterState::Redriving, "redriving"),
    (DeadLetterState::Handled, "handled"),
    (DeadLetterState::Discarded, "discarded"),
];

pub(crate) fn state_column(state: DeadLetterState) -> &'static str {
    STATES.iter().find(|(known, _)| *known == state).map_or("", |(_, column)| column)
}

pub(crate) fn state_of(column: &str) -> Option<DeadLetterState> {
    STATES.iter().find(|(_, known)| *known == column).map(|(state, _)| *state)
}

pub(crate) fn find_where(
    connection: &Connection,
    condition: &str,
    params: impl rusqlite::Params,
) -> Result<Option<DeadLetter>, StorageFailure> {
    connection
        .prepare_cached(&format!("{SELECT} WHERE {condition}"))
        .and_then(|mut statement| statement.query_row(params, columns).optional())
        .map_err(sqlite)?
        .map(decode)
        .transpose()
}

pub(crate) fn find(connection: &Connection, id: &str) -> Result<Option<DeadLetter>, StorageFailure> {
    find_where(connection, "id = ?1", [id])
}

/// Tells letters of one microsecond apart, in the order in which they were made.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A UUID of version 7, with the microseconds in the bits that it leaves to finer clocks: ids sort as the letters do, by
/// when they were made, so a page can begin after a letter that is gone.
pub(crate) fn new_id(now: i64) -> String {
    let now = now.max(0) as u64;
    let (millis, rest) = (now / 1000, now % 1000);
    let variant = 0x8000 | (NEXT.fetch_add(1, Ordering::Relaxed) % 0x4000);
    let random = fastrand::u64(..1 << 48);
    format!("{:08x}-{:04x}-7{rest:03x}-{variant:04x}-{random:012x}", millis >> 16, millis & 0xffff)
}

pub(crate) fn put(connection: &Connection, letter: &DeadLetter) -> Result<(), StorageFailure> {
    let row = (
        &letter.id,
        &letter.group,
        letter.position.sequence as i64,
        state_column(letter.state),
        letter.attempts,
        &letter.fingerprint,
        &letter.replay_id,
        letter.parked,
        micros(letter.created_at),
        micros(letter.updated_at),
        &letter.reason,
        to_json(&letter.history)?,
        head::encode(&letter.event),
        letter.event.json(),
    );
    execute(
        connection,
        "INSERT OR REPLACE INTO dead_letter (id, grp, seq, state, attempts, fingerprint, replay, parked, \
         created_at, updated_at, reason, history, head, json) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        row,
    )
    .map(drop)
}

/// Letters that cannot be read.
pub(crate) fn unreadable(connection: &Connection) -> Result<Vec<Found>, StorageFailure> {
    let mut statement = connection.prepare(SELECT).map_err(sqlite)?;
    let mut rows = statement.query([]).map_err(sqlite)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(sqlite)? {
        let seq: i64 = row.get(2).map_err(sqlite)?;
        match columns(row).map_err(sqlite).and_then(decode) {
            Err(StorageFailure::Corrupt(detail)) => found.push((Some(seq as u64), detail)),
            other => drop(other?),
        }
    }
    Ok(found)
}

/// Letters of events for which this holds, by id, with their events. A letter that cannot be read cannot say.
pub(crate) fn matching(
    connection: &Connection,
    wanted: impl Fn(&Event) -> bool,
) -> Result<Vec<(String, Event)>, StorageFailure> {
    let mut found = Vec::new();
    let mut statement =
        connection.prepare_cached("SELECT id, head, json FROM dead_letter").map_err(sqlite)?;
    let mut rows = statement.query([]).map_err(sqlite)?;
    while let Some(row) = rows.next().map_err(sqlite)? {
        if let Some(event) = rows::copy(row, 1).map_err(sqlite)?.filter(&wanted) {
            found.push((row.get(0).map_err(sqlite)?, event));
        }
    }
    Ok(found)
}

/// Removes a letter.
pub(crate) fn remove(connection: &Connection, id: &str) -> Result<(), StorageFailure> {
    execute(connection, "DELETE FROM dead_letter WHERE id = ?1", [id]).map(drop)
}
