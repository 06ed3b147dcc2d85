//! How to reach a server, and what a namespace is to be.

use std::{sync::Arc, time::Duration};

use domain::ports::{Clock, RetentionMode};

/// Files with certificates, as PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authority that signed the server's certificate; none: those that the machine trusts.
    pub ca: Option<std::path::PathBuf>,
    /// The certificate and the key that the server wants of a client, if it does.
    pub client: Option<(std::path::PathBuf, std::path::PathBuf)>,
}

impl Tls {
    /// Whether any certificate is named.
    pub(crate) fn is_set(&self) -> bool {
        self.ca.is_some() || self.client.is_some()
    }
}

/// Where an event must be before its publisher is answered, beside the memory of the server that stored it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// How many replicas must have it.
    pub replicas: u16,
    /// Whether it must be synced to the append-only file, of the server and of those replicas. Needs Redis 7.2 or newer, or
    /// Valkey.
    pub synced: bool,
    /// How long they are waited for, at most half of [`RedisOptions::timeout`]; then the publisher is told how many there are
    /// ([`StorageFailure::TooFewCopies`](domain::StorageFailure::TooFewCopies)).
    pub within: Duration,
}

/// How to open a store on Redis.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]`; `redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT],…[/DB]?master=NAME` for
    /// the master that these sentinels name; `redis+cluster://[USER[:PASSWORD]@]HOST[:PORT],…` for a cluster with these nodes
    /// among others. `rediss` for TLS.
    pub url: String,
    /// The password, where it does not stand in the URL.
    pub password: Option<String>,
    /// Who the sentinels know us as, if they want to; the user and the password of the URL are for the servers.
    pub sentinel_user: Option<String>,
    /// The password of the sentinels, if they want one.
    pub sentinel_password: Option<String>,
    /// The namespace: several stores live side by side on one server.
    pub namespace: String,
    /// Certificates for `rediss://`.
    pub tls: Tls,
    /// How long an answer may take before the call fails; the outcome of a write is then unknown. Where several servers are
    /// one store, a call that was not done goes on trying for so long.
    pub timeout: Duration,
    /// The clock that the store goes by; none: the server's own. Tests bring one.
    pub clock: Option<Arc<dyn Clock>>,
    /// What the namespace keeps, frozen when it is made: one that is there keeps what it always kept.
    pub keeps: RetentionMode,
    /// Whether events are kept compressed, frozen when the namespace is made.
    pub compression: bool,
    /// Into how many partitions the namespace is divided, frozen when it is made: 1, 2, 4, … 64. None: 1 on one server,
    /// 16 on a cluster.
    pub partitions: Option<u16>,
    /// The copies that must be confirmed before an append, or an event that is scheduled, is answered. None: the server's
    /// answer is enough.
    pub copies: Option<Copies>,
}

impl RedisOptions {
    /// The options for a server: namespace `default`, answers within 5 s, the server's clock; history is kept, as it came.
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

    /// Most partitions of a namespace.
    pub const MAX_PARTITIONS: u16 = 64;

    /// Whether a namespace may have so many partitions: powers of two, so that the slots of a cluster divide evenly.
    pub fn may_have(partitions: u16) -> bool {
        (1..=Self::MAX_PARTITIONS).contains(&partitions) && partitions.is_power_of_two()
    }

    /// How many partitions a namespace has that is made now and of which nothing else was said.
    pub(crate) fn usual_partitions(&self) -> u16 {
        if self.url.contains("+cluster:") { 16 } else { 1 }
    }
}

impl std::fmt::Debug for RedisOptions {
    /// Without the URL and the password, which are secret.
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
