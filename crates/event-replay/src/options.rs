//! The options for opening a store.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bus::{BusSettings, RuntimeClock};
use domain::ports::{Clock, RetentionMode};

/// The access that the caller needs to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read access to an existing store. It needs no right to write.
    Read,
    /// Write access to an existing store.
    Write,
    /// Write access. The call creates the store if it does not exist.
    Create,
}

/// The options for opening a store.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Whether a new store keeps its history. An existing store keeps its own mode.
    pub keeps: RetentionMode,
    /// The clock for stored times and for the expiry of leases. A store on Redis uses the clock of its server instead,
    /// because all its processes share that clock.
    pub clock: Arc<dyn Clock>,
    /// Credentials and options for a Redis server, apart from its address.
    pub redis: RedisAccess,
}

/// Credentials and options for a Redis server, apart from its address.
#[derive(Clone, Default)]
pub struct RedisAccess {
    /// The password, used if the location has none.
    pub password: Option<String>,
    /// The user name for the sentinels of a `redis+sentinel://` location, if the sentinels need one.
    pub sentinel_user: Option<String>,
    /// The password of the sentinels, if they need one. The password in the location is for the Redis servers.
    pub sentinel_password: Option<String>,
    /// The file (PEM) with the certificate authority of a `rediss://` server. `None`: the authorities that the machine
    /// trusts.
    pub ca: Option<PathBuf>,
    /// The files (PEM) with the client certificate and its key, if the server requires a client certificate.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Whether a new namespace compresses its events. An existing namespace keeps its own mode.
    pub compression: bool,
    /// The number of partitions of a new namespace: 1, 2, 4, … 64. `None`: 1 on one server, 16 on a cluster. An
    /// existing namespace keeps its number.
    pub partitions: Option<u16>,
    /// The copies that must have an event before its publisher gets the answer. `None`: the answer of the server is
    /// enough.
    pub copies: Option<RedisCopies>,
}

/// The copies that must have an event before its publisher gets the answer. They are in addition to the memory of the
/// Redis server that stored the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisCopies {
    /// The number of replicas that must have the event.
    pub replicas: u16,
    /// Whether the server and those replicas must sync the event to their append-only file. This needs Redis 7.2 or
    /// newer, or Valkey.
    pub synced: bool,
    /// The longest wait for the copies, at most 2.5 s. After it the publisher gets the error
    /// [`TooFewCopies`](domain::StorageFailure::TooFewCopies).
    pub within: Duration,
}

impl fmt::Debug for RedisAccess {
    /// Omits the passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisAccess")
            .field("ca", &self.ca)
            .field("client", &self.client)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

impl Default for OpenOptions {
    /// Keeps history and uses the clock of the runtime. That clock is the clock of the machine, unless a test has
    /// paused it.
    fn default() -> Self {
        Self {
            keeps: RetentionMode::History,
            clock: Arc::new(RuntimeClock::default()),
            redis: RedisAccess::default(),
        }
    }
}

impl OpenOptions {
    /// Returns the options for a store of a bus with these settings. `enable_event_store` decides whether a new store
    /// keeps its history.
    pub fn of(settings: &BusSettings) -> Self {
        let keeps = match settings.enable_event_store {
            Some(false) => RetentionMode::UntilDelivered,
            Some(true) | None => RetentionMode::History,
        };
        Self { keeps, ..Self::default() }
    }
}
