//! Opening the store that the settings name.

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

/// Why the store that the settings name was not opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It could not be opened.
    #[error("{}", not_opened(store, error))]
    Open {
        /// Where it is, and who said so.
        store: StoreLocation,
        /// Why.
        error: OpenError,
    },
    /// The settings do not say how.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// It keeps something else than the settings ask for.
    #[error(
        "{store} {}, and event_store.enabled is {} (from {origin}); this is frozen when a namespace is made, and nothing \
         was changed",
        kept(*keeps),
        *keeps != RetentionMode::History
    )]
    RetentionModeDiffers {
        /// Where it is.
        store: StoreLocation,
        /// What it keeps.
        keeps: RetentionMode,
        /// Who asks for something else.
        origin: String,
    },
    /// It does not say what it keeps.
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

/// Opens the store that the settings name.
///
/// # Errors
/// When it is not there, cannot be opened, or is to be published to and keeps something else than the settings ask for.
pub async fn open_store(settings: &Settings, access: Access) -> Result<StoreHandle, StoreError> {
    let options = settings.open_options()?;
    let opened = open::open_store(settings.store.location(), options, access).await;
    let store = opened.map_err(|error| StoreError::Open { store: settings.store.clone(), error })?;
    if access == Access::Create {
        must_keep(&store, settings).await?;
    }
    Ok(store)
}

/// Whether there is something to open. Says nothing about whether it is a store.
///
/// # Errors
/// When a server does not answer.
pub async fn store_exists(settings: &Settings) -> Result<bool, StoreError> {
    let exists = open::store_exists(settings.store.location(), settings.open_options()?).await;
    exists.map_err(|error| StoreError::Open { store: settings.store.clone(), error })
}

/// How long a store that is only looked at for its frozen settings may take to answer.
const GLANCE: Duration = Duration::from_secs(2);

/// A setting that was frozen when the store was made, whatever the settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Its name.
    pub key: &'static str,
    /// What it is in the store.
    pub value: String,
}

/// The settings that are frozen in the store that the settings name. None where it is not there, or does not answer soon.
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

/// Opens the store that the settings name to bring something into it, and makes it where there is none. A dry run makes none: it
/// reads the one that is there, or else an empty one in memory.
///
/// # Errors
/// As [`open_store`].
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

/// The time by which the application goes.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// What a namespace keeps is frozen when it is made: a publisher with another setting must be told.
async fn must_keep(store: &StoreHandle, settings: &Settings) -> Result<(), StoreError> {
    let Some(wanted) = settings.event_store.asked_for() else { return Ok(()) };
    let keeps = store.info().await?.keeps;
    if keeps == wanted {
        return Ok(());
    }
    let origin = settings.event_store.origin().to_owned();
    Err(StoreError::RetentionModeDiffers { store: settings.store.clone(), keeps, origin })
}
