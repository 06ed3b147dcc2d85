//! Opens connections and configures their waiting, caching and syncing.

use std::{
    cell::Cell,
    path::Path,
    time::{Duration, Instant},
};

use domain::StorageFailure;
use rusqlite::{Connection, OpenFlags, Params, config::DbConfig};

use crate::failure::sqlite;

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Appends and all other changes. May create the file.
    Create,
    /// Appends and all other changes, to an existing file.
    Write,
    /// Reads only.
    Read,
}

/// Maximum size of a connection's page cache, in KiB.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
const READER_CACHE_KIB: i64 = 4 * 1024;

/// Pages in the write-ahead log after which a commit runs a WAL checkpoint.
const CHECKPOINT_PAGES: i64 = 4000;

/// Opens and configures a connection.
pub(crate) fn open(path: &Path, role: Role) -> Result<Connection, StorageFailure> {
    let connection = match role {
        Role::Create => connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?,
        Role::Write => connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?,
        Role::Read => return open_reader(path).map(|reader| reader.connection),
    };
    configure(&connection, role).map_err(sqlite)?;
    Ok(connection)
}

/// A connection for reading.
pub(crate) struct Reader {
    pub(crate) connection: Connection,
    /// Whether the connection excludes all other connections, so that it must not stay open.
    pub(crate) is_alone: bool,
}

/// Opens a connection for reading. If the disk is too full for the shared-memory file, the connection works without
/// that file and excludes all other connections.
pub(crate) fn open_reader(path: &Path) -> Result<Reader, StorageFailure> {
    let reader = match open_to_read(path) {
        Err(StorageFailure::Full(_)) => Reader { connection: open_alone(path)?, is_alone: true },
        opened => Reader { connection: opened?, is_alone: false },
    };
    configure(&reader.connection, Role::Read).map_err(sqlite)?;
    Ok(reader)
}

/// Opens a connection in exclusive locking mode, in which SQLite keeps the index of the write-ahead log in memory. The
/// connection runs no WAL checkpoint when it closes, because the disk has no space for it.
fn open_alone(path: &Path) -> Result<Connection, StorageFailure> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let opened = connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .and_then(|_| connection.pragma_update(None, "locking_mode", "EXCLUSIVE"))
        .and_then(|()| connection.pragma_query_value(None, "schema_version", |_| Ok(())));
    opened.map_err(sqlite)?;
    Ok(connection)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StorageFailure> {
    let mut connection =
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(sqlite)?;
    connection.busy_handler(Some(wait_a_little)).map_err(sqlite)?;
    connection.set_prepared_statement_cache_capacity(128);
    // Without this option, SQLite recompiles a statement for new bound values, because another plan may suit them
    // better.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(sqlite)?;
    Ok(connection)
}

/// Opens a connection for reading, with the most rights that the file system allows. A connection with write access
/// removes the `-wal` and `-shm` files when it is the last to close. Without write access, the file is opened
/// read-only. If the folder does not allow that either, the file is opened as immutable.
fn open_to_read(path: &Path) -> Result<Connection, StorageFailure> {
    let readable = |connection: Connection| {
        connection.pragma_query_value(None, "schema_version", |_| Ok(())).map(|()| connection)
    };
    for flags in [OpenFlags::SQLITE_OPEN_READ_WRITE, OpenFlags::SQLITE_OPEN_READ_ONLY] {
        match connect(path, flags).and_then(|connection| readable(connection).map_err(sqlite)) {
            // The next attempt needs fewer rights. A lock or damage would affect every attempt, so the error is
            // returned.
            Err(StorageFailure::Denied(_) | StorageFailure::Unavailable(_)) => {}
            opened => return opened,
        }
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if Path::new(&log).exists() {
        // An immutable connection would miss the write-ahead log, so this path returns the error instead.
        return connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .and_then(|connection| readable(connection).map_err(sqlite));
    }
    let uri = format!("file:{}?immutable=1", escape_uri(path));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    connect(Path::new(&uri), flags).and_then(|connection| readable(connection).map_err(sqlite))
}

fn escape_uri(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

fn configure(connection: &Connection, role: Role) -> rusqlite::Result<()> {
    match role {
        Role::Create | Role::Write => {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
            connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        }
        Role::Read => {
            connection.pragma_update(None, "query_only", true)?;
            connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
        }
    }
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)
}

/// Runs a cached statement. Returns the number of changed rows.
pub(crate) fn execute(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<usize, StorageFailure> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map_err(sqlite)
}

/// One consistent snapshot of the file, kept until it is dropped. A transaction of rusqlite would recompile its
/// statements each time.
pub(crate) struct Snapshot<'c>(pub(crate) &'c Connection);

impl<'c> Snapshot<'c> {
    pub(crate) fn begin(connection: &'c Connection) -> Result<Self, StorageFailure> {
        execute(connection, "BEGIN", []).map(|_| Self(connection))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // Some errors end the transaction by themselves.
        if self.0.is_autocommit() {
            return;
        }
        if let Err(failure) = execute(self.0, "ROLLBACK", []) {
            tracing::warn!(%failure, "a reading transaction could not be ended");
        }
    }
}

/// Runs `work` without waiting for locks. A conflicting lock makes `work` fail immediately.
pub(crate) fn without_waiting<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.busy_handler(None::<fn(i32) -> bool>)?;
    let done = work(connection);
    connection.busy_handler(Some(wait_a_little))?;
    done
}

/// Base of the pause between two attempts to get a lock. The pause is half of it plus up to 1 ms at random.
const ASK_EVERY: Duration = Duration::from_micros(1500);

/// Longest time that a connection waits for a lock of another process.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(30);

thread_local! {
    /// Time at which this thread began to wait for a lock. A count of attempts would not suffice, because a short sleep
    /// may take long on a busy machine.
    static WAITING_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Sleeps briefly and asks for the lock again. SQLite's own handler increases its pauses to 100 ms. Of two processes
/// that both write constantly, the process with the longer pause would starve.
fn wait_a_little(asked: i32) -> bool {
    let now = Instant::now();
    if asked == 0 {
        WAITING_SINCE.set(Some(now));
    }
    if WAITING_SINCE.get().is_some_and(|since| now.duration_since(since) >= LOCK_PATIENCE) {
        return false;
    }
    let jitter = Duration::from_micros(fastrand::u64(0..1000));
    std::thread::sleep(ASK_EVERY / 2 + jitter);
    true
}
