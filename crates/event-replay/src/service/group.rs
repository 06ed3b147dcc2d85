//! A consumer group of a service: its handlers and its settings.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bus::{BatchLimits, StartAt, Subscription};
use domain::{Backoff, Event, HandlerError, group::GroupKey, ports::EventHandler};

use super::{
    batch::{self, Batch},
    handler::{Handler, Route},
    payload::Payload,
};

type Setting = Box<dyn FnOnce(Subscription) -> Subscription + Send>;
/// Wraps a handler into a layer.
type Wrap = Box<dyn Fn(Arc<dyn EventHandler>) -> Arc<dyn EventHandler> + Send + Sync>;

/// The definition of a consumer group of a service. `docs/delivery.md` states the guarantees for handlers.
#[must_use = "a group that is not returned to its service handles nothing"]
pub struct Group<S> {
    pub(crate) name: String,
    pub(crate) routes: Vec<Route<S>>,
    /// The layers around each handler, the innermost first.
    pub(crate) layers: Vec<Wrap>,
    pub(crate) settings: Vec<Setting>,
}

impl<S> std::fmt::Debug for Group<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.name)
            .field("types", &self.types())
            .finish_non_exhaustive()
    }
}

impl<S> Group<S> {
    pub(crate) fn new(name: String) -> Self {
        Self { name, routes: Vec::new(), layers: Vec::new(), settings: Vec::new() }
    }

    /// Returns the event types of its handlers. An empty set means all types.
    pub(crate) fn types(&self) -> BTreeSet<&str> {
        if self.routes.iter().any(|route| route.types.is_empty()) {
            return BTreeSet::new();
        }
        self.routes.iter().flat_map(|route| &route.types).map(String::as_str).collect()
    }
}

