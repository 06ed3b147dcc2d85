//! The deliveries of a group as a stream of typed events.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use bus::{ConsumerError, Deliveries, DeliveryExpired, InFlightDelivery};
use domain::{Event, HandlerError};
use futures_core::Stream;
use replay::JobHost;

use super::{
    context::Context, error::ServiceError, group::Group, handler::HandlerPlace, payload::Payload,
    running::RunningService,
};

/// The events of a group, for a loop that answers each of them: see [`RunningService::deliveries`].
#[must_use = "a stream that is dropped delivers nothing more"]
pub struct TypedDeliveries<T, S = ()> {
    inner: Deliveries,
    place: HandlerPlace<S>,
    host: Option<JobHost>,
    /// Ends when the service begins to stop.
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    has_ended: bool,
    payload: PhantomData<fn() -> T>,
}

impl<T, S> fmt::Debug for TypedDeliveries<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedDeliveries").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<T: Payload, S: Send + Sync + 'static> TypedDeliveries<T, S> {
    /// Returns the next event, or `None` after the service begins to stop, or after the group was deleted. Cancel-safe.
    pub async fn next(&mut self) -> Option<TypedDelivery<T, S>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Stops the consumer of the group. Items that are in use may be answered within the grace of the group. Events that
    /// are not answered by then return to the group, and count no attempt.
    ///
    /// # Errors
    /// Returns the [`ConsumerError`] if the consumer had ended before.
    pub async fn stop(self) -> Result<(), ConsumerError> {
        let stopped = self.inner.stop().await;
        if let Some(host) = self.host {
            host.stop().await;
        }
        stopped
    }

    /// Decodes an event. An event that cannot be decoded becomes a dead letter.
    fn open(&self, delivery: InFlightDelivery) -> Option<TypedDelivery<T, S>> {
        match self.place.open(delivery.delivery(), delivery.trace()) {
            Ok((value, context)) => Some(TypedDelivery { value, context, delivery }),
            Err(error) => {
                // An answer that is too late changes nothing: the event is delivered again.
                let _ = delivery.fail(error);
                None
            }
        }
    }
}

