//! The front door: publish, subscribe, replay and recover, with one dependency.
//!
//! There is one log. What is published is validated and appended to it; consumer groups read it, each at its own place; a
//! replay sends a slice of it to groups once more. This crate brings together what a service needs for that, and adds
//! little of its own: opening a store by its name, and settings from the environment.
//!
//! | you want to | use |
//! |---|---|
//! | open a store | [`open()`], [`Location`] |
//! | publish and subscribe | [`Bus`], [`BusSettings`], [`handler`], [`EventHandler`] |
//! | set it up as its operators say | [`settings_from_env`] |
//! | check events | `built_in_schemas`, `schemas_of` (feature `validation`) |
//! | replay, recover, mark places | [`replay_manager`], [`GroupReplayOptions`], [`JobRunner`] |
//! | send dead letters again | [`Redriver`] |
//! | keep a store in bounds | [`Housekeeper`] |
//! | test a service | the feature `memory`, [`RuntimeClock`], [`until_idle`] |
//!
//! | feature | brings |
//! |---|---|
//! | `sqlite` (default) | stores in a file: `sqlite:PATH` |
//! | `validation` (default) | JSON Schema, with the built-in schemas |
//! | `redis` | stores on Redis: `redis://HOST`, `redis+sentinel://HOST,…?master=NAME`, `redis+cluster://HOST,…`; with `rediss` for TLS |
//! | `memory` | stores in memory: `memory:` |
//! | `targets` | handlers that pass events on: to a command, an HTTP endpoint, lines of JSON |
//! | `conditions` | filters on the content of events |
//! | `app` | what operators do with a store, and settings from files: what the command line maps its flags to |
//!
//! A service, whole:
//!
//! ```
//! # #[cfg(all(feature = "memory", feature = "validation"))]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use event_replay::prelude::*;
//!
//! let bus = Bus::builder(open("memory:").await?).validator(built_in_schemas()).build().await?;
//! let (welcomes, mut welcomed) = tokio::sync::mpsc::unbounded_channel();
//! let welcome = handler(move |delivery: &Delivery| {
//!     let sent = welcomes.send(delivery.stored.event.id().to_owned());
//!     async move { Ok(sent?) }
//! });
//! let mailer = bus.subscribe("mailer").on("user.registered", welcome).start().await?;
//! bus.publish(br#"{"id":"evt-1","type":"user.registered","version":"1.0","timestamp":"2024-01-15T10:30:00Z",
//!     "source":"user-service","userId":"user-123","metadata":{},
//!     "data":{"email":"ann@example.com","registrationMethod":"email"}}"#).await?;
//! assert_eq!(welcomed.recv().await.as_deref(), Some("evt-1"));
//! mailer.stop().await?;
//! bus.close().await;
//! # Ok(()) }
//! # #[cfg(not(all(feature = "memory", feature = "validation")))] fn main() {}
//! ```
//!
//! The programs in `examples/` show more: a publisher with a schema of its own, an error handler, a recovery. What a
//! handler may rely on is in `docs/delivery.md`.

mod adapters;
#[cfg(feature = "app")]
pub mod app;
#[cfg(feature = "app")]
mod check;
mod clock;
mod handle;
mod idle;
mod location;
mod manager;
mod open;
mod options;
pub mod prelude;
mod refused;
#[cfg(feature = "validation")]
mod schemas;
mod settings;
pub mod text;

pub use async_trait::async_trait;
pub use bus::{
    Bus, BusBuilder, BusError, BusSettings, Consumer, ConsumerError, ConsumerState, Outage, PublishError,
    PublishOptions, PublishSettings, Published, Publisher, Rejection, StartAt, Subscription, UnknownTypes,
    error_scope, handler,
};
pub use domain::{
    self, Backoff, Checkpoint, Condition, Cursor, DeadLetter, DeadLetterState, Delivery, DeliveryOrigin,
    Entity, Event, Filter, HandlerError, Limits, Position, Priority, RetentionRule, RetryPolicy, StoredEvent,
    TypePattern, Violation,
    group::{GroupKey, GroupSpec, GroupStatus},
    ports::{Clock, EventHandler, EventValidator, Keeps, Stores, SystemClock},
};
pub use jiff::Timestamp;
pub use replay::{
    self, Cancel, DryRun, GroupReplayOptions, Housekeeper, HousekeepingOptions, JobHost, JobRunner, Pace,
    Plan, PlanRequest, Redriver, ReplayError, ReplayManager, ReplayReport, ReplayStatus,
};
pub use stats;

#[cfg(feature = "conditions")]
pub use conditions;
#[cfg(feature = "memory")]
pub use storage_memory as memory;
#[cfg(feature = "redis")]
pub use storage_redis as redis;
#[cfg(feature = "sqlite")]
pub use storage_sqlite as sqlite;
#[doc(no_inline)]
pub use store::Store;
#[cfg(feature = "targets")]
pub use targets;
#[cfg(feature = "validation")]
pub use validation;

pub use clock::RuntimeClock;
pub use handle::StoreHandle;
pub use idle::{IdleError, until_idle};
pub use location::{BadLocation, Location, RedisUrl};
pub use manager::replay_manager;
pub use open::{open, open_store, open_with, store_exists};
pub use options::{Access, OpenOptions, RedisAccess, RedisCopies};
pub use refused::OpenError;
#[cfg(feature = "validation")]
pub use schemas::{built_in_schemas, schemas_of};
#[cfg(feature = "app")]
pub use settings::{
    EventStoreSetting, Misspelt, RedisSettings, STORE_FLAG, Settings, SettingsError, Shown, StoreLocation,
    data_folder, has_password, misspelt_variables, partitions, secret_variables, unknown_types,
};
pub use settings::{SettingError, redis_access_from_env, settings_from, settings_from_env};
