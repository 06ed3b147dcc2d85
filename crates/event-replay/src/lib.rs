//! The front door: publish, subscribe, replay and recover, with one dependency.
//!
//! There is one log. What is published is validated and appended to it; consumer groups read it, each at its own place; a
//! replay sends a slice of it to groups once more. This crate brings together what a service needs for that, and adds
//! little of its own: opening a store by its name, and settings from the environment.
//!
//! | you want to | use |
//! |---|---|
//! | write a service: typed events, functions as handlers, replays of its groups | [`Service`], [`RunningService`], `derive(Event)` |
//! | test a service | `testing` (feature `memory`), [`RuntimeClock`], [`until_idle`] |
//! | open a store | [`open()`], [`Location`] |
//! | publish and subscribe by the event's bytes | [`Bus`], [`BusSettings`], [`handler`], [`EventHandler`] |
//! | set it up as its operators say | [`settings_from_env`] |
//! | check events | `built_in_schemas`, `schemas_of` (feature `validation`) |
//! | replay, recover, mark places | [`replay_manager`], [`GroupReplayOptions`], [`JobRunner`] |
//! | send dead letters again | [`Redriver`] |
//! | keep a store in bounds | [`Housekeeper`] |
//!
//! | feature | brings |
//! |---|---|
//! | `derive` (default) | typed events: `#[derive(Event)]`, `#[derive(Events)]` |
//! | `sqlite` (default) | stores in a file: `sqlite:PATH` |
//! | `validation` (default) | JSON Schema, with the built-in schemas |
//! | `redis` | stores on Redis: `redis://HOST`, `redis+sentinel://HOST,…?master=NAME`, `redis+cluster://HOST,…`; with `rediss` for TLS |
//! | `memory` | stores in memory: `memory:`; the test kit |
//! | `targets` | handlers that pass events on: to a command, an HTTP endpoint, lines of JSON |
//! | `conditions` | filters on the content of events |
//! | `app` | what operators do with a store, and settings from files: what the command line maps its flags to |
//!
//! [`Service`] has an example of a whole service, and [`Bus`] one of what is beneath. `docs/rust.md` answers how each task of a service is
//! done.
//!
//! The programs in `examples/` show more: a service, a publisher with a schema of its own, an error handler, a recovery. What a
//! handler may rely on is in `docs/delivery.md`.

mod adapters;
#[cfg(feature = "app")]
pub mod app;
#[cfg(feature = "app")]
mod check;
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
pub mod service;
mod settings;
#[cfg(feature = "memory")]
pub mod testing;
pub mod text;

pub use async_trait::async_trait;
pub use bus::{
    Bus, BusBuilder, BusError, BusSettings, Consumer, ConsumerError, ConsumerState, Outage, PublishError,
    PublishOptions, PublishSettings, Published, Publisher, Rejection, RuntimeClock, SameEvent, StartAt,
    Subscription, UnknownTypes, error_scope, handler, trace,
};
pub use domain::{
    self, Backoff, Checkpoint, Condition, Cursor, DeadLetter, DeadLetterState, Delivery, DeliveryOrigin,
    Entity, Event, Expectation, Filter, HandlerError, Limits, NewEvent, Position, Priority, RetentionRule,
    RetryPolicy, StoredEvent, TypePattern, UnexpectedEvent, Violation,
    group::{GroupKey, GroupSpec, GroupStatus},
    ports::{Clock, EventHandler, EventValidator, RetentionMode, Stores, SystemClock},
};
pub use jiff::Timestamp;
pub use replay::{
    self, AutoPause, Cancel, DryRun, FailureLimit, GroupChoice, GroupReplayOptions, Housekeeper, HousekeepingOptions, JobHost,
    JobRunner, Pace, Plan, PlanRequest, Redriver, ReplayError, ReplayManager, ReplayReport, ReplayStatus,
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

#[cfg(feature = "derive")]
pub use event_replay_derive::{Event, Events};
pub use handle::StoreHandle;
pub use idle::{IdleError, until_idle};
pub use location::{BadLocation, Location, RedisUrl};
pub use manager::replay_manager;
pub use open::{open, open_store, open_with, store_exists};
pub use options::{Access, OpenOptions, RedisAccess, RedisCopies};
pub use refused::OpenError;
#[cfg(feature = "validation")]
pub use schemas::{built_in_schemas, schemas_of};
pub use service::{
    Context, DecodeError, Emit, EmitError, EncodeError, EntityField, Group, Handler, History, IntoEvent,
    Payload, Result, ResultExt, RunningService, Service, ServiceError, TypedEvent, permanent, retry_after,
    shutdown_signal,
};
#[cfg(feature = "app")]
pub use settings::{
    Contexts, EventStoreSetting, Misspelt, NamedStore, PlanSettings, RedisSettings, STORE_FLAG, Settings,
    SettingsError, SettingsRequest, Shown, StoreLocation, data_folder, has_password, misspelt_variables,
    partitions, secret_variables, unknown_types,
};
pub use settings::{SettingError, redis_access_from_env, settings_from, settings_from_env};

/// What the derive macros name. Not for other use.
#[doc(hidden)]
pub mod __private {
    pub use serde_json::Value;

    /// The JSON Schema of a Rust type, as what reads it wants it.
    #[cfg(feature = "derive")]
    pub fn schema_of<T: schemars::JsonSchema>() -> Value {
        schemars::generate::SchemaSettings::draft2020_12()
            .into_generator()
            .into_root_schema_for::<T>()
            .to_value()
    }
}