impl<T: Payload, S: Send + Sync + 'static> Stream for TypedDeliveries<T, S> {
    type Item = TypedDelivery<T, S>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<TypedDelivery<T, S>>> {
        if self.has_ended || self.stopping.as_mut().poll(cx).is_ready() {
            self.has_ended = true;
            return Poll::Ready(None);
        }
        loop {
            match task::ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                Some(delivery) => {
                    if let Some(typed) = self.open(delivery) {
                        return Poll::Ready(Some(typed));
                    }
                }
                None => {
                    self.has_ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

/// An event that waits for its answer. An item that is dropped without an answer counts as a failed attempt, and is tried
/// again.
#[must_use = "an event that is dropped without an answer counts as failed"]
pub struct TypedDelivery<T, S = ()> {
    value: T,
    context: Context<S>,
    delivery: InFlightDelivery,
}

impl<T: fmt::Debug, S> fmt::Debug for TypedDelivery<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedDelivery")
            .field("value", &self.value)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}

impl<T, S> TypedDelivery<T, S> {
    /// Returns the decoded value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Returns the event.
    pub fn event(&self) -> &Event {
        self.context.event()
    }

    /// Returns the context of the event: state, attempt, and the emission of events that follow.
    pub fn context(&self) -> &Context<S> {
        &self.context
    }

    /// Answers that the event was handled. The group commits the answer soon afterwards.
    ///
    /// # Errors
    /// Returns [`DeliveryExpired`] when the answer is too late.
    pub fn ack(self) -> Result<(), DeliveryExpired> {
        self.delivery.ack()
    }

    /// Answers that the event failed. The error decides between a retry and a dead letter: see
    /// [`permanent`](super::permanent) and [`retry_after`](super::retry_after).
    ///
    /// # Errors
    /// Returns [`DeliveryExpired`] when the answer is too late.
    pub fn fail(self, error: impl Into<HandlerError>) -> Result<(), DeliveryExpired> {
        self.delivery.fail(error)
    }

    /// Returns the event without an answer. It is the next item of the stream, and no attempt is counted.
    ///
    /// # Errors
    /// Returns [`DeliveryExpired`] when the answer is too late.
    pub fn release(self) -> Result<(), DeliveryExpired> {
        self.delivery.release()
    }

    /// Sets the deadline of the answer to this time from now. The first deadline is the time limit of the group.
    ///
    /// # Errors
    /// Returns [`DeliveryExpired`] when the deadline has passed.
    pub fn extend(&mut self, time: Duration) -> Result<(), DeliveryExpired> {
        self.delivery.extend(time)
    }
}

impl<S: Send + Sync + 'static> RunningService<S> {
    /// Consumes a group as a stream. The payload determines the event types of the group. `define` sets the group up, as
    /// for [`Service::group`](super::Service::group), and adds no handler.
    ///
    /// Each item must be answered with [`ack`](TypedDelivery::ack) or [`fail`](TypedDelivery::fail) within the time limit
    /// of the group. The next event of a key is an item after the answer for the one before it. Items of different keys
    /// may be unanswered at the same time, at most as many as the concurrency of the group. An event that cannot be
    /// decoded is a dead letter, and no item. The service hosts the replays of the group while the stream exists. Health
    /// and [`RunningService::settle`] do not cover the group.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// use event_replay::{Event, prelude::*};
    /// # let settings = BusSettings { enable_validation: false, ..BusSettings::default() };
    /// # let service = Service::new("shop", open("memory:").await?, ()).settings(settings).start().await?;
    /// let mut events = service.deliveries::<Event>("audit", |g| g.max_retries(5)).await?;
    /// service.emit(Event::new("order.placed").user("ann")).await?;
    /// if let Some(event) = events.next().await {
    ///     match event.value().correlation_id() {
    ///         None => event.ack()?,
    ///         Some(_) => event.fail(permanent("the audit of workflows is not ready"))?,
    ///     }
    /// }
    /// events.stop().await?;
    /// service.stop().await?;
    /// # Ok(()) }
    /// # #[cfg(not(feature = "memory"))] fn main() {}
    /// ```
    ///
    /// # Errors
    /// Returns [`ServiceError`] when the service has a group of this name, when `define` adds a handler, when a setting
    /// is not valid, or when the store fails.
    pub async fn deliveries<T: Payload>(
        &self,
        group: impl Into<String>,
        define: impl FnOnce(Group<S>) -> Group<S>,
    ) -> Result<TypedDeliveries<T, S>, ServiceError> {
        let Group { name, routes, layers, settings } = define(Group::new(group.into()));
        let invalid = |reason: &str| {
            let error = format!("group {name:?} cannot be consumed as a stream: {reason}");
            Err(ServiceError::Invalid(error))
        };
        if self.groups.contains(&name) {
            return invalid("the service has a group of this name, so choose another name");
        }
        if !routes.is_empty() || !layers.is_empty() {
            return invalid("its definition adds a handler or a layer, so remove it");
        }
        let subscription = self.core.bus.subscribe(&name);
        let subscription =
            settings.into_iter().fold(subscription, |subscription, setting| setting(subscription));
        let inner = subscription.deliveries(T::types()).await?;
        let host = self.hosts_replays.then(|| JobHost::for_groups(self.manager.clone(), [name]));
        let stopping = self.core.stopping.clone();
        Ok(TypedDeliveries {
            inner,
            place: HandlerPlace { core: Arc::clone(&self.core), earlier: Vec::new() },
            host,
            stopping: Box::pin(async move { stopping.cancelled().await }),
            has_ended: false,
            payload: PhantomData,
        })
    }
}
