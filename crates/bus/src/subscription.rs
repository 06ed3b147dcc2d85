//! A subscription: the settings and handlers of a consumer that is not yet started.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Backoff, Delivery, HandlerError, TypePattern,
    group::{GroupKey, GroupSpec, MAX_SEGMENTS},
    ports::{EventHandler, MadeGroup},
};
use tokio::sync::watch;

use crate::{
    batches::{BatchHandler, BatchLimits, batched},
    builder::BusError,
    bus::Bus,
    consumer::{
        Actor, BreakerSettings, Consumer, ConsumerSettings, ConsumerState, MAX_CONCURRENCY, Route, Router,
        Rules, Stopping,
    },
    deliveries::Deliveries,
    pool::{DeliveryPool, LONGEST},
    start::{StartAt, mark_of},
};

/// The time that the handlers of a pool have to end after a stop. It is short, because receivers have had time to settle
/// before.
const POOL_GRACE: Duration = Duration::from_millis(100);
const NO_TIME: &str = "a handler needs time, and a lease at least 100 milliseconds";

/// The settings and handlers of a consumer group and of one consumer that is not yet started.
#[must_use = "a subscription does nothing until it is started"]
pub struct Subscription {
    bus: Bus,
    spec: GroupSpec,
    router: Router,
    /// `None` means that the caller set no start.
    start: Option<StartAt>,
    settings: ConsumerSettings,
    /// `None` means that the caller set no concurrency.
    concurrency: Option<usize>,
    batches: Vec<BatchLimits>,
}

impl Subscription {
    pub(crate) fn new(bus: Bus, group: String, settings: ConsumerSettings) -> Self {
        let spec = GroupSpec::new(group);
        let router = Router::default();
        Self { bus, spec, router, start: None, settings, concurrency: None, batches: Vec::new() }
    }

    /// Adds a handler for an event type, or for a pattern such as `payment.*`. If several handlers match an event, each
    /// of them handles it, in the order of these calls. The delivery is done when all of them are done.
    pub fn on(self, pattern: impl Into<String>, handler: Arc<dyn EventHandler>) -> Self {
        self.on_all_of([pattern.into()], handler)
    }

    /// Adds a handler for events of any of these types or patterns. An empty list matches every event.
    pub fn on_all_of(
        mut self,
        patterns: impl IntoIterator<Item = String>,
        handler: Arc<dyn EventHandler>,
    ) -> Self {
        let types = patterns.into_iter().map(TypePattern::new).collect();
        self.router.0.push(Route { types, handler });
        self
    }

    /// Adds a handler for every event.
    pub fn on_everything(self, handler: Arc<dyn EventHandler>) -> Self {
        self.on_all_of([], handler)
    }

    /// Adds a handler for batches of events of these types or patterns. An empty list matches every event. The default
    /// concurrency rises to `limits.max`. [`BatchHandler`] describes the results of a call.
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    /// use domain::HandlerError;
    /// use event_replay_bus::{BatchHandler, BatchLimits, Bus, Consumer, DeliveryBatch};
    ///
    /// struct Rows;
    ///
    /// #[async_trait::async_trait]
    /// impl BatchHandler for Rows {
    ///     async fn handle(&self, batch: Arc<DeliveryBatch>) -> Result<(), HandlerError> {
    ///         for (index, delivery) in batch.deliveries().enumerate() {
    ///             if delivery.stored.event.correlation_id().is_none() {
    ///                 batch.fail(index, HandlerError::give_up("the event has no correlation id"));
    ///             }
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// async fn start(bus: &Bus) -> Result<Consumer, event_replay_bus::BusError> {
    ///     let limits = BatchLimits { max: 32, wait: Duration::from_millis(100) };
    ///     bus.subscribe("rows").on_batch(["payment.*".to_owned()], limits, Arc::new(Rows)).start().await
    /// }
    /// ```
    pub fn on_batch(
        self,
        patterns: impl IntoIterator<Item = String>,
        limits: BatchLimits,
        handler: Arc<dyn BatchHandler>,
    ) -> Self {
        self.on_all_of(patterns, batched(limits, handler)).batch_limits(limits)
    }

    /// States the limits of a handler that [`batched`] returned. The start checks them against the other settings. The
    /// default concurrency rises to `limits.max`. [`Subscription::on_batch`] calls this function.
    pub fn batch_limits(mut self, limits: BatchLimits) -> Self {
        self.batches.push(limits);
        self
    }

    /// Adds the handler of a pool. Receivers answer the deliveries, so the handler has the time limit of a day. At a
    /// stop, unanswered deliveries return to the group at once.
    pub fn on_pool(self, patterns: impl IntoIterator<Item = String>, pool: &Arc<DeliveryPool>) -> Self {
        self.on_all_of(patterns, pool.handler()).timeout(LONGEST).grace(POOL_GRACE)
    }

    /// Starts a consumer whose deliveries are the items of a stream. The time limit applies to each delivery, from its
    /// hand-over to its answer. The grace is the time that [`Deliveries::stop`] waits for answers. [`Deliveries`] has an
    /// example.
    ///
    /// # Errors
    /// Returns the errors of [`Subscription::start`].
    pub async fn deliveries(
        self,
        patterns: impl IntoIterator<Item = String>,
    ) -> Result<Deliveries, BusError> {
        let pool = Arc::new(DeliveryPool::default());
        let (limit, grace, clock) =
            (self.settings.timeout, self.settings.grace, Arc::clone(self.bus.clock()));
        if limit.is_zero() {
            return Err(BusError::Invalid(NO_TIME.to_owned()));
        }
        let consumer = self.on_pool(patterns, &pool).start().await?;
        Ok(Deliveries::new(pool, consumer, clock, limit, grace))
    }

