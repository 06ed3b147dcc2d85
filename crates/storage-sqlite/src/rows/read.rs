//! Reads rows.

use domain::{
    StorageFailure,
    ports::engine::{Read, ReadResult, RowId, Space, SpaceKind},
};
use rusqlite::{Connection, OptionalExtension};

use crate::failure::sqlite;

/// Returns the result of each read, in order.
pub(crate) fn read(connection: &Connection, reads: &[Read]) -> Result<Vec<ReadResult>, StorageFailure> {
    reads
        .iter()
        .map(|read| match read {
            Read::Row(row) => value(connection, row).map(ReadResult::Row),
            Read::Count(space) => count(connection, space).map(ReadResult::Count),
            Read::Range { space, after, before, reverse, limit } => {
                let bounds = (after.as_deref(), before.as_deref());
                range(connection, space, bounds, *reverse, *limit).map(ReadResult::Range)
            }
            Read::Scopes(kind) => scopes(connection, *kind).map(ReadResult::Range),
        })
        .collect()
}

/// Returns the value of a row if the row exists.
pub(crate) fn value(connection: &Connection, row: &RowId) -> Result<Option<Vec<u8>>, StorageFailure> {
    connection
        .prepare_cached("SELECT value FROM row WHERE space = ?1 AND scope = ?2 AND key = ?3")
        .and_then(|mut statement| {
            statement
                .query_row((row.space.kind.number(), &row.space.scope, &row.key), |found| {
                    Ok(found.get_ref(0)?.as_bytes()?.to_vec())
                })
                .optional()
        })
        .map_err(sqlite)
}

fn count(connection: &Connection, space: &Space) -> Result<u64, StorageFailure> {
    connection
        .prepare_cached("SELECT count(*) FROM row WHERE space = ?1 AND scope = ?2")
        .and_then(|mut statement| {
            statement.query_row((space.kind.number(), &space.scope), |found| found.get::<_, i64>(0))
        })
        .map(|count| count as u64)
        .map_err(sqlite)
}

type Pair = (Vec<u8>, Vec<u8>);

fn scopes(connection: &Connection, kind: SpaceKind) -> Result<Vec<Pair>, StorageFailure> {
    let mut statement = connection
        .prepare_cached("SELECT DISTINCT scope FROM row WHERE space = ?1 ORDER BY scope")
        .map_err(sqlite)?;
    statement
        .query_map([kind.number()], |found| Ok((found.get_ref(0)?.as_bytes()?.to_vec(), Vec::new())))
        .and_then(Iterator::collect)
        .map_err(sqlite)
}

fn range(
    connection: &Connection,
    space: &Space,
    (after, before): (Option<&[u8]>, Option<&[u8]>),
    reverse: bool,
    limit: usize,
) -> Result<Vec<Pair>, StorageFailure> {
    // The statement contains only the bounds in use. SQLite would not use its index for a condition "none, or above".
    let lower = if after.is_some() { " AND key > ?3" } else { "" };
    let upper = if before.is_some() { " AND key < ?4" } else { "" };
    let order = if reverse { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT key, value FROM row WHERE space = ?1 AND scope = ?2{lower}{upper} ORDER BY key {order} LIMIT ?5"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql).map_err(sqlite)?;
    statement
        .query_map((space.kind.number(), &space.scope, after, before, limit), |found| {
            Ok((found.get_ref(0)?.as_bytes()?.to_vec(), found.get_ref(1)?.as_bytes()?.to_vec()))
        })
        .and_then(Iterator::collect)
        .map_err(sqlite)
}
