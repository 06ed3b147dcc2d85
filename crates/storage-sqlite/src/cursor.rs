//! Whether a cursor still means a place in this log.

use domain::{Cursor, ports::EventStoreError};
use rusqlite::{Connection, OptionalExtension};

use crate::{failure::sqlite, state::State};

/// The sequence that a cursor marks.
///
/// A cursor of the present epoch is good up to the head. One of an earlier epoch is good up to where that epoch ended
/// in this copy of the log; what it marks beyond was lost, and its sequences may mean other events now.
pub(crate) fn resolve(
    connection: &Connection,
    state: &State,
    cursor: &Cursor,
) -> Result<u64, EventStoreError> {
    if cursor.store != state.store {
        return Err(EventStoreError::ForeignCursor { cursor: cursor.store, store: state.store });
    }
    let [sequence] = *cursor.sequences.as_slice() else {
        let has = cursor.sequences.len();
        return Err(EventStoreError::LostCursor(format!("it has {has} partitions, not 1")));
    };
    let end = if cursor.epoch == state.epoch {
        Some(state.head)
    } else {
        connection
            .prepare_cached("SELECT ended FROM epoch WHERE epoch = ?1")
            .and_then(|mut statement| {
                statement.query_row([cursor.epoch as i64], |row| row.get::<_, i64>(0)).optional()
            })
            .map_err(sqlite)?
            .map(|ended| ended as u64)
    };
    match end {
        Some(end) if sequence <= end => Ok(sequence),
        Some(end) => Err(EventStoreError::LostCursor(format!(
            "it marks position 0:{sequence}, and the log of that time ends at 0:{end} here"
        ))),
        None => Err(EventStoreError::LostCursor(
            "it was taken from a copy of this store with another history".into(),
        )),
    }
}
