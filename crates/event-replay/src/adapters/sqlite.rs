//! Stores in a file.

use std::{path::Path, sync::Arc};

use storage_sqlite::{SqliteOptions, SqliteStore};

use crate::{
    adapters::Adapter,
    handle::StoreHandle,
    options::{Access, OpenOptions},
    refused::Refused,
};

/// Opens a file.
pub(crate) async fn open(
    path: &Path,
    namespace: &str,
    options: OpenOptions,
    access: Access,
) -> Result<StoreHandle, Refused> {
    let options = of(path, namespace, options);
    let store = match access {
        Access::Read => SqliteStore::open_read_only(options).await,
        Access::Write => SqliteStore::open(options).await,
        Access::Create => SqliteStore::create(options).await,
    }
    .map_err(Refused::Failed)?;
    Ok(StoreHandle::new(Arc::new(store.clone()), Adapter::Sqlite(store)))
}

fn of(path: &Path, namespace: &str, options: OpenOptions) -> SqliteOptions {
    let OpenOptions { keeps, clock, .. } = options;
    SqliteOptions { namespace: namespace.to_owned(), keeps, clock, ..SqliteOptions::new(path) }
}

/// What a restore made.
#[cfg(feature = "app")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Events of the restored store.
    pub events: u64,
    /// Bytes of its events.
    pub bytes: u64,
    /// Where the store that it replaced was moved to, if nothing could be read from it.
    pub damaged_kept_at: Option<std::path::PathBuf>,
}

/// A backup becomes the store.
#[cfg(feature = "app")]
pub(crate) async fn restore(
    path: &Path,
    namespace: &str,
    options: OpenOptions,
    from: &Path,
    replace: bool,
) -> Result<Restored, domain::StorageFailure> {
    let restored = SqliteStore::restore(of(path, namespace, options), from, replace).await?;
    let storage_sqlite::Restored { info, damaged_kept_at } = restored;
    Ok(Restored { events: info.events, bytes: info.bytes, damaged_kept_at })
}
