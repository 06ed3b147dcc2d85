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

/// The file of the store that the settings name.
///
/// # Errors
/// When it is no file.
pub fn file(settings: &Settings) -> Result<&Path, InvalidRequest> {
    match settings.store.location() {
        Location::Sqlite { path, .. } => Ok(path),
        Location::Memory => Err(InvalidRequest::InMemory),
        Location::Redis { .. } => Err(InvalidRequest::OnServer(settings.store.clone())),
    }
}

/// Copies a store to a new file, as it is at this moment, while it is in use; the size of the copy in bytes.
///
/// # Errors
/// When it is no file, or the copy cannot be written.
pub async fn backup(store: &StoreHandle, settings: &Settings, to: &Path) -> Result<u64, AppError> {
    match store.adapter() {
        Adapter::Sqlite(file) => Ok(file.backup_to(to).await.map_err(EventStoreError::from)?),
        Adapter::Memory => Err(InvalidRequest::InMemory.into()),
        Adapter::Redis(_) => Err(InvalidRequest::OnServer(settings.store.clone()).into()),
    }
}

/// What is to be confirmed before a backup takes the place of the store; none where there is no store.
///
/// # Errors
/// When the store is no file.
pub fn confirmation(settings: &Settings, from: &Path) -> Result<Option<Confirmation>, InvalidRequest> {
    let confirmation = Confirmation::ReplaceStore { store: settings.store.clone(), backup: from.to_owned() };
    Ok(file(settings)?.exists().then_some(confirmation))
}

/// Makes the store that the settings name from a backup, in the place of the one that is there if `replace` says so.
///
/// # Errors
/// When the store is no file, the backup is none or damaged, or another process has the store open.
pub async fn restore(settings: &Settings, from: &Path, replace: bool) -> Result<Restored, RestoreError> {
    let path = file(settings)?;
    let options = settings.open_options().map_err(StoreError::from).map_err(AppError::from)?;
    let namespace = settings.store.location().namespace();
    Ok(adapters::sqlite::restore(path, namespace, options, from, replace).await?)
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It makes no sense.
    #[error(transparent)]
    Request(#[from] AppError),
    /// The backup, or the store that is there, is at fault.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
}

impl From<InvalidRequest> for RestoreError {
    fn from(error: InvalidRequest) -> Self {
        Self::Request(error.into())
    }
}
