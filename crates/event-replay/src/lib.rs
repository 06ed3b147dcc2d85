//! The public API: publish, subscribe, replay and recover, with one dependency.
//!
//! A namespace is one log. The bus validates each published event and appends it to the log. Consumer groups read the
//! log, each with its own cursor. A replay delivers a part of the log to groups again. This crate collects the parts
//! that a service needs for that work. It adds little code: it opens a store by its address, and reads settings from
//! the environment.
//!
//! | to | use |
//! |---|---|
//! | write a service with typed events and function handlers | [`Service`], [`RunningService`], `derive(Event)` |
//! | handle several events in one call, or in a loop | [`Group::on_batch`], [`RunningService::deliveries`] |
//! | test a service | `testing` (feature `memory`), [`RuntimeClock`], [`until_idle`] |
//! | open a store | [`open()`], [`Location`] |
//! | publish events as JSON bytes, and subscribe to them | [`Bus`], [`BusSettings`], [`handler`], [`EventHandler`] |
//! | read settings from the environment | [`settings_from_env`] |
//! | upcast stored events to later versions | [`Service::upcast`], [`Upcasters`] |
//! | validate events | `built_in_schemas`, `schemas_of` (feature `validation`) |
//! | replay, recover, create checkpoints | [`replay_manager`], [`GroupReplayOptions`], [`JobRunner`] |
//! | redrive dead letters | [`Redriver`] |
//! | apply retention | [`Housekeeper`] |
//!
//! | feature | adds |
//! |---|---|
//! | `derive` (default) | typed events: `#[derive(Event)]`, `#[derive(Events)]` |
//! | `sqlite` (default) | stores in a file: `sqlite:PATH` |
//! | `validation` (default) | JSON Schema, with the built-in schemas |
//! | `redis` | stores on Redis, also with sentinels or as a cluster, with or without TLS: see [`Location`] |
//! | `memory` | stores in memory: `memory:`; the test kit |
//! | `targets` | handlers that send events to a command, to an HTTP endpoint, or to standard output as lines of JSON |
//! | `conditions` | filters on the content of events |
//! | `tower` | tower layers around handlers: `layers`, `Group::layer` |
//! | `app` | operations on a store, and settings from files: the command line maps its flags to them |
//!
//! [`Service`] has an example of a whole service. [`Bus`] has an example of the layer below. `docs/rust.md` shows how
//! to do each task of a service.
//!
//! The programs in `examples/` show more: a service, a publisher with its own schema, an error handler, and a recovery.
//! `docs/delivery.md` states the guarantees for handlers.

mod adapters;
#[cfg(feature = "app")]
pub mod app;
#[cfg(feature = "app")]
mod check;
mod handle;
mod idle;
mod lag;
#[cfg(feature = "tower")]
pub mod layers;
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
    BatchHandler, BatchLimits, Bus, BusBuilder, BusError, BusSettings, Consumer, ConsumerError,
    ConsumerState, Deliveries, DeliveryBatch, DeliveryExpired, InFlightDelivery, Outage, PublishError,
    PublishOptions, PublishSettings, Published, Publisher, Rejection, RuntimeClock, SameEvent, StartAt,
    Subscription, UnknownTypes, error_scope, handler, trace,
};
pub use domain::{
    self, Backoff, Checkpoint, Condition, Cursor, DeadLetter, DeadLetterState, Delivery, DeliveryOrigin,
    Entity, Event, Expectation, Filter, HandlerError, Limits, NewEvent, Position, Priority, RetentionRule,
    RetryPolicy, StoredEvent, TypePattern, UnexpectedEvent, UpcastError, Upcasters, UpcastersBuilder,
    UpcastersError, Violation,
    group::{GroupKey, GroupSpec, GroupStatus},
    ports::{Clock, EventHandler, EventUpcaster, EventValidator, RetentionMode, Stores, SystemClock},
};
pub use jiff::Timestamp;
pub use replay::{
    self, AutoPause, Cancel, DryRun, FailureLimit, GroupChoice, GroupReplayOptions, Housekeeper,
    HousekeepingOptions, JobHost, JobRunner, Pace, Plan, PlanRequest, Redriver, ReplayError, ReplayManager,
    ReplayReport, ReplayStatus,
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
    Batch, BatchItem, Context, DecodeError, Emit, EmitError, EncodeError, EntityField, Group, Handler,
    History, IntoEvent, Payload, Result, ResultExt, RunningService, Service, ServiceError, TypedDeliveries,
    TypedDelivery, TypedEvent, permanent, retry_after, shutdown_signal,
};
#[cfg(feature = "app")]
pub use settings::{
    Contexts, EventStoreSetting, Misspelt, NamedStore, PlanSettings, RedisSettings, STORE_FLAG, Settings,
    SettingsError, SettingsRequest, Shown, StoreLocation, UpcasterFolder, data_folder, has_password,
    misspelt_variables, partitions, secret_variables, unknown_types,
};
pub use settings::{SettingError, redis_access_from_env, settings_from, settings_from_env};

/// Items that the derive macros name. They are not a public API.
#[doc(hidden)]
pub mod __private {
    pub use serde_json::Value;

    /// Returns the JSON Schema of a Rust type, in draft 2020-12.
    #[cfg(feature = "derive")]
    pub fn schema_of<T: schemars::JsonSchema>() -> Value {
        schemars::generate::SchemaSettings::draft2020_12()
            .into_generator()
            .into_root_schema_for::<T>()
            .to_value()
    }
}
