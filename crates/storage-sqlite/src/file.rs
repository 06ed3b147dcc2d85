//! The engine's handle: making, opening and closing the file, and reading it.

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

/// What one call may ask for. A removal may take any events, however far apart.
const LIMITS: EngineLimits = EngineLimits {
    append_events: 100_000,
    append_bytes: 256 * 1024 * 1024,
    removal_events: 1000,
    removal_stretch: u64::MAX,
};

/// Read connections that are kept open when idle.
const IDLE_READERS: usize = 4;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file.
    pub path: PathBuf,
    /// The namespace, frozen when the file is made. A file holds one.
    pub namespace: String,
    /// What says when events were stored.
    pub clock: Arc<dyn Clock>,
    /// How many events may stand unindexed at the end of the log. Fewer make single look-ups a little quicker and
    /// appends dearer; what a read returns does not depend on it.
    pub tail_events: u64,
    /// The same while events come in bulk, a batch after the other.
    pub bulk_tail_events: u64,
    /// What the namespace keeps, frozen when the file is made: a file that is there keeps what it always kept.
    pub keeps: RetentionMode,
}

impl SqliteOptions {
    /// The options for a file: namespace `default`, the machine's clock, 512 events in the tail, 16,384 in bulk;
    /// history is kept.
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

/// A storage engine on a SQLite file. Clones are handles on the same one.
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
    /// Started by the first change: reading commands need no thread.
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
    /// Opens a store, making the file and its folders where they are absent.
    ///
    /// # Errors
    /// When the file cannot be made or opened, is no store, is of another layout, holds another namespace, has several names
    /// (hard links), or lies on a network file system.
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

    /// Opens a store that must be there.
    ///
    /// # Errors
    /// As [`SqliteEngine::create`], and when there is no file.
    pub async fn open(options: SqliteOptions) -> Result<Self, StorageFailure> {
        blocking(move || {
            must_exist(&options.path)?;
            Self::open_to_write(&options, Role::Write)
        })
        .await
    }

    /// Opens a store that must be there, to read. Works on a file that this user may not write.
    ///
    /// # Errors
    /// As [`SqliteEngine::open`]; every change then answers [`StorageFailure::Denied`].
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
            // While another process makes the file, SQLite answers that it is locked without waiting.
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
        // Looked at before the first PRAGMA that writes: another program's database stays as it is.
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

    /// Ends the writing thread and closes the file: changes by other handles of this one then fail. What was answered
    /// is stored whether or not this is called; a file that is closed leaves no write-ahead log beside it.
    pub async fn close(self) {
        let inner = self.inner;
        // Readers first: the last connection to close folds the log back, and it must be one that may write. Two that
        // close at once would each leave it to the other.
        let readers = std::mem::take(&mut *lock(&inner.readers));
        let _ = tokio::task::spawn_blocking(move || drop(readers)).await;
        if let Some(writer) = inner.writer.get() {
            writer.stop().await;
        }
        let thread = lock(&inner.thread).take();
        let _ = tokio::task::spawn_blocking(move || thread.map(std::thread::JoinHandle::join)).await;
    }

    /// The file.
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

    /// Tells of this process's commits, those of a writer that is still to be started included.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.inner.commits.subscribe()
    }

    /// Runs a piece of reading on a connection of its own, in one short transaction.
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

/// What becomes of a connection that was opened to read.
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

/// Opens the file to write. Where the disk is too full even for that, the store gives its reserve up.
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

/// Runs blocking work where it may block.
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

/// The file and its write-ahead log.
pub(crate) fn occupied(path: &Path) -> Option<u64> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = std::fs::metadata(log).map_or(0, |file| file.len());
    std::fs::metadata(path).ok().map(|file| file.len() + log)
}
