//! A service: typed events, plain functions as handlers, and the operations of its groups, in a few lines.
//!
//! A [`Service`] declares its events, its consumer groups and its state. [`Service::start`] returns a
//! [`RunningService`]. The running service emits events, consumes until it is stopped, replays history into its groups,
//! and reports their health. This module is a layer over [`Bus`]. Use [`Bus`] for the functions that this layer lacks.
//!
//! | module | content |
//! |---|---|
//! | `typed`, `payload` | conversion between values and events |
//! | `handler`, `context`, `outcome` | functions as handlers, their context, their results |
//! | `batch` | functions that handle several events in one call |
//! | `deliveries` | the events of a group as a stream |
//! | `history` | the events that a decision was based on, and the expectation that no later event matches |
//! | `emit`, `ids` | the emission of events, and the ids of events that handlers emit |
//! | `group` | a group: handlers and settings |
//! | `schemas` | the schemas that a service adds to its store |
//! | `running`, `signal` | start, run, stop |
//! | `operations`, `status` | replays, recoveries, dead letters; health and counters |
//! | `lag_gauges` | the lag of each group, as a gauge of the `metrics` facade |

mod batch;
mod context;
mod deliveries;
mod emit;
mod error;
mod group;
mod handler;
mod history;
mod ids;
mod lag_gauges;
mod operations;
mod outcome;
mod payload;
mod running;
mod schemas;
mod shared;
mod signal;
mod status;
mod typed;

use std::{fmt, sync::Arc};

use bus::{Bus, BusSettings, RuntimeClock};
use domain::{
    UpcastersBuilder,
    ports::{Clock, Stores},
};
use replay::Cancel;
use serde_json::Value;

pub use self::{
    batch::{Batch, BatchItem},
    context::Context,
    deliveries::{TypedDeliveries, TypedDelivery},
    emit::{Emit, EmitError},
    error::ServiceError,
    group::Group,
    handler::Handler,
    history::History,
    operations::{DeadLetters, Replay},
    outcome::{Result, ResultExt, permanent, retry_after},
    payload::{DecodeError, Payload},
    running::RunningService,
    schemas::schema_record,
    signal::shutdown_signal,
    status::{GroupHealth, ServiceHealth},
    typed::{EncodeError, EntityField, IntoEvent, TypedEvent},
};
use self::{schemas::OwnSchemas, shared::Core};

/// The definition of a service: its name, the events that it owns, its consumer groups, and the state that its handlers
/// share.
///
/// ```
/// # #[cfg(all(feature = "derive", feature = "memory"))]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Mutex;
/// use event_replay::prelude::*;
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize, JsonSchema)]
/// #[event("order.placed")]
/// struct OrderPlaced {
///     #[entity(key)]
///     user_id: String,
///     cents: u64,
/// }
///
/// #[derive(Default)]
/// struct Shop {
///     revenue: Mutex<u64>,
/// }
///
/// async fn count(order: OrderPlaced, cx: Context<Shop>) -> Result {
///     *cx.state().revenue.lock().map_err(|_| permanent("the figures are broken"))? += order.cents;
///     Ok(())
/// }
///
/// let service = Service::new("shop", open("memory:").await?, Shop::default())
///     .event::<OrderPlaced>()
///     .group("figures", |g| g.on(count).max_retries(5))
///     .start()
///     .await?;
/// service.emit(OrderPlaced { user_id: "ann".into(), cents: 500 }).correlation("wf-7").await?;
/// service.settle().await?;
/// assert_eq!(*service.state().revenue.lock().unwrap(), 500);
/// service.stop().await?;
/// # Ok(()) }
/// # #[cfg(not(all(feature = "derive", feature = "memory")))] fn main() {}
/// ```
#[must_use = "a service does nothing until it is started"]
pub struct Service<S> {
    name: String,
    store: Arc<dyn Stores>,
    state: S,
    clock: Arc<dyn Clock>,
    settings: BusSettings,
    hosts_replays: bool,
    events: OwnSchemas,
    upcasters: UpcastersBuilder,
    groups: Vec<Group<S>>,
}

impl<S: fmt::Debug> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("state", &self.state)
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}

