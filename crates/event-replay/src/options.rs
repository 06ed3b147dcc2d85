//! How a store is opened.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bus::{BusSettings, RuntimeClock};
use domain::ports::{Clock, RetentionMode};

/// What is meant to be done with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read what is there; needs no right to write.
    Read,
    /// Change what is there.
    Write,
    /// Change what is there, and make it where there is none.
    Create,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// What it keeps, should it be made now. One that is there keeps what it always kept.
    pub keeps: RetentionMode,
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
    /// ([`TooFewCopies`](domain::StorageFailure::TooFewCopies)).
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
    /// History is kept, by the runtime's clock, which is the machine's unless a test has paused it.
    fn default() -> Self {
        Self {
            keeps: RetentionMode::History,
            clock: Arc::new(RuntimeClock::default()),
            redis: RedisAccess::default(),
        }
    }
}

impl OpenOptions {
    /// What a bus with these settings wants its store to keep.
    pub fn of(settings: &BusSettings) -> Self {
        let keeps = match settings.enable_event_store {
            Some(false) => RetentionMode::UntilDelivered,
            Some(true) | None => RetentionMode::History,
        };
        Self { keeps, ..Self::default() }
    }
}
