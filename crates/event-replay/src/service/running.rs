//! A service from its start to its stop.

use std::{fmt, sync::Arc, time::Duration};

use bus::{Bus, Consumer, ConsumerError, Subscription};
use domain::{
    Filter, TypePattern,
    ports::{EventStoreError, Stores},
};
use replay::{JobHost, ReplayManager};
use tokio::task::JoinSet;

use super::{
    emit::{Emit, Origin},
    error::ServiceError,
    group::Group,
    handler::HandlerPlace,
    history::History,
    lag_gauges::LagGauges,
    shared::Core,
    typed::IntoEvent,
};
use crate::manager::replay_manager;

/// A running service. Keep the value: a dropped service stops consuming. Stop it with [`RunningService::stop`], or use
/// [`RunningService::run_until`].
#[must_use = "a service that is dropped handles nothing more: let it `run_until` a signal, or `stop` it"]
pub struct RunningService<S> {
    pub(crate) core: Arc<Core<S>>,
    pub(crate) manager: ReplayManager,
    pub(crate) groups: Vec<String>,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) hosts_replays: bool,
    host: Option<JobHost>,
    lag_gauges: Option<LagGauges>,
}

impl<S> fmt::Debug for RunningService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningService")
            .field("name", &self.core.name)
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}

impl<S: Send + Sync + 'static> RunningService<S> {
    pub(crate) async fn start(
        core: Arc<Core<S>>,
        groups: Vec<Group<S>>,
        hosts_replays: bool,
    ) -> Result<Self, ServiceError> {
        let clock = Arc::clone(core.bus.clock());
        let manager = replay_manager(core.bus.store(), None, clock)
            .with_meter(core.bus.meter().clone())
            .with_upcaster(Arc::clone(core.bus.upcaster()));
        let names = groups.iter().map(|group| group.name.clone()).collect();
        let mut service = Self {
            core,
            manager,
            groups: names,
            consumers: Vec::new(),
            hosts_replays,
            host: None,
            lag_gauges: None,
        };
        for group in groups {
            match service.subscribe(group).start().await {
                Ok(consumer) => service.consumers.push(consumer),
                Err(error) => {
                    service.stop().await?;
                    return Err(error.into());
                }
            }
        }
        if !service.groups.is_empty() {
            let store = Arc::clone(service.store());
            service.lag_gauges = Some(LagGauges::spawn(store, service.groups.clone()));
        }
        if hosts_replays && !service.groups.is_empty() {
            service.host = Some(JobHost::for_groups(service.manager.clone(), service.groups.clone()));
        }
        Ok(service)
    }

    fn subscribe(&self, group: Group<S>) -> Subscription {
        let Group { name, routes, layers, settings } = group;
        let mut subscription = self.core.bus.subscribe(name);
        let mut earlier: Vec<Vec<TypePattern>> = Vec::new();
        for route in routes {
            let types = route.types.clone();
            let place = HandlerPlace { core: Arc::clone(&self.core), earlier: earlier.clone() };
            let handler = layers.iter().fold(route.bind(place), |handler, wrap| wrap(handler));
            earlier.push(types.iter().map(TypePattern::new).collect());
            subscription = subscription.on_all_of(types, handler);
        }
        settings.into_iter().fold(subscription, |subscription, setting| setting(subscription))
    }

    /// Emits an event when the returned value is awaited. The source of the event is the service. An event without an
    /// id gets a new id.
    pub fn emit(&self, event: impl IntoEvent) -> Emit {
        let origin = Origin::Service { bus: self.core.bus.clone(), source: self.core.name.clone() };
        origin.emit(event.into_event())
    }

    /// Reads every event that matches a filter, as the basis of a decision. With [`History::unchanged`], the service
    /// emits an event only if no later event matches the filter. The history holds its events in memory. Use a filter
    /// that few events match, such as the events of one entity.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// use event_replay::{Event, Filter, prelude::*};
    /// # let settings = BusSettings { enable_validation: false, ..BusSettings::default() };
    /// # let service = Service::new("shop", open("memory:").await?, ()).settings(settings).start().await?;
    /// let seats = service.history(Filter::types(["seat.taken"]).entity("show", "s1")).await?;
    /// if seats.events().len() < 100 {
    ///     let taken = service.emit(Event::new("seat.taken").entity("show", "s1")).expecting(seats.unchanged()).await;
    ///     match taken {
    ///         Err(error) if error.unexpected().is_some() => println!("another seat was taken meanwhile: decide again"),
    ///         taken => println!("{:?}", taken?),
    ///     }
    /// }
    /// # service.stop().await?;
    /// # Ok(()) }
    /// # #[cfg(not(feature = "memory"))] fn main() {}
    /// ```
    ///
    /// # Errors
    /// Returns [`EventStoreError`] when the store fails, or when an event that may match is damaged.
    pub async fn history(&self, filter: Filter) -> Result<History, EventStoreError> {
        History::read(self.bus(), filter).await
    }

    /// Returns the state that the handlers share.
    pub fn state(&self) -> &S {
        &self.core.state
    }

    /// Returns the bus, for functions that the service lacks.
    pub fn bus(&self) -> &Bus {
        &self.core.bus
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<dyn Stores> {
        self.core.bus.store()
    }

    /// Returns the replay manager, for functions that [`RunningService::replay`] lacks.
    pub fn replays(&self) -> &ReplayManager {
        &self.manager
    }

    /// Runs until the signal, such as [`shutdown_signal`](super::shutdown_signal), then stops as
    /// [`RunningService::stop`] does. If a consumer ends by itself before the signal, the service stops.
    ///
    /// # Errors
    /// Returns [`ServiceError`] when a consumer ended by itself, because its group was deleted or because of a failure.
    pub async fn run_until(mut self, signal: impl Future<Output = ()>) -> Result<(), ServiceError> {
        let ended = tokio::select! {
            () = signal => Ok(()),
            ended = first_end(&mut self.consumers) => ended,
        };
        let stopped = self.stop().await;
        ended?;
        stopped
    }

    /// Stops all consumers at the same time. Running handlers have the grace time of their group to end. The consumers
    /// commit the answers and release their segments. Replays that the service runs are left to other runners. With the
    /// default grace time this takes less than the 30 seconds that Kubernetes allows.
    ///
    /// # Errors
    /// Returns [`ServiceError`] when a consumer had ended by itself before this call.
    pub async fn stop(self) -> Result<(), ServiceError> {
        self.core.stopping.cancel();
        drop(self.lag_gauges);
        let mut stopping = JoinSet::new();
        for consumer in self.consumers {
            stopping.spawn(consumer.stop());
        }
        if let Some(host) = self.host {
            host.stop().await;
        }
        let mut ended = Ok(());
        while let Some(stopped) = stopping.join_next().await {
            match stopped {
                Ok(Ok(())) => {}
                Ok(Err(error)) => ended = Err(ServiceError::Consumer(error)),
                Err(error) => tracing::error!(%error, "stopping a consumer failed"),
            }
        }
        self.core.bus.close().await;
        ended
    }

    /// Ends the service at once and releases nothing, as if its process had been killed. Use it to test a crash.
    pub fn abort(self) {
        self.consumers.into_iter().for_each(Consumer::abort);
    }

    /// Waits until every group is idle, and until the groups have handled the events that handlers emit meanwhile.
    /// Scheduled events and parked keys do not count. Use it in tests, and in programs that end when their work is
    /// done.
    ///
    /// # Errors
    /// Returns [`ServiceError`] when the store fails, or when a group was deleted.
    pub async fn settle(&self) -> Result<(), ServiceError> {
        let mut pauses = Pauses::default();
        loop {
            let head = self.store().head().await?;
            let mut is_idle = true;
            for group in &self.groups {
                is_idle &= crate::idle::is_idle(&**self.store(), group).await?;
            }
            if is_idle && self.store().head().await? == head {
                return Ok(());
            }
            tokio::time::sleep(pauses.next()).await;
        }
    }
}

/// Waits until a consumer ends by itself.
async fn first_end(consumers: &mut [Consumer]) -> Result<(), ServiceError> {
    let mut running: Vec<_> = consumers.iter_mut().map(|consumer| Box::pin(consumer.ended())).collect();
    std::future::poll_fn(|cx| {
        for consumer in &mut running {
            if let std::task::Poll::Ready(ended) = consumer.as_mut().poll(cx) {
                return std::task::Poll::Ready(ended.map_err(|error: ConsumerError| error.into()));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// The pauses between reads of the groups. The first pauses are short, so that tests are quick. Later pauses are
/// longer, so that a retry in an hour does not cause a million reads.
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(Duration::from_millis(5))
    }
}

impl Pauses {
    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(Duration::from_secs(1));
        pause
    }
}