    /// Sets the place at which a new group starts. The default is the head of the log. With the default, the program's
    /// log has a warning if the log contains earlier events, because the group will not handle them.
    pub fn start_at(mut self, start: StartAt) -> Self {
        self.start = Some(start);
        self
    }

    /// Sets the key within which a new group keeps the order of events.
    pub fn ordered_by(mut self, key: GroupKey) -> Self {
        self.spec.key = key;
        self
    }

    /// Sets the number of segments of a new group. At most this many consumers share the group's work.
    pub fn segments(mut self, segments: u16) -> Self {
        self.spec.segments = segments;
        self
    }

    /// Sets the number of concurrent handler calls, 1 to [`MAX_CONCURRENCY`]. The default is 16.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = Some(handlers);
        self
    }

    /// Sets the time limit of a handler call.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Sets the number of retries of a failed delivery.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.settings.max_retries = retries;
        self
    }

    /// Sets the pauses between attempts.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// Sets the lease time. After it, other consumers take over the segments of a consumer that died.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// Sets the time that running handlers have to finish after a stop. The default is 20 seconds.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Sets whether a key is parked behind its dead letter until the dead letter is redriven or discarded. Requires
    /// that dead letters are kept.
    pub fn park(mut self, park: bool) -> Self {
        self.settings.park = park;
        self
    }

    /// Sets a circuit breaker. After many failures in a row it stops deliveries, and probes with one delivery at a time
    /// until one is handled. Meanwhile the group is paused for its other consumers too.
    pub fn breaker(mut self, breaker: BreakerSettings) -> Self {
        self.settings.breaker = Some(breaker);
        self
    }

    /// Sets the consumer's name, which must be unique in the group. The default is a generated name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Creates the group if it is new, and starts a consumer.
    ///
    /// # Errors
    /// Returns a [`BusError`] when a setting is invalid, when the group exists with another ordering or number of
    /// segments, or when the start checkpoint does not exist. Returns a [`BusError`] when the store fails.
    pub async fn start(mut self) -> Result<Consumer, BusError> {
        let largest = self.batches.iter().map(|limits| limits.max).max().unwrap_or_default();
        let default = self.settings.concurrency.max(largest.min(MAX_CONCURRENCY));
        self.settings.concurrency = self.concurrency.unwrap_or(default);
        self.check()?;
        self.spec.types = self.router.types();
        if self.settings.name.is_empty() {
            self.settings.name = format!("{}-{:08x}", std::process::id(), fastrand::u32(..));
        }
        let shared = Arc::clone(self.bus.shared());
        let mark = mark_of(&*shared.store, self.start.as_ref().unwrap_or(&StartAt::Head)).await?;
        let MadeGroup { record, is_new } = shared.store.make_group(&self.spec, &mark).await?;
        if is_new && self.start.is_none() && mark.sequences.iter().any(|sequence| *sequence > 0) {
            tracing::warn!(
                group = %self.spec.name,
                "the group is new and begins at the head of the log: it does not handle the events before it; \
                 start_at(StartAt::Earliest) handles them, start_at(StartAt::Head) says that this is meant"
            );
        }
        // If the log has several partitions, each partition has this number of segments.
        self.spec.segments = record.spec.segments;
        let rules = Rules {
            spec: self.spec.clone(),
            made_at: record.created_at,
            max_retries: self.settings.max_retries,
            backoff: self.settings.backoff,
            park: self.settings.park,
            dead_letters: self.settings.dead_letters,
        };
        let (stop, stopped) = watch::channel(Stopping::No);
        let (state, states) = watch::channel(ConsumerState::default());
        let name = self.settings.name.clone();
        let actor = Actor::new(shared, self.settings, rules, self.router, stopped, state);
        Ok(Consumer::new(self.spec, is_new, name, stop, states, tokio::spawn(actor.run())))
    }

    fn check(&self) -> Result<(), BusError> {
        let invalid = |what: &str| Err(BusError::Invalid(what.to_owned()));
        let settings = &self.settings;
        if self.router.0.is_empty() {
            return invalid("a subscription needs a handler");
        }
        if self.spec.name.is_empty() || self.spec.name.len() > 128 {
            return invalid("a group's name has 1 to 128 bytes");
        }
        if !(1..=MAX_SEGMENTS).contains(&self.spec.segments) {
            return Err(BusError::Invalid(format!("a group has 1 to {MAX_SEGMENTS} segments")));
        }
        if !(1..=MAX_CONCURRENCY).contains(&settings.concurrency) {
            return Err(BusError::Invalid(format!("a consumer has 1 to {MAX_CONCURRENCY} handlers at once")));
        }
        if settings.timeout.is_zero() || settings.lease < Duration::from_millis(100) {
            return invalid(NO_TIME);
        }
        for limits in &self.batches {
            limits.check(settings.concurrency, settings.timeout).map_err(BusError::Invalid)?;
        }
        if settings.breaker.is_some_and(|breaker| breaker.failures == 0 || breaker.pause.is_zero()) {
            return invalid("a circuit breaker opens after at least one failure, and pauses for a time");
        }
        if settings.park && !settings.dead_letters {
            return invalid("keys cannot wait behind dead letters that are not kept");
        }
        Ok(())
    }
}

struct Closure<F>(F);

#[async_trait]
impl<F, R> EventHandler for Closure<F>
where
    F: Fn(&Delivery) -> R + Send + Sync,
    R: Future<Output = Result<(), HandlerError>> + Send,
{
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        (self.0)(delivery).await
    }
}

/// Returns a handler that calls a closure. The closure must copy from the delivery all data that its future needs.
pub fn handler<F, R>(handle: F) -> Arc<dyn EventHandler>
where
    F: Fn(&Delivery) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send + 'static,
{
    Arc::new(Closure(handle))
}
