//! The address of a server, and the settings of a namespace.

use std::{sync::Arc, time::Duration};

use domain::ports::{Clock, RetentionMode};

/// Certificate files in PEM format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authority that signed the server's certificate. None: the authorities that the machine trusts.
    pub ca: Option<std::path::PathBuf>,
    /// The client certificate and its key, for servers that require one.
    pub client: Option<(std::path::PathBuf, std::path::PathBuf)>,
}

impl Tls {
    /// Returns whether any certificate is named.
    pub(crate) fn is_set(&self) -> bool {
        self.ca.is_some() || self.client.is_some()
    }
}

/// The copies of an event that must exist before its publisher gets the answer, beside the server's own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// The number of replicas that must have the event.
    pub replicas: u16,
    /// Whether the event must be synced to the append-only file, on the server and on those replicas. Requires Redis
    /// 7.2 or newer, or Valkey.
    pub synced: bool,
    /// The longest wait for the copies, at most half of [`RedisOptions::timeout`]. After it the publisher gets
    /// [`StorageFailure::TooFewCopies`](domain::StorageFailure::TooFewCopies) with the number of confirmed copies.
    pub within: Duration,
}

/// The options for opening a store on Redis.
#[derive(Clone)]
pub struct RedisOptions {
    /// The address of the store, in one of three forms. `rediss` in place of `redis` selects TLS.
    ///
    /// - `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]`: one server.
    /// - `redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT],…[/DB]?master=NAME`: the master that these sentinels name.
    /// - `redis+cluster://[USER[:PASSWORD]@]HOST[:PORT],…`: a cluster that has these nodes, among others.
    pub url: String,
    /// The password of the servers. None: the password in the URL, if any.
    pub password: Option<String>,
    /// The user name for the sentinels, if they require one. The user and the password of the URL are for the servers.
    pub sentinel_user: Option<String>,
    /// The password for the sentinels, if they require one.
    pub sentinel_password: Option<String>,
    /// The namespace. One server can hold several namespaces.
    pub namespace: String,
    /// Certificates for `rediss://`.
    pub tls: Tls,
    /// The longest time until an answer, after which the call fails. The outcome of a write is then unknown. If
    /// several servers form the store, a call that was not done is tried again until this time is over.
    pub timeout: Duration,
    /// The clock of the store. None: the server's own clock. Tests set one.
    pub clock: Option<Arc<dyn Clock>>,
    /// The retention mode, fixed when the namespace is made. An existing namespace keeps its own mode.
    pub keeps: RetentionMode,
    /// Whether events are stored compressed, fixed when the namespace is made.
    pub compression: bool,
    /// The number of partitions, fixed when the namespace is made: 1, 2, 4, … 64. None: 1 on one server, 16 on a
    /// cluster.
    pub partitions: Option<u16>,
    /// The copies that must be confirmed before an append or a scheduled event is answered. None: the server's own
    /// answer is enough.
    pub copies: Option<Copies>,
}

impl RedisOptions {
    /// Returns the default options for a server: namespace `default`, a timeout of 5 s, the server's clock, full
    /// history, no compression.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password: None,
            sentinel_user: None,
            sentinel_password: None,
            namespace: "default".to_owned(),
            tls: Tls::default(),
            timeout: Duration::from_secs(5),
            clock: None,
            keeps: RetentionMode::History,
            compression: false,
            partitions: None,
            copies: None,
        }
    }

    /// The largest number of partitions of a namespace.
    pub const MAX_PARTITIONS: u16 = 64;

    /// Returns whether a namespace may have this number of partitions. It must be a power of two, so that the slots of
    /// a cluster divide evenly.
    pub fn may_have(partitions: u16) -> bool {
        (1..=Self::MAX_PARTITIONS).contains(&partitions) && partitions.is_power_of_two()
    }

    /// Returns the number of partitions of a new namespace, if the options name none.
    pub(crate) fn usual_partitions(&self) -> u16 {
        if self.url.contains("+cluster:") { 16 } else { 1 }
    }
}

impl std::fmt::Debug for RedisOptions {
    /// Omits the URL and the password, which are secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisOptions")
            .field("namespace", &self.namespace)
            .field("timeout", &self.timeout)
            .field("keeps", &self.keeps)
            .field("compression", &self.compression)
            .field("partitions", &self.partitions)
            .field("copies", &self.copies)
            .finish_non_exhaustive()
    }
}
