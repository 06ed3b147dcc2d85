//! The creation of a store, and the removal of a namespace.

use domain::ports::{EventStoreError, StoreInfo};

use super::{
    error::{AppError, Conflict, InvalidRequest},
    store::{open_store, store_exists},
};
use crate::{adapters::Adapter, handle::StoreHandle, options::Access, settings::Settings};

/// A store that was created, or that existed.
#[derive(Debug, Clone)]
pub struct StoreCreated {
    /// The information that the store returns about itself.
    pub info: StoreInfo,
    /// Whether the store is new.
    pub created: bool,
}

/// Creates the store in the settings, with the given number of partitions if one is set.
///
/// # Errors
/// Returns [`AppError`] when this kind of store has no partitions, when the store exists with another number of
/// partitions, or when it cannot be created.
pub async fn create_store(
    settings: &mut Settings,
    partitions: Option<u16>,
) -> Result<StoreCreated, AppError> {
    if let Some(wanted) = partitions {
        if wanted > 1 && !settings.store.is_redis() {
            return Err(InvalidRequest::NotDivided(settings.store.clone()).into());
        }
        settings.redis.partitions = Some(wanted);
    }
    let created = !store_exists(settings).await?;
    let store = open_store(settings, Access::Create).await?;
    let info = store.info().await?;
    store.close().await;
    let has = info.head.sequences.len();
    match partitions.filter(|wanted| usize::from(*wanted) != has) {
        None => Ok(StoreCreated { info, created }),
        Some(wanted) => {
            let store = settings.store.clone();
            Err(Conflict::PartitionsDiffer { store, partitions: has, wanted }.into())
        }
    }
}

/// Removes the namespace of a store on a Redis server, with all its content. A store in a file or in memory stays.
///
/// # Errors
/// Returns [`AppError`] when the server fails.
pub async fn remove_namespace(store: StoreHandle) -> Result<(), AppError> {
    match store.into_adapter() {
        Adapter::Redis(server) => Ok(server.remove_namespace().await.map_err(EventStoreError::from)?),
        other => {
            other.close().await;
            Ok(())
        }
    }
}
