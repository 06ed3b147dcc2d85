//! Backups of stores in files.

use std::path::Path;

use domain::{StorageFailure, ports::EventStoreError};

pub use crate::adapters::sqlite::Restored;

use super::{
    confirmation::Confirmation,
    error::{AppError, InvalidRequest},
    store::StoreError,
};
use crate::{
    adapters::{self, Adapter},
    handle::StoreHandle,
    location::Location,
    settings::Settings,
};

/// Returns the path of the store in the settings.
///
/// # Errors
/// Returns [`InvalidRequest`] when the store is not a file.
pub fn file(settings: &Settings) -> Result<&Path, InvalidRequest> {
    match settings.store.location() {
        Location::Sqlite { path, .. } => Ok(path),
        Location::Memory => Err(InvalidRequest::InMemory),
        Location::Redis { .. } => Err(InvalidRequest::OnServer(settings.store.clone())),
    }
}

/// Copies the current state of a store to a new file. The store can be in use. Returns the size of the copy in bytes.
///
/// # Errors
/// Returns [`AppError`] when the store is not a file, or when the copy cannot be written.
pub async fn backup(store: &StoreHandle, settings: &Settings, to: &Path) -> Result<u64, AppError> {
    match store.adapter() {
        Adapter::Sqlite(file) => Ok(file.backup_to(to).await.map_err(EventStoreError::from)?),
        Adapter::Memory => Err(InvalidRequest::InMemory.into()),
        Adapter::Redis(_) => Err(InvalidRequest::OnServer(settings.store.clone()).into()),
    }
}

/// Returns the confirmation that a restore needs before it replaces the store. Returns `None` if the store does not
/// exist.
///
/// # Errors
/// Returns [`InvalidRequest`] when the store is not a file.
pub fn confirmation(settings: &Settings, from: &Path) -> Result<Option<Confirmation>, InvalidRequest> {
    let confirmation = Confirmation::ReplaceStore { store: settings.store.clone(), backup: from.to_owned() };
    Ok(file(settings)?.exists().then_some(confirmation))
}

/// Restores the store in the settings from a backup. `replace` permits that an existing store is replaced.
///
/// # Errors
/// Returns [`RestoreError`] when the store is not a file, when the backup is missing or damaged, or when another
/// process has the store open.
pub async fn restore(settings: &Settings, from: &Path, replace: bool) -> Result<Restored, RestoreError> {
    let path = file(settings)?;
    let options = settings.open_options().map_err(StoreError::from).map_err(AppError::from)?;
    let namespace = settings.store.location().namespace();
    Ok(adapters::sqlite::restore(path, namespace, options, from, replace).await?)
}

/// The reason for which a backup was not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The request is not valid.
    #[error(transparent)]
    Request(#[from] AppError),
    /// The backup or the existing store failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
}

impl From<InvalidRequest> for RestoreError {
    fn from(error: InvalidRequest) -> Self {
        Self::Request(error.into())
    }
}
