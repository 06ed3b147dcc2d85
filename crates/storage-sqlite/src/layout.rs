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
//! | `consumer_group` | what a group is, when it was last seen, its gaps | its number, in the tables below, is never used again |
//! | `segment` | cursor, claim, newest lease, and the end of its lane | what a commit without failures writes, and no more |
//! | `consumer` | until when a consumer counts as alive | fair shares go by them |
//! | `blocked` | the ledger: a key that does not go with its segment's cursor | |
//! | `lane` | a batch of references, with its progress | |
//! | `lane_batch` | a batch that a replay put into a lane, with its result once it has one | a segment takes it once |
//! | `dead_letter` | a delivery that was given up, with a copy of its event | the log may be trimmed before anybody looks |
//! | `scheduled` | an event that waits for its time | |
//! | `replay_job` | the record of a replay, and who runs it | |
//! | `stat` | counts by minute, name and label | |
//!
//! Times are microseconds of the Unix epoch, rounded down; the head holds the exact timestamp. Where a caller's instant
//! must come back as it was, it is RFC 3339 text with nine digits of the second's fraction, which sorts as the instants do.
//! Differences in `posting.rest` and `lane.rest` are unsigned LEB128, each from the position before it.

use domain::{StorageFailure, ports::Keeps};
use rusqlite::{Connection, TransactionBehavior};

use crate::{failure::sqlite, state::keeps_column};

/// Marks the file as ours (`PRAGMA application_id`): the letters EvRp.
pub const APPLICATION_ID: i64 = 0x4576_5270;

/// The layout this program writes (`PRAGMA user_version`).
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Step N brings a file from layout N to N + 1. Steps are never edited once released, only added.
const MIGRATIONS: &[&str] = &[THE_LOG, GROUPS];

/// The log, its index, and what operators and users keep.
const THE_LOG: &str = "
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
";

/// Consumer groups, dead letters, the schedule, replays and counters.
const GROUPS: &str = "
    ALTER TABLE state ADD COLUMN keeps TEXT NOT NULL DEFAULT 'history';
    CREATE TABLE consumer_group (
        number     INTEGER PRIMARY KEY AUTOINCREMENT,
        name       TEXT    NOT NULL UNIQUE,
        types      TEXT    NOT NULL,
        key        TEXT    NOT NULL,
        segments   INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        seen_at    INTEGER NOT NULL,
        gaps       TEXT    NOT NULL
    );
    CREATE TABLE segment (
        grp        INTEGER NOT NULL,
        segment    INTEGER NOT NULL,
        cursor     INTEGER NOT NULL,
        claimed_to INTEGER NOT NULL,
        epoch      INTEGER NOT NULL,
        token      INTEGER,
        holder     TEXT,
        until      INTEGER NOT NULL,
        lane_end   INTEGER NOT NULL,
        lane_refs  INTEGER NOT NULL,
        PRIMARY KEY (grp, segment)
    ) WITHOUT ROWID;
    CREATE TABLE consumer (
        grp   INTEGER NOT NULL,
        name  TEXT    NOT NULL,
        token INTEGER NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (grp, name)
    ) WITHOUT ROWID;
    CREATE TABLE blocked (
        grp        INTEGER NOT NULL,
        segment    INTEGER NOT NULL,
        kind       TEXT    NOT NULL,
        id         TEXT    NOT NULL,
        position   INTEGER NOT NULL,
        through    INTEGER NOT NULL,
        claimed_to INTEGER NOT NULL,
        attempts   INTEGER NOT NULL,
        ends       INTEGER NOT NULL,
        due        TEXT,
        error      TEXT    NOT NULL,
        since      TEXT    NOT NULL,
        PRIMARY KEY (grp, segment, kind, id)
    ) WITHOUT ROWID;
    CREATE INDEX blocked_by_position ON blocked (grp, position);
    CREATE TABLE lane (
        grp      INTEGER NOT NULL,
        segment  INTEGER NOT NULL,
        seq      INTEGER NOT NULL,
        replay   TEXT,
        origin   TEXT    NOT NULL,
        refs     INTEGER NOT NULL,
        first    INTEGER NOT NULL,
        rest     BLOB    NOT NULL,
        touched  INTEGER NOT NULL,
        progress TEXT    NOT NULL,
        PRIMARY KEY (grp, segment, seq)
    ) WITHOUT ROWID;
    CREATE INDEX lane_by_replay ON lane (replay) WHERE replay IS NOT NULL;
    CREATE TABLE lane_batch (
        replay  TEXT    NOT NULL,
        batch   INTEGER NOT NULL,
        grp     INTEGER NOT NULL,
        segment INTEGER NOT NULL,
        result  TEXT,
        PRIMARY KEY (replay, batch, grp, segment)
    ) WITHOUT ROWID;
    CREATE TABLE dead_letter (
        id          TEXT    PRIMARY KEY,
        grp         TEXT    NOT NULL,
        seq         INTEGER NOT NULL,
        state       TEXT    NOT NULL,
        attempts    INTEGER NOT NULL,
        fingerprint TEXT    NOT NULL,
        replay      TEXT,
        parked      INTEGER NOT NULL,
        created_at  INTEGER NOT NULL,
        updated_at  INTEGER NOT NULL,
        reason      TEXT,
        history     TEXT    NOT NULL,
        head        BLOB    NOT NULL,
        json        TEXT    NOT NULL,
        UNIQUE (grp, seq)
    );
    CREATE INDEX dead_letter_by_state ON dead_letter (grp, state, created_at);
    CREATE TABLE scheduled (
        number       INTEGER PRIMARY KEY AUTOINCREMENT,
        id           TEXT    NOT NULL UNIQUE,
        due          TEXT    NOT NULL,
        scheduled_at INTEGER NOT NULL,
        head         BLOB    NOT NULL,
        json         TEXT    NOT NULL
    );
    CREATE INDEX scheduled_by_due ON scheduled (due, number);
    CREATE TABLE replay_job (
        id         TEXT    PRIMARY KEY,
        state      TEXT    NOT NULL,
        created_at TEXT    NOT NULL,
        updated_at TEXT    NOT NULL,
        plan       TEXT    NOT NULL,
        progress   TEXT    NOT NULL,
        hold       TEXT,
        epoch      INTEGER NOT NULL,
        token      INTEGER,
        until      INTEGER NOT NULL,
        settled    INTEGER NOT NULL
    );
    CREATE INDEX replay_job_by_age ON replay_job (created_at, id);
    CREATE TABLE stat (
        minute INTEGER NOT NULL,
        name   TEXT    NOT NULL,
        label  TEXT    NOT NULL,
        count  INTEGER NOT NULL,
        sum    INTEGER NOT NULL,
        PRIMARY KEY (minute, name, label)
    ) WITHOUT ROWID;
