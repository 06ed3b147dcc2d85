//! What opens the stores of each kind. No other place names storage adapters, but for the re-exports of this crate.

#[cfg(feature = "memory")]
pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

/// What is behind the ports of a store, for what the ports do not have.
pub(crate) enum Adapter {
    /// Nothing more.
    #[allow(dead_code, reason = "without the feature memory there is none")]
    Memory,
    /// A file.
    #[cfg(feature = "sqlite")]
    Sqlite(storage_sqlite::SqliteEngine),
    /// A server, or several that are one store.
    #[cfg(feature = "redis")]
    Redis(storage_redis::RedisEngine),
}

impl Adapter {
    /// The kind of store.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => "sqlite",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "redis",
        }
    }

    /// Closes the file, or the connections.
    pub(crate) async fn close(self) {
        match self {
            Self::Memory => {}
            #[cfg(feature = "sqlite")]
            Self::Sqlite(engine) => engine.close().await,
            #[cfg(feature = "redis")]
            Self::Redis(engine) => engine.close().await,
        }
    }
}
