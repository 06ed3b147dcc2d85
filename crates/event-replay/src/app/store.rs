//! Opens the store of the settings.

use std::{sync::Arc, time::Duration};

use domain::ports::{Clock, EventStoreError, RetentionMode, SystemClock};
use thiserror::Error;

use crate::{
    handle::StoreHandle,
    open,
    options::Access,
    refused::OpenError,
    settings::{Settings, SettingsError, StoreLocation},
};

/// The reason for which the store of the settings was not opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store could not be opened.
    #[error("{}", not_opened(store, error))]
    Open {
        /// The location of the store, and its origin.
        store: StoreLocation,
        /// The error.
        error: OpenError,
    },
    /// The settings for the store could not be read.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The store has another retention mode than the settings request.
    #[error(
        "{store} {}, and event_store.enabled is {} (from {origin}); this is frozen when a namespace is made, and nothing \
         was changed",
        kept(*keeps),
        *keeps != RetentionMode::History
    )]
    RetentionModeDiffers {
        /// The location of the store.
        store: StoreLocation,
        /// The mode of the store.
        keeps: RetentionMode,
        /// The origin of the setting.
        origin: String,
    },
    /// The store does not report its mode.
    #[error(transparent)]
    Events(#[from] EventStoreError),
}

fn not_opened(store: &StoreLocation, error: &OpenError) -> String {
    match error {
        OpenError::Missing { .. } => format!("there is no store at {store} (from {})", store.origin()),
        OpenError::Storage { failure, .. } => format!("store {store}: {failure}"),
        other => other.to_string(),
    }
}

fn kept(keeps: RetentionMode) -> &'static str {
    match keeps {
        RetentionMode::History => "keeps every event",
        RetentionMode::UntilDelivered => "keeps events only until they are delivered",
    }
}

/// Opens the store of the settings.
///
/// # Errors
/// Returns [`StoreError`] when the store does not exist or cannot be opened. With [`Access::Create`], also returns it
/// when the store has another retention mode than the settings request.
pub async fn open_store(settings: &Settings, access: Access) -> Result<StoreHandle, StoreError> {
    let options = settings.open_options()?;
    let opened = open::open_store(settings.store.location(), options, access).await;
    let store = opened.map_err(|error| StoreError::Open { store: settings.store.clone(), error })?;
    if access == Access::Create {
        must_keep(&store, settings).await?;
    }
    Ok(store)
}

/// Returns whether something exists at the location of the store. It does not check that this is a store.
///
/// # Errors
/// Returns [`StoreError`] when a server does not answer.
pub async fn store_exists(settings: &Settings) -> Result<bool, StoreError> {
    let exists = open::store_exists(settings.store.location(), settings.open_options()?).await;
    exists.map_err(|error| StoreError::Open { store: settings.store.clone(), error })
}

/// The time limit for reading the frozen settings of a store.
const GLANCE: Duration = Duration::from_secs(2);

/// A setting that was frozen when the store was created. The current settings cannot change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// The name of the setting.
    pub key: &'static str,
    /// Its value in the store.
    pub value: String,
}

/// Returns the frozen settings of the store. The result is empty if the store does not exist or does not answer within
/// 2 s.
pub async fn frozen_settings(settings: &Settings) -> Vec<Frozen> {
    let look = async {
        let store = open_store(settings, Access::Read).await.ok()?;
        let info = store.info().await.ok();
        store.close().await;
        info
    };
    let Ok(Some(info)) = tokio::time::timeout(GLANCE, look).await else { return Vec::new() };
    let keeps =
        Frozen { key: "event_store.enabled", value: (info.keeps == RetentionMode::History).to_string() };
    let partitions = Frozen { key: "redis.partitions", value: info.head.sequences.len().to_string() };
    let is_redis = settings.store.is_redis();
    [Some(keeps), is_redis.then_some(partitions)].into_iter().flatten().collect()
}

/// Opens the store of the settings for an import, and creates it if it does not exist. A dry run creates no store. It
/// reads the existing store, or else an empty store in memory.
///
/// # Errors
/// The same errors as [`open_store`].
pub async fn open_target(settings: &Settings, dry_run: bool) -> Result<StoreHandle, StoreError> {
    if !dry_run {
        return open_store(settings, Access::Create).await;
    }
    if store_exists(settings).await? {
        return open_store(settings, Access::Read).await;
    }
    let memory = settings.for_store(StoreLocation::in_memory("--dry-run"));
    open_store(&memory, Access::Create).await
}

/// Returns the clock of the operations: the system clock.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// Returns an error if the settings request another retention mode. The mode is frozen when the namespace is created,
/// so its publisher must learn of the difference.
async fn must_keep(store: &StoreHandle, settings: &Settings) -> Result<(), StoreError> {
    let Some(wanted) = settings.event_store.asked_for() else { return Ok(()) };
    let keeps = store.info().await?.keeps;
    if keeps == wanted {
        return Ok(());
    }
    let origin = settings.event_store.origin().to_owned();
    Err(StoreError::RetentionModeDiffers { store: settings.store.clone(), keeps, origin })
}
