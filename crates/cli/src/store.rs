//! Where the store is, and its ports once it is open. The one place that names storage adapters.

mod location;
pub(crate) mod redis;

use std::{path::Path, sync::Arc};

use domain::ports::{
    self, CheckpointStore, Clock, DeadLetterStore, EventStore, GroupStore, Keeps, ReplayStore, ScheduleStore,
    SchemaStore, StatsStore, SystemClock,
};
use storage_memory::MemoryStore;
use storage_redis::RedisStore;
use storage_sqlite::{SqliteOptions, SqliteStore};

pub(crate) use self::location::Place;
pub(crate) use self::location::{StoreLocation, without_password};
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
    /// All of them, for what works with several.
    pub(crate) all: Arc<dyn ports::Stores>,
    /// The log.
    pub(crate) events: Arc<dyn EventStore>,
    /// Operators' marks.
    pub(crate) checkpoints: Arc<dyn CheckpointStore>,
    /// Users' schemas.
    pub(crate) schemas: Arc<dyn SchemaStore>,
    /// Replay counts, and the records of replays.
    pub(crate) replays: Arc<dyn ReplayStore>,
    /// Consumer groups.
    pub(crate) groups: Arc<dyn GroupStore>,
    /// What groups gave up on.
    pub(crate) dead_letters: Arc<dyn DeadLetterStore>,
    /// Events that wait for their time.
    pub(crate) schedule: Arc<dyn ScheduleStore>,
    /// Counters over time.
    pub(crate) counters: Arc<dyn StatsStore>,
    /// The file, for what only a file can do.
    pub(crate) file: Option<SqliteStore>,
    /// The server, for what only a server can tell.
    pub(crate) redis: Option<RedisStore>,
}

impl Stores {
    /// Opens the store that the settings name.
    pub(crate) async fn open(settings: &Settings, access: Access) -> Result<Self, CliError> {
        match settings.store.place() {
            Place::Memory => {
                let keeps = settings.event_store.keeps();
                Ok(Self::of(Arc::new(MemoryStore::keeping(clock(), keeps))))
            }
            Place::Redis(address) => {
                // Ways to servers of every kind are in it, which is more than a command should carry.
                let store = Box::pin(redis::open(settings, address, access)).await?;
                let stores = Self { redis: Some(store.clone()), ..Self::of(Arc::new(store)) };
                if access == Access::Create {
                    stores.must_keep(settings).await?;
                }
                Ok(stores)
            }
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
                let stores = Self { file: Some(store.clone()), ..Self::of(Arc::new(store)) };
                if access == Access::Create {
                    stores.must_keep(settings).await?;
                }
                Ok(stores)
            }
        }
    }

    /// Whether there is something to open. Says nothing about whether it is a store.
    pub(crate) async fn exists(settings: &Settings) -> Result<bool, CliError> {
        match settings.store.place() {
            Place::Sqlite(path) => Ok(path.exists()),
            Place::Redis(address) => redis::exists(settings, address).await,
            Place::Memory => Ok(true),
        }
    }

    /// Ends with the file in order. A store that is only dropped is in order too; this one leaves no log to read.
    pub(crate) async fn close(self) {
        let Self {
            all,
            events,
            checkpoints,
            schemas,
            replays,
            groups,
            dead_letters,
            schedule,
            counters,
            file,
            redis,
        } = self;
        drop((all, events, checkpoints, schemas, replays, groups, dead_letters, schedule, counters));
        if let Some(file) = file {
            file.close().await;
        }
        if let Some(redis) = redis {
            redis.close().await;
        }
    }

    fn of(all: Arc<dyn ports::Stores>) -> Self {
        Self {
            events: all.clone(),
            checkpoints: all.clone(),
            schemas: all.clone(),
            replays: all.clone(),
            groups: all.clone(),
            dead_letters: all.clone(),
            schedule: all.clone(),
            counters: all.clone(),
            all,
            file: None,
            redis: None,
        }
    }

    /// What a namespace keeps is frozen when it is made: whoever puts events in and was told otherwise must know.
    async fn must_keep(&self, settings: &Settings) -> Result<(), CliError> {
        let Some(wanted) = settings.event_store.asked_for() else { return Ok(()) };
        let info = self.events.info().await?;
        if info.keeps == wanted {
            return Ok(());
        }
        let what = match info.keeps {
            Keeps::History => "keeps every event",
            Keeps::Deliveries => "keeps events only until they are delivered",
        };
        let (store, value) = (&settings.store, wanted == Keeps::History);
        Err(CliError::failed(format!(
            "{store} {what}, and event_store.enabled is {value} (from {}); this is frozen when a namespace is \
             made, and nothing was changed",
            settings.event_store.origin()
        ))
        .hint("leave ENABLE_EVENT_STORE unset to take the store as it is, or name another store with --store"))
    }
}

/// The time by which the program goes.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// How the embedded store is opened.
pub(crate) fn sqlite_options(settings: &Settings, path: &Path) -> SqliteOptions {
    SqliteOptions {
        namespace: settings.store.namespace().to_owned(),
        keeps: settings.event_store.keeps(),
        ..SqliteOptions::new(path)
    }
}

/// The path of the embedded store, for commands that only a file can serve.
pub(crate) fn file_path(settings: &Settings) -> Result<&Path, CliError> {
    match settings.store.place() {
        Place::Sqlite(path) => Ok(path),
        Place::Memory => {
            Err(CliError::usage("a store in memory has no file: name one with --store sqlite:PATH"))
        }
        Place::Redis(_) => Err(CliError::usage(format!(
            "{} is on a Redis server, and this command works with files alone",
            settings.store
        ))
        .hint(
            "docs/redis.md says how a store on Redis is backed up; `event-replay export` copies the events",
        )),
    }
}

fn no_store(location: &StoreLocation) -> CliError {
    CliError::failed(format!("there is no store at {location} (from {})", location.origin())).hint(
        "`event-replay init` makes an empty one, `publish` and `import` make it with the first events, \
         --store names another",
    )
}
