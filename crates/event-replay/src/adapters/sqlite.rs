//! Stores in a file.

use std::{path::Path, sync::Arc};

#[cfg(feature = "app")]
use domain::ports::StorageEngine;
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;

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
    let engine = match access {
        Access::Read => SqliteEngine::open_read_only(options).await,
        Access::Write => SqliteEngine::open(options).await,
        Access::Create => SqliteEngine::create(options).await,
    }
    .map_err(Refused::Failed)?;
    Ok(StoreHandle::new(Arc::new(Store::new(engine.clone())), Adapter::Sqlite(engine)))
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
    // What was erased since the backup was made must not come back with it.
    let settle = |engine| async move { Store::new(engine).remove_erased_copies().await };
    let restored = SqliteEngine::restore(of(path, namespace, options), from, replace, settle).await?;
    let storage_sqlite::Restored { engine, damaged_kept_at } = restored;
    let state = engine.state(0).await?;
    engine.close().await;
    Ok(Restored { events: state.events, bytes: state.bytes, damaged_kept_at })
}
