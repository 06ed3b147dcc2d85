//! Where the store is, and its ports once it is open. The one place that names storage adapters.

mod location;

use std::{path::Path, sync::Arc};

use domain::ports::{CheckpointStore, Clock, EventStore, ReplayStore, SchemaStore, SystemClock};
use storage_memory::MemoryStore;
use storage_sqlite::{SqliteOptions, SqliteStore};

use self::location::Place;
pub(crate) use self::location::StoreLocation;
use crate::{errors::CliError, settings::Settings};

/// What a command means to do with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read what is there; needs no right to write.
    Read,
    /// Change what is there.
    Write,
    /// Change what is there, and make it where it is not.
    Create,
}

/// An open store, as ports.
pub(crate) struct Stores {
    /// The log.
    pub(crate) events: Arc<dyn EventStore>,
    /// Operators' marks.
    pub(crate) checkpoints: Arc<dyn CheckpointStore>,
    /// Users' schemas.
    pub(crate) schemas: Arc<dyn SchemaStore>,
    /// Replay counts.
    pub(crate) replays: Arc<dyn ReplayStore>,
    /// The file, for what only a file can do.
    pub(crate) file: Option<SqliteStore>,
}

impl Stores {
    /// Opens the store that the settings name.
    pub(crate) async fn open(settings: &Settings, access: Access) -> Result<Self, CliError> {
        match settings.store.place() {
            Place::Memory => Ok(Self::of(MemoryStore::default(), None)),
            Place::Redis => Err(no_redis(&settings.store)),
            Place::Sqlite(path) => {
                if access != Access::Create && !path.exists() {
                    return Err(no_store(&settings.store));
                }
                if path.is_dir() {
                    return Err(CliError::failed(format!(
                        "{} is a folder, and a store is a file; nothing was changed",
                        settings.store
                    ))
                    .hint("name a file in it, as sqlite:FOLDER/events.db"));
                }
                let options = sqlite_options(settings, path);
                let opened = match access {
                    Access::Read => SqliteStore::open_read_only(options).await,
                    Access::Write => SqliteStore::open(options).await,
                    Access::Create => SqliteStore::create(options).await,
                };
                let store = opened
                    .map_err(|failure| CliError::from(failure).during(format!("store {}", settings.store)))?;
                Ok(Self::of(store.clone(), Some(store)))
            }
        }
    }

    /// Whether there is something to open. Says nothing about whether it is a store.
    pub(crate) fn exists(settings: &Settings) -> bool {
        match settings.store.place() {
            Place::Sqlite(path) => path.exists(),
            Place::Memory | Place::Redis => true,
        }
    }

    /// Ends with the file in order. A store that is only dropped is in order too; this one leaves no log to read.
    pub(crate) async fn close(self) {
        let Self { events, checkpoints, schemas, replays, file } = self;
        drop((events, checkpoints, schemas, replays));
        if let Some(file) = file {
            file.close().await;
        }
    }

    fn of<S>(store: S, file: Option<SqliteStore>) -> Self
    where
        S: EventStore + CheckpointStore + SchemaStore + ReplayStore + 'static,
    {
        let store = Arc::new(store);
        Self {
            events: store.clone(),
            checkpoints: store.clone(),
            schemas: store.clone(),
            replays: store,
            file,
        }
    }
}

/// The time by which the program goes.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// How the embedded store is opened.
pub(crate) fn sqlite_options(settings: &Settings, path: &Path) -> SqliteOptions {
    SqliteOptions { namespace: settings.store.namespace().to_owned(), ..SqliteOptions::new(path) }
}

/// The path of the embedded store, for commands that only a file can serve.
pub(crate) fn file_path(settings: &Settings) -> Result<&Path, CliError> {
    match settings.store.place() {
        Place::Sqlite(path) => Ok(path),
        Place::Redis => Err(no_redis(&settings.store)),
        Place::Memory => {
            Err(CliError::usage("a store in memory has no file: name one with --store sqlite:PATH"))
        }
    }
}

fn no_store(location: &StoreLocation) -> CliError {
    CliError::failed(format!("there is no store at {location} (from {})", location.origin())).hint(
        "`event-replay init` makes an empty one, `publish` and `import` make it with the first events, \
         --store names another",
    )
}

fn no_redis(location: &StoreLocation) -> CliError {
    CliError::failed(format!(
        "the store is {location} (from {}), and this build has no Redis adapter; nothing was read or written",
        location.origin()
    ))
    .hint(match location.origin() {
        "--store" => "use --store sqlite:PATH".to_owned(),
        origin => format!("use --store sqlite:PATH, or unset {origin}"),
    })
}
