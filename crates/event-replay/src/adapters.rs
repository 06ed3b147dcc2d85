//! The adapters that open each kind of store. Only this module and the re-exports of this crate name storage adapters.

#[cfg(feature = "memory")]
pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

/// The storage engine behind the ports of a store, for operations that the ports lack.
pub(crate) enum Adapter {
    /// A store in memory. It has no further operations.
    #[allow(dead_code, reason = "without the feature memory there is none")]
    Memory,
    /// A SQLite file.
    #[cfg(feature = "sqlite")]
    Sqlite(storage_sqlite::SqliteEngine),
    /// A Redis server, or several servers that form one store.
    #[cfg(feature = "redis")]
    Redis(storage_redis::RedisEngine),
}

impl Adapter {
    /// Returns the name of the kind of store.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => "sqlite",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "redis",
        }
    }

    /// Closes the file or the connections.
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
