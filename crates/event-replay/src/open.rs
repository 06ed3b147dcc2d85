//! Opening a store by its location.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bus::BusSettings;
use domain::{
    StorageFailure,
    ports::{Clock, Keeps, Stores, SystemClock},
};
use thiserror::Error;

use crate::location::{BadLocation, Location, RedisUrl};

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// What it keeps, should it be made now. One that is there keeps what it always kept.
    pub keeps: Keeps,
    /// What says when events were stored, and how long a lease lasts. Stores on Redis go by their server's clock instead,
    /// which all their processes share.
    pub clock: Arc<dyn Clock>,
    /// What a Redis server wants beside its address.
    pub redis: RedisAccess,
}

/// What a Redis server wants beside its address.
#[derive(Clone, Default)]
pub struct RedisAccess {
    /// The password, where the location has none.
    pub password: Option<String>,
    /// Who the sentinels of a `redis+sentinel://` location know us as, if they want to.
    pub sentinel_user: Option<String>,
    /// The password of the sentinels, if they want one; that of the location is for the servers.
    pub sentinel_password: Option<String>,
    /// The file (PEM) of the authority that signed the certificate of a `rediss://` server; none: those that the machine
    /// trusts.
    pub ca: Option<PathBuf>,
    /// The files (PEM) of the certificate and the key that the server wants of its clients, if it does.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Whether events are kept compressed, should the namespace be made now. One that is there keeps them as it always
    /// did.
    pub compression: bool,
    /// Into how many partitions the namespace is divided, should it be made now: 1, 2, 4, … 64. None: 1 on one server, 16 on
    /// a cluster. One that is there has what it always had.
    pub partitions: Option<u16>,
    /// The copies that must be confirmed before an event is answered. None: the server's answer is enough.
    pub copies: Option<RedisCopies>,
}

/// Where an event must be before its publisher is answered, beside the memory of the Redis server that stored it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisCopies {
    /// How many replicas must have it.
    pub replicas: u16,
    /// Whether it must be synced to the append-only file, of the server and of those replicas. Needs Redis 7.2 or newer, or
    /// Valkey.
    pub synced: bool,
    /// How long they are waited for, at most 2.5 s; then the publisher is told that there are too few
    /// ([`StorageFailure::TooFewCopies`]).
    pub within: Duration,
}

impl fmt::Debug for RedisAccess {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisAccess")
            .field("ca", &self.ca)
            .field("client", &self.client)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

impl Default for OpenOptions {
    /// History is kept, by the machine's clock.
    fn default() -> Self {
        Self { keeps: Keeps::History, clock: Arc::new(SystemClock), redis: RedisAccess::default() }
    }
}

impl OpenOptions {
    /// What a bus with these settings wants its store to keep.
    pub fn of(settings: &BusSettings) -> Self {
        let keeps = match settings.enable_event_store {
            Some(false) => Keeps::Deliveries,
            Some(true) | None => Keeps::History,
        };
        Self { keeps, ..Self::default() }
    }
}

/// Why a store was not opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The text names no store. It is not repeated: it may hold a password.
    #[error("the location names no store: {0}")]
    Location(#[from] BadLocation),
    /// The adapter of this kind of store was left out of the program.
    #[error("{location} needs the feature {feature:?} of the crate event-replay")]
    Feature {
        /// The location.
        location: Location,
        /// The feature.
        feature: &'static str,
    },
    /// The store failed.
    #[error("{location}: {failure}")]
    Storage {
        /// The location.
        location: Location,
        /// How it failed.
        #[source]
        failure: StorageFailure,
    },
}

/// Opens the store at a [`Location`], such as `sqlite:/var/lib/events/events.db` or `redis://host`, and makes it where there is none.
///
/// # Errors
/// When the text names no store, its adapter was left out, or the store cannot be opened.
pub async fn open(location: &str) -> Result<Arc<dyn Stores>, OpenError> {
    open_with(location, OpenOptions::default()).await
}

/// Opens a store as [`open`] does, with options.
///
/// # Errors
/// As [`open`].
pub async fn open_with(location: &str, options: OpenOptions) -> Result<Arc<dyn Stores>, OpenError> {
    match location.parse()? {
        Location::Memory => memory(options),
        Location::Sqlite { path, namespace } => sqlite(path, namespace, options).await,
        Location::Redis { url, namespace } => redis(url, namespace, options).await,
    }
}

#[cfg(feature = "memory")]
fn memory(options: OpenOptions) -> Result<Arc<dyn Stores>, OpenError> {
    Ok(Arc::new(storage_memory::MemoryStore::keeping(options.clock, options.keeps)))
}

#[cfg(not(feature = "memory"))]
fn memory(_: OpenOptions) -> Result<Arc<dyn Stores>, OpenError> {
    Err(OpenError::Feature { location: Location::Memory, feature: "memory" })
}

#[cfg(feature = "sqlite")]
async fn sqlite(
    path: PathBuf,
    namespace: String,
    options: OpenOptions,
) -> Result<Arc<dyn Stores>, OpenError> {
    use storage_sqlite::{SqliteOptions, SqliteStore};

    let location = Location::Sqlite { path: path.clone(), namespace: namespace.clone() };
    let OpenOptions { keeps, clock, .. } = options;
    let opened =
        SqliteStore::create(SqliteOptions { namespace, keeps, clock, ..SqliteOptions::new(path) }).await;
    match opened {
        Ok(store) => Ok(Arc::new(store)),
        Err(failure) => Err(OpenError::Storage { location, failure }),
    }
}

#[cfg(not(feature = "sqlite"))]
async fn sqlite(path: PathBuf, namespace: String, _: OpenOptions) -> Result<Arc<dyn Stores>, OpenError> {
    Err(OpenError::Feature { location: Location::Sqlite { path, namespace }, feature: "sqlite" })
}

#[cfg(feature = "redis")]
async fn redis(url: RedisUrl, namespace: String, options: OpenOptions) -> Result<Arc<dyn Stores>, OpenError> {
    use storage_redis::{Copies, RedisOptions, RedisStore, Tls};

    let OpenOptions { keeps, redis: access, .. } = options;
    let opened = RedisStore::create(RedisOptions {
        password: if url.has_password() { None } else { access.password },
        sentinel_user: access.sentinel_user,
        sentinel_password: access.sentinel_password,
        namespace: namespace.clone(),
        tls: Tls { ca: access.ca, client: access.client },
        keeps,
        compression: access.compression,
        partitions: access.partitions,
        copies: access.copies.map(|RedisCopies { replicas, synced, within }| Copies {
            replicas,
            synced,
            within,
        }),
        ..RedisOptions::new(url.reveal())
    })
    .await;
    match opened {
        Ok(store) => Ok(Arc::new(store)),
        Err(failure) => Err(OpenError::Storage { location: Location::Redis { url, namespace }, failure }),
    }
}

#[cfg(not(feature = "redis"))]
async fn redis(url: RedisUrl, namespace: String, _: OpenOptions) -> Result<Arc<dyn Stores>, OpenError> {
    Err(OpenError::Feature { location: Location::Redis { url, namespace }, feature: "redis" })
}
