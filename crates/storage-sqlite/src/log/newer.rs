//! Checks in the writer's transaction whether the log has events of a filter above a sequence.

use domain::{StorageFailure, expectation::NewerEvents};
use rusqlite::Connection;

use super::event_row::decode;
use crate::{failure::sqlite, state::State};

/// Highest number of sequences that are scanned while other writers wait. For a longer range, the check returns false.
const MOST_LOOKED_AT: u64 = 1_000;

/// Returns whether the log has none of these events. A damaged event counts as one of them. So does a range that
/// retention has trimmed.
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
