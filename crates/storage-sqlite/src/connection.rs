//! Opening connections: how they wait, cache and sync.

use std::{
    cell::Cell,
    path::Path,
    time::{Duration, Instant},
};

use domain::StorageFailure;
use rusqlite::{Connection, OpenFlags, Params, config::DbConfig};

use crate::failure::sqlite;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Appends and every other change; may create the file.
    Create,
    /// Appends and every other change, to a file that is there.
    Write,
    /// Reads only.
    Read,
}

/// Memory that a connection may use for pages, in KiB.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
const READER_CACHE_KIB: i64 = 4 * 1024;

/// Pages of the write-ahead log after which a commit folds it back into the file.
const CHECKPOINT_PAGES: i64 = 4000;

/// Opens a connection.
pub(crate) fn open(path: &Path, role: Role) -> Result<Connection, StorageFailure> {
    let connection = match role {
        Role::Create => connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?,
        Role::Write => connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?,
        Role::Read => return open_reader(path).map(|reader| reader.connection),
    };
    configure(&connection, role).map_err(sqlite)?;
    Ok(connection)
}

/// A connection to read.
pub(crate) struct Reader {
    pub(crate) connection: Connection,
    /// Whether it locks all others out, so that it must not stay open.
    pub(crate) is_alone: bool,
}

/// Opens a connection to read. Where the disk is too full for the file that processes share, it reads without: alone.
pub(crate) fn open_reader(path: &Path) -> Result<Reader, StorageFailure> {
    let reader = match open_to_read(path) {
        Err(StorageFailure::Full(_)) => Reader { connection: open_alone(path)?, is_alone: true },
        opened => Reader { connection: opened?, is_alone: false },
    };
    configure(&reader.connection, Role::Read).map_err(sqlite)?;
    Ok(reader)
}

/// In exclusive locking mode SQLite keeps the index of the write-ahead log in memory. The log is left as it is: folding it back
/// takes space that there is not.
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
    // Else SQLite compiles a statement again whenever other values are bound, in case other values make another plan better.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(sqlite)?;
    Ok(connection)
}

/// A reader that may write leaves no `-wal` and `-shm` files behind when it is the last to close; one that may not
/// opens the file read-only; and a file in a folder where even that fails is read as it stands.
fn open_to_read(path: &Path) -> Result<Connection, StorageFailure> {
    let readable = |connection: Connection| {
        connection.pragma_query_value(None, "schema_version", |_| Ok(())).map(|()| connection)
    };
    for flags in [OpenFlags::SQLITE_OPEN_READ_WRITE, OpenFlags::SQLITE_OPEN_READ_ONLY] {
        match connect(path, flags).and_then(|connection| readable(connection).map_err(sqlite)) {
            // Rights are what the next way may do without; a lock or damage is there whichever way is taken.
            Err(StorageFailure::Denied(_) | StorageFailure::Unavailable(_)) => {}
            opened => return opened,
        }
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if Path::new(&log).exists() {
        // What is in the log would be missed: say what stands in the way instead.
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

/// Runs a statement that is used often; how many rows it changed.
pub(crate) fn execute(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<usize, StorageFailure> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map_err(sqlite)
}

/// One moment of the file, for as long as it is kept. A transaction of rusqlite would compile its statements each time.
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

/// Runs something that answers at once where a lock stands in its way.
pub(crate) fn without_waiting<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.busy_handler(None::<fn(i32) -> bool>)?;
    let done = work(connection);
    connection.busy_handler(Some(wait_a_little))?;
    done
}

/// How often a waiting connection asks for the lock.
const ASK_EVERY: Duration = Duration::from_micros(1500);

/// How long a connection waits for another process's lock.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(30);

thread_local! {
    /// When this thread began to wait for a lock. Counting how often it asked would not do: on a busy machine a short
    /// sleep is not short.
    static WAITING_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Asks again soon. SQLite's own handler comes to wait 100 ms at a time, and between two processes that both write
/// without pause the one that sleeps longer starves.
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
