//! The file's tables, and how a file of an older layout becomes one of today's.
//!
//! | table | a row | why |
//! |---|---|---|
//! | `state` | the one row of the store: identity, head, counts, how far the index reaches | read and written by every commit |
//! | `epoch` | a finished log epoch and where it ended | tells a cursor that is still good from one whose place was lost |
//! | `event` | position, timestamp, stored time, head, JSON as published | the log; rows are in position order |
//! | `event_id` | event id → position | refuses the same id twice |
//! | `tombstone` | SHA-256 of an erased id | refuses it for good, without keeping it |
//! | `kind` | a number for each kind of term | 1 type, 2 source, 3 correlation id, 4 hour; entity kinds from 16 |
//! | `posting` | kind, value, first position, how many, the rest as differences | the index: one row a term and fold |
//! | `replay` | position, how often and when it was last replayed | beside the events, never in them |
//! | `checkpoint`, `event_schema` | what operators and users keep | |
//! | `schema_document` | SHA-256 → text of a schema file | one file often describes many types |
//!
//! Times are microseconds of the Unix epoch, rounded down; the head holds the exact timestamp. Differences in
//! `posting.rest` are unsigned LEB128, each from the position before it.

use domain::StorageFailure;
use rusqlite::{Connection, TransactionBehavior};

use crate::failure::sqlite;

/// Marks the file as ours (`PRAGMA application_id`): the letters EvRp.
pub const APPLICATION_ID: i64 = 0x4576_5270;

/// The layout this program writes (`PRAGMA user_version`).
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Step N brings a file from layout N to N + 1. Steps are never edited once released, only added.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE state (
        one        INTEGER PRIMARY KEY CHECK (one = 1),
        store      INTEGER NOT NULL,
        namespace  TEXT    NOT NULL,
        created_at INTEGER NOT NULL,
        epoch      INTEGER NOT NULL,
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
        ended INTEGER NOT NULL
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
        at    INTEGER NOT NULL
    );
    CREATE TABLE checkpoint (
        name       TEXT PRIMARY KEY,
        id         TEXT    NOT NULL UNIQUE,
        mark       TEXT    NOT NULL,
        event_id   TEXT    NOT NULL,
        events     INTEGER NOT NULL,
        metadata   TEXT    NOT NULL,
        created_at INTEGER NOT NULL,
        hold       INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE schema_document (
        digest BLOB PRIMARY KEY,
        text   TEXT NOT NULL
    );
    CREATE TABLE event_schema (
        event_type    TEXT    NOT NULL,
        event_version TEXT    NOT NULL,
        document      BLOB    NOT NULL REFERENCES schema_document,
        pointer       TEXT    NOT NULL,
        describes     TEXT    NOT NULL,
        added_at      INTEGER NOT NULL,
        PRIMARY KEY (event_type, event_version)
    );
"];

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing is in it yet.
    Empty,
    /// A store of this layout version.
    Store(i64),
}

/// Looks at what a file is.
pub(crate) fn inspect(connection: &Connection) -> Result<Found, StorageFailure> {
    // All of it at one moment: another process may be making the tables.
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

/// Makes the tables of a new store, or brings an older one up to date.
pub(crate) fn migrate(
    connection: &mut Connection,
    namespace: &str,
    now_micros: i64,
) -> Result<(), StorageFailure> {
    if inspect(connection)? == Found::Store(VERSION) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
    // Another process may have done it while this one waited for the lock.
    let from = match inspect(&transaction)? {
        Found::Empty => 0,
        Found::Store(version) => version,
    };
    for step in MIGRATIONS.iter().skip(from as usize) {
        transaction.execute_batch(step).map_err(sqlite)?;
    }
    if from == 0 {
        // Identities go through JSON and shells as hexadecimal; any 63 bits will do.
        let store = fastrand::i64(1..);
        transaction
            .execute(
                "INSERT INTO state VALUES (1, ?1, ?2, ?3, 1, 0, ?4, 0, 0, 0, 0, 0)",
                (store, namespace, now_micros, i64::MIN),
            )
            .map_err(sqlite)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)
}
