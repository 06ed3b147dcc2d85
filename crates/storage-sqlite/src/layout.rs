//! The tables of the file.
//!
//! | table | a row | why |
//! |---|---|---|
//! | `state` | the single row of the store: identity, head, counts, last indexed position | every commit reads and writes it |
//! | `epoch` | a finished log epoch, its last position, the start of the next epoch | finds cursors whose place is lost |
//! | `event` | position, timestamp, stored time, head, JSON as published | the log, with rows in position order |
//! | `event_id` | event id → position | refuses a second event with the same id |
//! | `tombstone` | SHA-256 of an erased id | refuses the id permanently without storing it |
//! | `kind` | a number for each kind of term | 1 type, 2 source, 3 correlation id, 4 hour; entity kinds from 16 |
//! | `posting` | kind, value, first position, number of positions, the others as differences | the index |
//! | `replay` | position, replay count, time of the last replay | stored beside the events, never inside them |
//! | `row` | space, scope and key → value | all other data, as listed below |
//!
//! Times are microseconds of the Unix epoch, rounded down. The head holds the exact timestamp of an event. `replay.at`
//! is exact, in RFC 3339. Each difference in `posting.rest` is counted from the position before it, as unsigned LEB128.
//!
//! Table `posting` gets one row for each term and fold. Table `row` holds groups, leases, lanes, dead letters, replays,
//! the schedule, checkpoints, schemas and counters. `row.space` is the number of a
//! [`SpaceKind`](domain::ports::engine::SpaceKind). Scopes and keys are built by
//! [`key`](domain::ports::engine::rows::key). Views named `consumer_group`, `segment`, `dead_letter` and so on show the
//! rows as tables to people. This program does not read the views.

use domain::{StorageFailure, ports::RetentionMode};
use rusqlite::{Connection, TransactionBehavior};

use crate::{failure::sqlite, state::keeps_column, views};

/// The `PRAGMA application_id` of a store file: the letters EvRp.
pub const APPLICATION_ID: i64 = 0x4576_5270;

/// The layout that this program reads and writes (`PRAGMA user_version`). Layouts 1 and 2 had a table for each kind of
/// row.
pub const VERSION: i64 = 3;

const TABLES: &str = "
    CREATE TABLE state (
        one        INTEGER PRIMARY KEY CHECK (one = 1),
        store      INTEGER NOT NULL,
        namespace  TEXT    NOT NULL,
        keeps      TEXT    NOT NULL,
        created_at INTEGER NOT NULL,
        epoch      INTEGER NOT NULL,
        generation INTEGER NOT NULL,
        head       INTEGER NOT NULL,
        stored_at  INTEGER NOT NULL,
        events     INTEGER NOT NULL,
        bytes      INTEGER NOT NULL,
        indexed    INTEGER NOT NULL,
        trimmed    INTEGER NOT NULL,
        unscrubbed INTEGER NOT NULL
    );
    CREATE TABLE epoch (
        epoch INTEGER PRIMARY KEY,
        ended INTEGER NOT NULL,
        next  INTEGER NOT NULL
    );
    CREATE TABLE event (
        seq       INTEGER PRIMARY KEY,
        at        INTEGER NOT NULL,
        stored_at INTEGER NOT NULL,
        head      BLOB    NOT NULL,
        json      TEXT    NOT NULL
    );
    CREATE TABLE event_id (
        id  TEXT PRIMARY KEY,
        seq INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE tombstone (
        digest BLOB PRIMARY KEY
    ) WITHOUT ROWID;
    CREATE TABLE kind (
        kind INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    );
    INSERT INTO kind VALUES (15, '');
    CREATE TABLE posting (
        kind  INTEGER NOT NULL,
        value         NOT NULL,
        first INTEGER NOT NULL,
        n     INTEGER NOT NULL,
        rest  BLOB,
        PRIMARY KEY (kind, value, first)
    ) WITHOUT ROWID;
    CREATE TABLE replay (
        seq   INTEGER PRIMARY KEY,
        count INTEGER NOT NULL,
        at    TEXT    NOT NULL
    );
    CREATE TABLE row (
        space INTEGER NOT NULL,
        scope BLOB    NOT NULL,
        key   BLOB    NOT NULL,
        value         NOT NULL,
        PRIMARY KEY (space, scope, key)
    ) WITHOUT ROWID;
";

/// The content of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An empty database.
    Empty,
    /// A store of this layout version.
    Store(i64),
}

/// Determines the content of a file.
pub(crate) fn inspect(connection: &Connection) -> Result<Found, StorageFailure> {
    // Another process may be creating the tables, so all queries use one snapshot.
    let _snapshot = match connection.is_autocommit() {
        true => Some(connection.unchecked_transaction().map_err(sqlite)?),
        false => None,
    };
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(sqlite);
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    if application == APPLICATION_ID && version > 0 {
        return Ok(Found::Store(version));
    }
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sqlite)?;
    if application == 0 && version == 0 && tables == 0 {
        return Ok(Found::Empty);
    }
    Err(StorageFailure::Foreign(
        "the file is a SQLite database of another program, not an event store".into(),
    ))
}

/// Returns true for a store of this layout and false for an empty file. Other files are refused.
pub(crate) fn is_store(connection: &Connection) -> Result<bool, StorageFailure> {
    match inspect(connection)? {
        Found::Empty => Ok(false),
        Found::Store(VERSION) => Ok(true),
        Found::Store(version) => Err(other_layout(version)),
    }
}

fn other_layout(version: i64) -> StorageFailure {
    StorageFailure::Foreign(if version > VERSION {
        format!(
            "the store has layout {version}, made by a newer version of this program; this one knows {VERSION}"
        )
    } else {
        format!(
            "the store has layout {version}, made by an earlier version of this program; this one reads layout \
             {VERSION} alone. Export the events with the version that made it, and import them into a new store"
        )
    })
}

/// Refuses a store of another namespace.
pub(crate) fn check_namespace(connection: &Connection, wanted: &str) -> Result<(), StorageFailure> {
    let namespace: String = connection
        .query_row("SELECT namespace FROM state WHERE one = 1", [], |row| row.get(0))
        .map_err(sqlite)?;
    if namespace == wanted {
        return Ok(());
    }
    Err(StorageFailure::Foreign(format!("the file holds the namespace {namespace:?}, not {wanted:?}")))
}

/// Creates the tables of a new store. Does nothing if the file is already a store.
pub(crate) fn make(
    connection: &mut Connection,
    namespace: &str,
    keeps: RetentionMode,
    now_micros: i64,
) -> Result<(), StorageFailure> {
    if is_store(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
    // Another process may have created the tables while this process waited for the lock.
    if is_store(&transaction)? {
        return Ok(());
    }
    transaction.execute_batch(TABLES).map_err(sqlite)?;
    transaction.execute_batch(&views::sql()).map_err(sqlite)?;
    // Any 63 bits make a valid identity. JSON and shells see it as hexadecimal.
    let store = fastrand::i64(1..);
    transaction
        .execute(
            "INSERT INTO state (one, store, namespace, keeps, created_at, epoch, generation, head, stored_at, \
             events, bytes, indexed, trimmed, unscrubbed) VALUES (1, ?1, ?2, ?3, ?4, 1, 1, 0, ?5, 0, 0, 0, 0, 0)",
            (store, namespace, keeps_column(keeps), now_micros, i64::MIN),
        )
        .map_err(sqlite)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)
}