";

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
    keeps: Keeps,
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
                "INSERT INTO state (one, store, namespace, created_at, epoch, head, stored_at, events, bytes, \
                 indexed, trimmed, unscrubbed, keeps) VALUES (1, ?1, ?2, ?3, 1, 0, ?4, 0, 0, 0, 0, 0, ?5)",
                (store, namespace, now_micros, i64::MIN, keeps_column(keeps)),
            )
            .map_err(sqlite)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)
}

#[cfg(test)]
mod tests {
    use domain::{
        Document, Event, Filter, Limits,
        event::head,
        group::GroupSpec,
        ports::{Atomicity, EventStore, GroupStore, ReadRequest},
    };

    use super::*;
    use crate::{SqliteOptions, SqliteStore, state::micros};

    fn event(id: &str) -> Event {
        let json = format!(
            r#"{{"id":"{id}","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}}}}"#
        );
        Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
    }

    /// A file as the first layout left it, with one event.
    fn make_layout_1(path: &std::path::Path) {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch(THE_LOG).unwrap();
        let event = event("old");
        connection
            .execute(
                "INSERT INTO event VALUES (1, ?1, 0, ?2, ?3)",
                (micros(event.timestamp()), head::encode(&event), event.json()),
            )
            .unwrap();
        connection.execute("INSERT INTO event_id VALUES ('old', 1)", []).unwrap();
        connection
            .execute(
                "INSERT INTO state VALUES (1, 7, 'default', 0, 1, 1, 0, 1, ?1, 0, 0, 0)",
                [event.size_bytes() as i64],
            )
            .unwrap();
        connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
    }

    #[tokio::test]
    async fn a_file_of_the_first_layout_is_brought_up_to_date_when_it_is_opened_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        make_layout_1(&path);
        let options = || SqliteOptions { keeps: Keeps::Deliveries, ..SqliteOptions::new(&path) };
        let refusal = SqliteStore::open_read_only(options()).await.err();
        assert!(matches!(refusal, Some(StorageFailure::Foreign(_))), "{refusal:?}");

        let store = SqliteStore::open(options()).await.unwrap();
        assert_eq!(store.info().await.unwrap().keeps, Keeps::History, "what it always kept");
        let group = store.create_group(&GroupSpec::new("g"), &store.head().await.unwrap()).await.unwrap();
        store.append(&[event("new")], Atomicity::Each).await.unwrap();
        assert_eq!(store.verify(None).await.unwrap().findings, []);
        store.close().await;

        let again = SqliteStore::open_read_only(options()).await.unwrap();
        let page = again.read(&ReadRequest::new(Filter::default(), 10)).await.unwrap();
        assert_eq!(page.events.iter().map(|it| it.event.id()).collect::<Vec<_>>(), ["old", "new"]);
        assert_eq!(again.groups().await.unwrap(), [group]);
    }

    #[tokio::test]
    async fn a_backup_of_the_first_layout_can_be_restored_over_a_store_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let [path, backup] = ["events.db", "backup.db"].map(|name| folder.path().join(name));
        make_layout_1(&path);
        make_layout_1(&backup);
        let restored = SqliteStore::restore(SqliteOptions::new(&path), &backup, true).await.unwrap();
        assert_eq!((restored.info.events, restored.info.keeps), (1, Keeps::History));
    }
}
