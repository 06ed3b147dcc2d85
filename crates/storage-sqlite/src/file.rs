//! The handle of the engine. It creates, opens, reads and closes the file.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use domain::{
    StorageFailure,
    ports::{
        Clock, RetentionMode, SystemClock,
        engine::{EngineInfo, EngineLimits},
    },
    time::unix_micros,
};
use rusqlite::Connection;
use tokio::sync::{OnceCell, watch};

use crate::{
    connection::{self, LOCK_PATIENCE, Reader, Role},
    failure, layout, mounts,
    reserve::Reserve,
    state::State,
    writer::WriterHandle,
};

/// The limits of one call. A removal may span any distance in the log.
const LIMITS: EngineLimits = EngineLimits {
    append_events: 100_000,
    append_bytes: 256 * 1024 * 1024,
    removal_events: 1000,
    removal_stretch: u64::MAX,
};

/// Maximum number of idle read connections that stay open.
const IDLE_READERS: usize = 4;

/// Options for opening a store.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// Path of the SQLite file.
    pub path: PathBuf,
    /// Name of the namespace, fixed when the file is created. A file holds one namespace.
    pub namespace: String,
    /// Clock that gives the stored time of events.
    pub clock: Arc<dyn Clock>,
    /// Number of unindexed events at the end of the log that triggers a fold. A smaller number makes single look-ups
    /// slightly faster and appends more expensive. It does not change the result of a read.
    pub tail_events: u64,
    /// The same limit while events arrive in bulk, batch after batch.
    pub bulk_tail_events: u64,
    /// Retention mode of the namespace, fixed when the file is created. An existing file keeps its own mode.
    pub keeps: RetentionMode,
}

impl SqliteOptions {
    /// Returns the default options for a file: namespace `default`, the system clock, and a tail of 512 events, or
    /// 16,384 in bulk. The namespace keeps its history.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            namespace: "default".to_owned(),
            clock: Arc::new(SystemClock),
            tail_events: 512,
            bulk_tail_events: 16 * 1024,
            keeps: RetentionMode::History,
        }
    }
}

/// A storage engine on a SQLite file. Clones are handles on the same engine.
///
/// ```
/// use domain::{Document, Limits, ports::{Atomicity, engine::{Appended, StorageEngine, Transaction}}};
/// use event_replay_storage_sqlite::{SqliteEngine, SqliteOptions};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let engine = SqliteEngine::create(SqliteOptions::new(folder.path().join("events.db"))).await?;
/// let json = br#"{"id":"e1","type":"note.made","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"notes","metadata":{}}"#;
/// let event = Document::parse(json, &Limits::default()).unwrap().into_event().unwrap();
/// engine.append(0, &[event], Atomicity::Each, &Transaction::new()).await?;
/// assert_eq!(engine.state(0).await?.head, 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SqliteEngine {
    inner: Arc<Inner>,
}

struct Inner {
    options: SqliteOptions,
    info: EngineInfo,
    read_only: bool,
    readers: Mutex<Vec<Connection>>,
    /// The writing thread, started by the first change. A handle that only reads starts no thread.
    writer: OnceCell<WriterHandle>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    commits: watch::Sender<u64>,
}

impl std::fmt::Debug for SqliteEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteEngine").field("path", &self.inner.options.path).finish_non_exhaustive()
    }
}

impl SqliteEngine {
    /// Opens a store. Creates the file and its folders if they do not exist.
    ///
    /// # Errors
    /// Returns a [`StorageFailure`] in each of these cases:
    /// - The file cannot be created or opened.
    /// - The file is not a store, has another layout, or holds another namespace.
    /// - The file has several names (hard links), or is on a network file system.
    pub async fn create(options: SqliteOptions) -> Result<Self, StorageFailure> {
        blocking(move || {
            if let Some(folder) = options.path.parent() {
                std::fs::create_dir_all(folder).map_err(|error| {
                    StorageFailure::Unavailable(format!("cannot make {}: {error}", folder.display()))
                })?;
            }
            Self::open_to_write(&options, Role::Create)
        })
        .await
    }

    /// Opens an existing store.
    ///
    /// # Errors
    /// Fails as [`SqliteEngine::create`] does, and when the file does not exist.
    pub async fn open(options: SqliteOptions) -> Result<Self, StorageFailure> {
        blocking(move || {
            must_exist(&options.path)?;
            Self::open_to_write(&options, Role::Write)
        })
        .await
    }

    /// Opens an existing store for reading. This works on a file that the user may not write.
    ///
    /// # Errors
    /// Fails as [`SqliteEngine::open`] does, except that a network file system is not refused. Each change through this
    /// handle returns [`StorageFailure::Denied`].
    pub async fn open_read_only(options: SqliteOptions) -> Result<Self, StorageFailure> {
        blocking(move || {
            must_exist(&options.path)?;
            mounts::refuse_hard_links(&options.path)?;
            let Reader { connection, is_alone } = connection::open_reader(&options.path)?;
            if !layout::is_store(&connection)? {
                return Err(StorageFailure::Foreign("the file is empty, not an event store".into()));
            }
            Self::finish(options, connection, Some(Kept::unless(is_alone)))
        })
        .await
    }

    fn open_to_write(options: &SqliteOptions, role: Role) -> Result<Self, StorageFailure> {
        mounts::refuse_unsafe(&options.path)?;
        let begun = Instant::now();
        loop {
            // While another process creates the file, SQLite reports a lock without waiting.
            match Self::try_to_write(options.clone(), role) {
                Err(StorageFailure::Busy { .. }) if begun.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(failure) => return Err(failure::with_wait(failure, begun.elapsed())),
                opened => return opened,
            }
        }
    }

