//! Settings. Without the feature `app` they are the settings of a bus from its environment. With `app` they also come
//! from flags and from `event-replay.toml`. One table lists every setting with its environment variables.

#[cfg(feature = "app")]
mod contexts;
mod environment;
#[cfg(feature = "app")]
mod error;
#[cfg(feature = "app")]
mod event_store;
mod keys;
#[cfg(feature = "app")]
mod layers;
#[cfg(feature = "app")]
mod misspelt;
#[cfg(feature = "app")]
mod origin;
mod password;
#[cfg(feature = "app")]
mod plans;
#[cfg(feature = "app")]
mod redis;
#[cfg(feature = "app")]
mod resolved;
#[cfg(feature = "app")]
mod secrets;
#[cfg(feature = "app")]
mod store_location;
#[cfg(feature = "app")]
mod upcasters;
#[cfg(feature = "app")]
mod values;

pub use environment::{SettingError, redis_access_from_env, settings_from, settings_from_env};
#[cfg(feature = "app")]
pub use {
    contexts::{Contexts, NamedStore},
    error::SettingsError,
    event_store::EventStoreSetting,
    misspelt::{Misspelt, misspelt_variables},
    origin::STORE_FLAG,
    plans::PlanSettings,
    redis::{RedisSettings, partitions},
    resolved::{Settings, SettingsRequest, Shown},
    secrets::{has_password, secret_variables},
    store_location::{StoreLocation, data_folder},
    upcasters::UpcasterFolder,
    values::unknown_types,
};
