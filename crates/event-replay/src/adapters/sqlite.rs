//! Stores in a SQLite file.

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

/// The result of a restore.
#[cfg(feature = "app")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The number of events in the restored store.
    pub events: u64,
    /// The size of those events, in bytes.
    pub bytes: u64,
    /// The path to which the replaced store was moved, if it could not be read.
    pub damaged_kept_at: Option<std::path::PathBuf>,
}

/// Restores a backup to the file of the store. `replace` permits that an existing store is replaced.
#[cfg(feature = "app")]
pub(crate) async fn restore(
    path: &Path,
    namespace: &str,
    options: OpenOptions,
    from: &Path,
    replace: bool,
) -> Result<Restored, domain::StorageFailure> {
    // Events that were erased after the backup must stay erased.
    let settle = |engine| async move { Store::new(engine).remove_erased_copies().await };
    let restored = SqliteEngine::restore(of(path, namespace, options), from, replace, settle).await?;
    let storage_sqlite::Restored { engine, damaged_kept_at } = restored;
    let state = engine.state(0).await?;
    engine.close().await;
    Ok(Restored { events: state.events, bytes: state.bytes, damaged_kept_at })
}
