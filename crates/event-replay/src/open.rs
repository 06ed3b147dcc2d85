//! Opens a store by its location.

#[cfg(not(feature = "sqlite"))]
use std::path::Path;
use std::sync::Arc;

use domain::ports::Stores;

#[cfg(feature = "memory")]
use crate::adapters;
#[cfg(feature = "redis")]
use crate::adapters::redis::{exists as redis_exists, open as redis};
#[cfg(feature = "sqlite")]
use crate::adapters::sqlite::open as sqlite;
#[cfg(not(feature = "redis"))]
use crate::location::RedisUrl;
#[cfg(not(all(feature = "memory", feature = "redis", feature = "sqlite")))]
use crate::refused::Refused;
use crate::{
    handle::StoreHandle,
    location::Location,
    options::{Access, OpenOptions},
    refused::OpenError,
};

/// Opens the store at a [`Location`], such as `sqlite:/var/lib/events/events.db` or `redis://host`. Creates the store
/// if it does not exist.
///
/// # Errors
/// Returns [`OpenError`] when the text is not a location, when the program lacks the adapter, or when the store cannot
/// be opened.
pub async fn open(location: &str) -> Result<Arc<dyn Stores>, OpenError> {
    open_with(location, OpenOptions::default()).await
}

/// Opens a store as [`open`] does, with options.
///
/// # Errors
/// The same errors as [`open`].
pub async fn open_with(location: &str, options: OpenOptions) -> Result<Arc<dyn Stores>, OpenError> {
    let location = location.parse()?;
    open_store(&location, options, Access::Create).await.map(StoreHandle::into_ports)
}

/// Opens the store at a parsed location, with the given access.
///
/// # Errors
/// Returns [`OpenError`] when the program lacks the adapter, when the store does not exist and `access` does not create
/// it, or when the store cannot be opened.
pub async fn open_store(
    location: &Location,
    options: OpenOptions,
    access: Access,
) -> Result<StoreHandle, OpenError> {
    match location {
        Location::Memory => memory(options),
        Location::Sqlite { path, namespace } => {
            if access != Access::Create && !path.exists() {
                return Err(OpenError::Missing { location: location.clone() });
            }
            if path.is_dir() {
                return Err(OpenError::Folder { location: location.clone() });
            }
            sqlite(path, namespace, options, access).await.map_err(|refused| refused.at(location))
        }
        // The future holds connections to every kind of server. The box keeps it small for the caller.
        Location::Redis { url, namespace } => {
            let opening = Box::pin(redis(url, namespace, options, access));
            opening.await.map_err(|refused| refused.at(location))
        }
    }
}

/// Returns whether something exists at the location. It does not check that this is a store.
///
/// # Errors
/// Returns [`OpenError`] when the program lacks the adapter, or when the server does not answer.
pub async fn store_exists(location: &Location, options: OpenOptions) -> Result<bool, OpenError> {
    match location {
        Location::Memory => Ok(true),
        Location::Sqlite { path, .. } => Ok(path.exists()),
        Location::Redis { url, namespace } => {
            let asking = redis_exists(url, namespace, options);
            asking.await.map_err(|refused| refused.at(location))
        }
    }
}

#[cfg(feature = "memory")]
fn memory(options: OpenOptions) -> Result<StoreHandle, OpenError> {
    Ok(adapters::memory::open(options))
}

#[cfg(not(feature = "memory"))]
fn memory(_: OpenOptions) -> Result<StoreHandle, OpenError> {
    Err(Refused::Feature("memory").at(&Location::Memory))
}

#[cfg(not(feature = "sqlite"))]
async fn sqlite(_: &Path, _: &str, _: OpenOptions, _: Access) -> Result<StoreHandle, Refused> {
    Err(Refused::Feature("sqlite"))
}

#[cfg(not(feature = "redis"))]
async fn redis(_: &RedisUrl, _: &str, _: OpenOptions, _: Access) -> Result<StoreHandle, Refused> {
    Err(Refused::Feature("redis"))
}

#[cfg(not(feature = "redis"))]
async fn redis_exists(_: &RedisUrl, _: &str, _: OpenOptions) -> Result<bool, Refused> {
    Err(Refused::Feature("redis"))
}