    fn try_to_write(options: SqliteOptions, role: Role) -> Result<Self, StorageFailure> {
        // This check precedes the first PRAGMA that writes, so a database of another program stays unchanged.
        if options.path.exists() {
            let connection = connection::open(&options.path, Role::Read)?;
            layout::is_store(&connection)?;
        }
        let mut connection = writable(&options.path, role)?;
        let now = unix_micros(options.clock.now());
        layout::make(&mut connection, &options.namespace, options.keeps, now)?;
        Self::finish(options, connection, None)
    }

    fn finish(
        options: SqliteOptions,
        connection: Connection,
        reader: Option<Kept>,
    ) -> Result<Self, StorageFailure> {
        layout::check_namespace(&connection, &options.namespace)?;
        let state = State::load(&connection)?;
        let info = EngineInfo {
            store: state.store,
            namespace: options.namespace.clone(),
            keeps: state.keeps,
            partitions: 1,
            limits: LIMITS,
        };
        let read_only = reader.is_some();
        let readers = if reader == Some(Kept::Open) { vec![connection] } else { Vec::new() };
        let inner = Inner {
            options,
            info,
            read_only,
            readers: Mutex::new(readers),
            writer: OnceCell::new(),
            thread: Mutex::new(None),
            commits: watch::Sender::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Ends the writing thread and closes the file. Later changes through other clones of this handle fail. Answered
    /// changes are stored even without this call. A closed file has no write-ahead log beside it.
    pub async fn close(self) {
        let inner = self.inner;
        // Readers close first. The last connection to close runs the WAL checkpoint, so it must have write access. If
        // two connections closed at the same time, each would leave the checkpoint to the other.
        let readers = std::mem::take(&mut *lock(&inner.readers));
        let _ = tokio::task::spawn_blocking(move || drop(readers)).await;
        if let Some(writer) = inner.writer.get() {
            writer.stop().await;
        }
        let thread = lock(&inner.thread).take();
        let _ = tokio::task::spawn_blocking(move || thread.map(std::thread::JoinHandle::join)).await;
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.inner.options.path
    }

    pub(crate) fn engine_info(&self) -> &EngineInfo {
        &self.inner.info
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.options.clock
    }

    pub(crate) async fn writer(&self) -> Result<&WriterHandle, StorageFailure> {
        let inner = &self.inner;
        if inner.read_only {
            return Err(StorageFailure::Denied("the store was opened to read".into()));
        }
        inner
            .writer
            .get_or_try_init(|| async {
                let (options, commits) = (inner.options.clone(), inner.commits.clone());
                let (handle, thread) = blocking(move || WriterHandle::open(&options, commits)).await?;
                *lock(&inner.thread) = Some(thread);
                Ok(handle)
            })
            .await
    }

    /// Subscribes to the commits of this process, including commits of a writer that has not started yet.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.inner.commits.subscribe()
    }

    /// Runs `work` in one short read transaction, on a connection that no other call uses.
    pub(crate) async fn reading<T, F>(&self, work: F) -> Result<T, StorageFailure>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &State) -> Result<T, StorageFailure> + Send + 'static,
    {
        let inner = self.inner.clone();
        blocking(move || {
            let idle = lock(&inner.readers).pop();
            let Reader { connection, is_alone } = match idle {
                Some(connection) => Reader { connection, is_alone: false },
                None => connection::open_reader(&inner.options.path)?,
            };
            let result = in_snapshot(&connection, work);
            let mut readers = lock(&inner.readers);
            if readers.len() < IDLE_READERS && !is_alone {
                readers.push(connection);
            }
            result
        })
        .await
    }
}

/// Whether a read connection stays open after the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Open,
    Closed,
}

impl Kept {
    fn unless(is_alone: bool) -> Self {
        if is_alone { Self::Closed } else { Self::Open }
    }
}

fn in_snapshot<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection, &State) -> Result<T, StorageFailure>,
) -> Result<T, StorageFailure> {
    let waited = |failure| failure::with_wait(failure, LOCK_PATIENCE);
    let snapshot = connection::Snapshot::begin(connection).map_err(waited)?;
    let state = State::load(snapshot.0).map_err(waited)?;
    work(snapshot.0, &state)
}

/// Opens the file for writing. If the disk is too full to open it, this function gives the reserve up and tries again.
pub(crate) fn writable(path: &Path, role: Role) -> Result<Connection, StorageFailure> {
    match connection::open(path, role) {
        Err(StorageFailure::Full(_)) if Reserve::of(path).give_up() => connection::open(path, role),
        opened => opened,
    }
}

fn must_exist(path: &Path) -> Result<(), StorageFailure> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(StorageFailure::Foreign(format!("{} is not a file", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(StorageFailure::Unavailable(format!("there is no store at {}", path.display())))
        }
        Err(error) => Err(StorageFailure::Unavailable(format!("{}: {error}", path.display()))),
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs blocking work on a thread that may block.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, StorageFailure>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StorageFailure> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(StorageFailure::Other(format!("a task ended early: {error}"))),
    }
}

/// Returns the size of the file plus its write-ahead log, in bytes.
pub(crate) fn occupied(path: &Path) -> Option<u64> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = std::fs::metadata(log).map_or(0, |file| file.len());
    std::fs::metadata(path).ok().map(|file| file.len() + log)
}
