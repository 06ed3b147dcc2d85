//! Subscribing: a group in the making, with its handlers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Backoff, Delivery, HandlerError, TypePattern,
    group::{GroupKey, GroupSpec, MAX_SEGMENTS},
    ports::{EventHandler, MadeGroup},
};
use tokio::sync::watch;

use crate::{
    builder::BusError,
    bus::Bus,
    consumer::{
        Actor, BreakerSettings, Consumer, ConsumerSettings, ConsumerState, MAX_CONCURRENCY, Route, Router,
        Rules, Stopping,
    },
    start::{StartAt, mark_of},
};

/// A group in the making, and a consumer of it.
#[must_use = "a subscription does nothing until it is started"]
pub struct Subscription {
    bus: Bus,
    spec: GroupSpec,
    router: Router,
    /// None: nothing was said.
    start: Option<StartAt>,
    settings: ConsumerSettings,
}

impl Subscription {
    pub(crate) fn new(bus: Bus, group: String, settings: ConsumerSettings) -> Self {
        let spec = GroupSpec::new(group);
        Self { bus, spec, router: Router::default(), start: None, settings }
    }

    /// Handles events of a type, or of a pattern such as `payment.*`. An event that several handlers match is handled by
    /// each, in the order in which they were named; it is done when all are.
    pub fn on(self, pattern: impl Into<String>, handler: Arc<dyn EventHandler>) -> Self {
        self.on_all_of([pattern.into()], handler)
    }

    /// Handles events of any of these types or patterns; every event where there is none.
    pub fn on_all_of(
        mut self,
        patterns: impl IntoIterator<Item = String>,
        handler: Arc<dyn EventHandler>,
    ) -> Self {
        let types = patterns.into_iter().map(TypePattern::new).collect();
        self.router.0.push(Route { types, handler });
        self
    }

    /// Handles every event.
    pub fn on_everything(self, handler: Arc<dyn EventHandler>) -> Self {
        self.on_all_of([], handler)
    }

    /// Where the group begins, should it be new. Where nothing is said it begins at the head of the log, and a line of the log of the
    /// program warns where events are there that the group will not handle.
    pub fn start_at(mut self, start: StartAt) -> Self {
        self.start = Some(start);
        self
    }

    /// What keeps its order, should it be new.
    pub fn ordered_by(mut self, key: GroupKey) -> Self {
        self.spec.key = key;
        self
    }

    /// How many segments it has, should it be new: at most so many consumers share its work.
    pub fn segments(mut self, segments: u16) -> Self {
        self.spec.segments = segments;
        self
    }

    /// Handlers at once, 1 to [`MAX_CONCURRENCY`]; 16 where nothing is said.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.settings.concurrency = handlers;
        self
    }

    /// The time limit of its handlers.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// How often a failed delivery is tried again.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.settings.max_retries = retries;
        self
    }

    /// Pauses between attempts.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// How long a lease is good: a consumer that dies is taken over after this.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// How long running handlers have to end when the consumer is stopped; 20 seconds where nothing is said.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Keys wait behind their dead letters until these are redriven or discarded. Needs dead letters to be kept.
    pub fn park(mut self, park: bool) -> Self {
        self.settings.park = park;
        self
    }

    /// Stops to hand over when many deliveries fail in a row, and probes with one at a time until one is handled. The group is paused
    /// meanwhile for its other consumers, too.
    pub fn breaker(mut self, breaker: BreakerSettings) -> Self {
        self.settings.breaker = Some(breaker);
        self
    }

    /// The consumer's name, unique among the group's consumers; one is made up where none is given.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Makes the group, if it is new, and starts to consume.
    ///
    /// # Errors
    /// When a setting makes no sense, the group exists with another ordering or number of segments, or the store fails.
    pub async fn start(mut self) -> Result<Consumer, BusError> {
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
        // Where the log has several partitions there are as many segments in each.
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
            return invalid("a handler needs time, and a lease at least 100 milliseconds");
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

/// A handler of a closure. What its future needs of the delivery it must take out first.
pub fn handler<F, R>(handle: F) -> Arc<dyn EventHandler>
where
    F: Fn(&Delivery) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send + 'static,
{
    Arc::new(Closure(handle))
}