impl<S: Send + Sync + 'static> Service<S> {
    /// Defines a service with this name over a store. All handlers share the state. The name is the source of the
    /// events that the service emits.
    pub fn new(name: impl Into<String>, store: Arc<dyn Stores>, state: S) -> Self {
        Self {
            name: name.into(),
            store,
            state,
            clock: Arc::new(RuntimeClock::default()),
            settings: BusSettings::default(),
            hosts_replays: true,
            events: OwnSchemas::default(),
            upcasters: UpcastersBuilder::default(),
            groups: Vec::new(),
        }
    }

    /// Declares that the service owns an event type. At its start the service stores the schema of the type. Every
    /// other publisher, including the command line, then validates events of the type by this schema.
    pub fn event<T: TypedEvent>(mut self) -> Self {
        self.events.add::<T>();
        self
    }

    /// Adds an upcaster: it transforms the `data` of events of a type from one version to the next. Handlers, replays and
    /// [`History::values`] then get events of the later version. The stored events stay as they are. Upcasters of one
    /// type form a chain, such as 1.0 to 1.1 and 1.1 to 2.0. An event that cannot be upcast becomes a dead letter at once.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// use event_replay::prelude::*;
    /// use serde_json::{Value, json};
    ///
    /// let service = Service::new("shop", open("memory:").await?, ())
    ///     .upcast("order.placed", "1.0", "2.0", |data: Value| -> Result<Value, String> {
    ///         let cents = data["cents"].as_u64().ok_or("the order has no amount in cents")?;
    ///         Ok(json!({ "amount": { "cents": cents, "currency": "EUR" } }))
    ///     })
    ///     .start()
    ///     .await?;
    /// # service.stop().await?;
    /// # Ok(()) }
    /// # #[cfg(not(feature = "memory"))] fn main() {}
    /// ```
    pub fn upcast<E: fmt::Display>(
        mut self,
        event_type: impl Into<String>,
        from: impl Into<String>,
        to: impl Into<String>,
        transform: impl Fn(Value) -> std::result::Result<Value, E> + Send + Sync + 'static,
    ) -> Self {
        self.upcasters = self.upcasters.data(event_type, from, to, transform);
        self
    }

    /// Adds an upcaster of whole events, as [`Service::upcast`] does for their `data`. It may also change other members,
    /// such as entities. It must keep the id, the type and the timestamp.
    pub fn upcast_event<E: fmt::Display>(
        mut self,
        event_type: impl Into<String>,
        from: impl Into<String>,
        to: impl Into<String>,
        transform: impl Fn(Value) -> std::result::Result<Value, E> + Send + Sync + 'static,
    ) -> Self {
        self.upcasters = self.upcasters.event(event_type, from, to, transform);
        self
    }

    /// Adds a consumer group.
    pub fn group(mut self, name: impl Into<String>, define: impl FnOnce(Group<S>) -> Group<S>) -> Self {
        self.groups.push(define(Group::new(name.into())));
        self
    }

    /// Sets how the service publishes and consumes. [`settings_from_env`](crate::settings_from_env) reads such
    /// settings.
    pub fn settings(mut self, settings: BusSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the clock. The default is a [`RuntimeClock`]. The clock should be the clock of the store.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets whether the service runs replays into its groups that wait for a runner. The default is `true`.
    pub fn host_replays(mut self, hosts: bool) -> Self {
        self.hosts_replays = hosts;
        self
    }

    /// Starts the service. It stores the schemas, creates the groups that do not exist, and begins to consume.
    ///
    /// # Errors
    /// Returns [`ServiceError`] when two groups have one name, when a schema or a setting is not valid, or when the set
    /// of upcasters is not valid. Also returns it when a group exists with another ordering, or when the store fails.
    /// After an error, the groups that had started are stopped.
    pub async fn start(self) -> std::result::Result<RunningService<S>, ServiceError> {
        let Self { name, store, state, clock, settings, hosts_replays, events, upcasters, groups } = self;
        check_names(&name, &groups)?;
        let upcasters = Arc::new(upcasters.build()?);
        let validator = events.register(&store, &*clock).await?;
        let bus = Bus::builder(store).validator(validator).upcaster(upcasters).clock(clock);
        let bus = bus.settings(settings).build().await?;
        let core = Core { name, state: Arc::new(state), bus, stopping: Cancel::default() };
        RunningService::start(Arc::new(core), groups, hosts_replays).await
    }
}

fn check_names<S>(name: &str, groups: &[Group<S>]) -> std::result::Result<(), ServiceError> {
    if name.is_empty() || name.len() > 128 {
        return Err(ServiceError::Invalid("a service's name has 1 to 128 bytes".to_owned()));
    }
    for (at, group) in groups.iter().enumerate() {
        if groups.iter().take(at).any(|other| other.name == group.name) {
            return Err(ServiceError::Invalid(format!(
                "two groups of the service are named {:?}",
                group.name
            )));
        }
    }
    Ok(())
}
