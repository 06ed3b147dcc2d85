//! Making a store, and removing a namespace.

use domain::ports::{EventStoreError, StoreInfo};

use super::{
    error::{AppError, Conflict, InvalidRequest},
    store::{open_store, store_exists},
};
use crate::{adapters::Adapter, handle::StoreHandle, options::Access, settings::Settings};

/// A store that was made, or that was there.
#[derive(Debug, Clone)]
pub struct StoreCreated {
    /// What it says of itself.
    pub info: StoreInfo,
    /// Whether it is new.
    pub created: bool,
}

/// Makes the store that the settings name, divided into so many partitions if that is said.
///
/// # Errors
/// When such a store is not divided, one is there with another number of partitions, or it cannot be made.
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

/// Removes the namespace of a store on a server, with everything in it. A store that is a file, or in memory, stays.
///
/// # Errors
/// When the server does not do it.
pub async fn remove_namespace(store: StoreHandle) -> Result<(), AppError> {
    match store.into_adapter() {
        Adapter::Redis(server) => Ok(server.remove_namespace().await.map_err(EventStoreError::from)?),
        other => {
            other.close().await;
            Ok(())
        }
    }
}
