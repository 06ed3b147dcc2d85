//! Whether the log has events of a filter above a sequence, asked inside the writer's transaction.

use domain::{StorageFailure, expectation::NewerEvents};
use rusqlite::Connection;

use super::event_row::decode;
use crate::{failure::sqlite, state::State};

/// Sequences that are looked at while other writers wait. Of more, nothing is said.
const MOST_LOOKED_AT: u64 = 1_000;

/// Whether there is none of these events. What is damaged may be one, and so may what retention removed.
pub(crate) fn is_none(
    connection: &Connection,
    state: &State,
    newer: &NewerEvents,
) -> Result<bool, StorageFailure> {
    if state.head <= newer.after {
        return Ok(true);
    }
    if state.trimmed > newer.after || state.head - newer.after > MOST_LOOKED_AT {
        return Ok(false);
    }
    let mut statement = connection
        .prepare_cached("SELECT seq, at, stored_at, head, json FROM event WHERE seq > ?1 ORDER BY seq")
        .map_err(sqlite)?;
    let mut rows = statement.query_map([newer.after as i64], decode).map_err(sqlite)?;
    while let Some(row) = rows.next().transpose().map_err(sqlite)? {
        if row.event.as_ref().map_or(true, |event| newer.contains(event)) {
            return Ok(false);
        }
    }
    Ok(true)
}