impl<S: Send + Sync + 'static> Group<S> {
    /// Adds a handler for the event types of its payload. If several handlers of the group match an event, each handles
    /// the event, in the order in which they were added. The delivery succeeds when all of them succeed.
    pub fn on<A: 'static>(self, handler: impl Handler<S, A>) -> Self {
        self.route(handler, true)
    }

    /// Adds a handler as [`Group::on`] does, but the handler gets no replayed event. Use it for effects that must not
    /// happen again when a read model is rebuilt, such as mail and payments. The handler gets redriven dead letters.
    pub fn on_live<A: 'static>(self, handler: impl Handler<S, A>) -> Self {
        self.route(handler, false)
    }

    fn route<A: 'static, H: Handler<S, A>>(mut self, handler: H, takes_replays: bool) -> Self {
        self.routes.push(Route::new(H::Payload::types(), handler, takes_replays));
        self
    }

    /// Adds a handler for events of every type. The handler gets the [`Event`].
    pub fn on_any<A: 'static>(self, handler: impl Handler<S, A, Payload = Event>) -> Self {
        self.route(handler, true)
    }

    /// Adds a handler for these event types or patterns, such as `payment.*`. The handler gets the [`Event`].
    pub fn on_types<A: 'static, T: Into<String>>(
        mut self,
        types: impl IntoIterator<Item = T>,
        handler: impl Handler<S, A, Payload = Event>,
    ) -> Self {
        let types = types.into_iter().map(Into::into).collect();
        self.routes.push(Route::new(types, handler, true));
        self
    }

    /// Adds a handler that handles up to `max` events in one call, such as in one transaction. The first event waits at
    /// most `wait` for further events. The events of a batch have different keys. [`Batch`] describes the results of a
    /// call.
    ///
    /// A call that fails as a whole, by an error, a panic or the time limit, fails each event of the batch. Each of them
    /// is tried again alone. An event is also alone at its last attempt, so a group without retries has no batches. If
    /// an event is taken back during a call, the call ends at its next `await`. It is repeated with the other events.
    ///
    /// The concurrency of the group must be at least `max`. The default rises to `max`. The wait is part of the time
    /// limit of an event, and must be shorter.
    ///
    /// ```
    /// # #[cfg(all(feature = "derive", feature = "memory"))]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// use std::{sync::Mutex, time::Duration};
    /// use event_replay::{Batch, prelude::*};
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
    /// type Rows = Mutex<Vec<u64>>;
    ///
    /// async fn insert(orders: Batch<OrderPlaced, Rows>) -> Result {
    ///     let mut rows = Vec::new();
    ///     for order in &orders {
    ///         match order.value().cents {
    ///             0 => order.fail(permanent("an order costs at least one cent")),
    ///             cents => rows.push(cents),
    ///         }
    ///     }
    ///     orders.state().lock().map_err(|_| "the table is broken")?.extend(rows);
    ///     Ok(())
    /// }
    ///
    /// let service = Service::new("shop", open("memory:").await?, Rows::default())
    ///     .event::<OrderPlaced>()
    ///     .group("rows", |g| g.on_batch(50, Duration::from_millis(100), insert))
    ///     .start()
    ///     .await?;
    /// for (user, cents) in [("ann", 500), ("bob", 0), ("eve", 700)] {
    ///     service.emit(OrderPlaced { user_id: user.into(), cents }).await?;
    /// }
    /// service.settle().await?;
    /// assert_eq!(service.state().lock().unwrap().iter().sum::<u64>(), 1_200);
    /// assert_eq!(service.dead_letters("rows").list().await?.len(), 1);
    /// service.stop().await?;
    /// # Ok(()) }
    /// # #[cfg(not(all(feature = "derive", feature = "memory")))] fn main() {}
    /// ```
    pub fn on_batch<T, F, R>(self, max: usize, wait: Duration, handler: F) -> Self
    where
        T: Payload,
        F: Fn(Batch<T, S>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.batch(BatchLimits { max, wait }, handler, true)
    }

    /// Adds a batch handler as [`Group::on_batch`] does, but the handler gets no replayed event: see [`Group::on_live`].
    pub fn on_batch_live<T, F, R>(self, max: usize, wait: Duration, handler: F) -> Self
    where
        T: Payload,
        F: Fn(Batch<T, S>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.batch(BatchLimits { max, wait }, handler, false)
    }

    fn batch<T, F, R>(mut self, limits: BatchLimits, handler: F, takes_replays: bool) -> Self
    where
        T: Payload,
        F: Fn(Batch<T, S>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.routes.push(batch::route(limits, handler, takes_replays));
        self.set(move |subscription| subscription.batch_limits(limits))
    }

    /// Adds a layer around each handler of the group, wherever the handler is added. The layer that was added last is
    /// the outermost: it gets a delivery first. An error of a layer, such as an expired time limit, is tried again.
    /// [`layers`](crate::layers) describes what a layer gets.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use event_replay::{Event, prelude::*};
    /// use tower::{limit::ConcurrencyLimitLayer, timeout::TimeoutLayer};
    ///
    /// async fn mail(event: Event) -> Result {
    ///     println!("mail about {}", event.id());
    ///     Ok(())
    /// }
    ///
    /// let service = Service::new("shop", open("memory:").await?, ())
    ///     .group("mailer", |g| {
    ///         g.on_types(["order.*"], mail)
    ///             .layer(TimeoutLayer::new(Duration::from_secs(2)))
    ///             .layer(ConcurrencyLimitLayer::new(4))
    ///     })
    ///     .start()
    ///     .await?;
    /// service.stop().await?;
    /// # Ok(()) }
    /// # #[cfg(not(feature = "memory"))] fn main() {}
    /// ```
    #[cfg(feature = "tower")]
    pub fn layer(mut self, layer: impl crate::layers::HandlerLayer) -> Self {
        self.layers.push(Box::new(move |handler| layer.around(handler)));
        self
    }

    fn set(mut self, setting: impl FnOnce(Subscription) -> Subscription + Send + 'static) -> Self {
        self.settings.push(Box::new(setting));
        self
    }

    /// Sets the number of retries after a failed delivery. The default is 3.
    pub fn max_retries(self, retries: u32) -> Self {
        self.set(move |subscription| subscription.max_retries(retries))
    }

    /// Sets the pauses between attempts.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.set(move |subscription| subscription.backoff(backoff))
    }

    /// Sets the time limit of each handler call. The default is 30 seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(move |subscription| subscription.timeout(timeout))
    }

    /// Sets the number of concurrent handlers, 1 to 64. The default is 16. Events of one key are always handled one at
    /// a time.
    pub fn concurrency(self, handlers: usize) -> Self {
        self.set(move |subscription| subscription.concurrency(handlers))
    }

    /// Sets the start position of a new group. The default is the head of the log.
    pub fn start_at(self, start: StartAt) -> Self {
        self.set(move |subscription| subscription.start_at(start))
    }

    /// Sets the ordering key of a new group.
    pub fn ordered_by(self, key: GroupKey) -> Self {
        self.set(move |subscription| subscription.ordered_by(key))
    }

    /// Sets the number of segments of a new group. At most this number of processes can share the work.
    pub fn segments(self, segments: u16) -> Self {
        self.set(move |subscription| subscription.segments(segments))
    }

    /// Sets whether a key waits behind its dead letter until the letter is redriven or discarded.
    pub fn park(self, park: bool) -> Self {
        self.set(move |subscription| subscription.park(park))
    }

    /// Sets the lease time. Other consumers take over the work of a dead process after this time. The default is 10
    /// seconds.
    pub fn lease(self, lease: Duration) -> Self {
        self.set(move |subscription| subscription.lease(lease))
    }

    /// Sets the time that running handlers have to end when the service stops. The default is 20 seconds.
    pub fn grace(self, grace: Duration) -> Self {
        self.set(move |subscription| subscription.grace(grace))
    }

    /// Sets the name of this process among the consumers of the group. The default is a generated name.
    pub fn consumer_name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.set(move |subscription| subscription.named(name))
    }
}
