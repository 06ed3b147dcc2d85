//! A service: typed events in, plain functions as handlers, and the operations of its groups, in a few lines.
//!
//! A [`Service`] says what a service is: the events it owns, its consumer groups, its state. Started, it is a [`RunningService`] that
//! emits events, runs until it is told to stop, replays history into its groups, and says how they are. It is a layer over
//! [`Bus`], which is there for what this does not have.
//!
//! | module | what is in it |
//! |---|---|
//! | `typed`, `payload` | values as events and back |
//! | `handler`, `context`, `outcome` | functions as handlers, what they know, what they answer |
//! | `history` | events that were read to decide on, and the expectation that none came since |
//! | `emit`, `ids` | events on their way to the log, and the ids of those that handlers emit |
//! | `group` | a group: handlers and settings |
//! | `schemas` | the schemas that a service brings into its store |
//! | `running`, `signal` | from the start to the stop |
//! | `operations`, `status` | replays, recoveries, dead letters; health and counters |

mod context;
mod emit;
mod error;
mod group;
mod handler;
mod history;
mod ids;
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
use domain::ports::{Clock, Stores};
use replay::Cancel;

pub use self::{
    context::Context,
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

/// A service in the making: what it is called, the events it owns, its consumer groups, and the state that its handlers share.
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
    /// A service of this name over a store. Handlers share the state; its events say the name as their source.
    pub fn new(name: impl Into<String>, store: Arc<dyn Stores>, state: S) -> Self {
        Self {
            name: name.into(),
            store,
            state,
            clock: Arc::new(RuntimeClock::default()),
            settings: BusSettings::default(),
            hosts_replays: true,
            events: OwnSchemas::default(),
            groups: Vec::new(),
        }
    }

    /// Owns the events of a type. When the service starts, the schema of the type is put into the store, so that every other publisher,
    /// the command line included, checks events of the type by it.
    pub fn event<T: TypedEvent>(mut self) -> Self {
        self.events.add::<T>();
        self
    }

    /// Adds a consumer group.
    pub fn group(mut self, name: impl Into<String>, define: impl FnOnce(Group<S>) -> Group<S>) -> Self {
        self.groups.push(define(Group::new(name.into())));
        self
    }

    /// How it publishes and consumes, such as [`settings_from_env`](crate::settings_from_env) says.
    pub fn settings(mut self, settings: BusSettings) -> Self {
        self.settings = settings;
        self
    }

    /// What says what time it is: a [`RuntimeClock`] where nothing else is said. It should be the store's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Whether it runs replays that wait for a runner and go to one of its groups; it does where nothing is said.
    pub fn host_replays(mut self, hosts: bool) -> Self {
        self.hosts_replays = hosts;
        self
    }

    /// Starts it: puts its schemas into the store, makes its groups where they are new, and begins to consume.
    ///
    /// # Errors
    /// When two groups have one name, a schema or setting makes no sense, a group exists with another ordering, or the store fails. What
    /// was started by then is stopped.
    pub async fn start(self) -> std::result::Result<RunningService<S>, ServiceError> {
        let Self { name, store, state, clock, settings, hosts_replays, events, groups } = self;
        check_names(&name, &groups)?;
        let validator = events.register(&store, &*clock).await?;
        let bus = Bus::builder(store).validator(validator).clock(clock).settings(settings).build().await?;
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
