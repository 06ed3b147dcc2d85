//! Functions that handle several events in one call.

use std::{fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use bus::{BatchHandler, BatchLimits, DeliveryBatch, batched};
use domain::{Event, HandlerError, ports::EventHandler};

use super::{
    context::Context,
    handler::{Bind, HandlerPlace, Route},
    payload::Payload,
    shared::Core,
};

/// Several events of different keys, for one call of a handler: see [`Group::on_batch`](super::Group::on_batch).
///
/// A call that returns `Ok` has handled each event that it did not mark with [`BatchItem::fail`]. A marked event is
/// tried again, or is a dead letter, as its error says. Its neighbours are not affected. A call that returns an error
/// has handled no event. The group then tries each event again, alone, except the marked events. A permanent error of
/// the whole call makes a dead letter only if the event is alone.
///
/// An event that cannot be decoded is a dead letter, and the batch does not contain it. A batch is never empty.
pub struct Batch<T, S = ()> {
    items: Vec<BatchItem<T, S>>,
    core: Arc<Core<S>>,
}

impl<T: fmt::Debug, S> fmt::Debug for Batch<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Batch").field(&self.items).finish()
    }
}

impl<T, S> Batch<T, S> {
    /// Returns the number of events, which is at least 1.
    #[allow(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns the events.
    pub fn iter(&self) -> std::slice::Iter<'_, BatchItem<T, S>> {
        self.items.iter()
    }

    /// Returns the state of the service.
    pub fn state(&self) -> &S {
        &self.core.state
    }

    /// Waits until the service begins to stop: see [`Context::cancelled`].
    pub async fn cancelled(&self) {
        self.core.stopping.cancelled().await;
    }
}

impl<'a, T, S> IntoIterator for &'a Batch<T, S> {
    type Item = &'a BatchItem<T, S>;
    type IntoIter = std::slice::Iter<'a, BatchItem<T, S>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T, S> IntoIterator for Batch<T, S> {
    type Item = BatchItem<T, S>;
    type IntoIter = std::vec::IntoIter<BatchItem<T, S>>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

/// One event of a [`Batch`].
pub struct BatchItem<T, S = ()> {
    value: T,
    context: Context<S>,
    batch: Arc<DeliveryBatch>,
    index: usize,
}

impl<T: fmt::Debug, S> fmt::Debug for BatchItem<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchItem")
            .field("value", &self.value)
            .field("event", self.event())
            .finish_non_exhaustive()
    }
}

impl<T, S> BatchItem<T, S> {
    /// Returns the decoded value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Returns the event.
    pub fn event(&self) -> &Event {
        self.context.event()
    }

    /// Returns the context of the event. Events that it emits follow from this event alone.
    pub fn context(&self) -> &Context<S> {
        &self.context
    }

    /// Marks the event as failed. The error decides between a retry and a dead letter. The other events are not
    /// affected. A mark after the end of the call has no effect.
    pub fn fail(&self, error: impl Into<HandlerError>) {
        self.batch.fail(self.index, error.into());
    }
}

/// Returns the route of a batch handler.
pub(crate) fn route<S, T, F, R>(limits: BatchLimits, handler: F, takes_replays: bool) -> Route<S>
where
    S: Send + Sync + 'static,
    T: Payload,
    F: Fn(Batch<T, S>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send + 'static,
{
    Route::of(T::types(), Unbound { limits, handler, takes_replays, payload: PhantomData })
}

struct Unbound<T, F> {
    limits: BatchLimits,
    handler: F,
    takes_replays: bool,
    payload: PhantomData<fn(T)>,
}

impl<S, T, F, R> Bind<S> for Unbound<T, F>
where
    S: Send + Sync + 'static,
    T: Payload,
    F: Fn(Batch<T, S>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send + 'static,
{
    fn bind(self: Box<Self>, place: HandlerPlace<S>) -> Arc<dyn EventHandler> {
        let Self { limits, handler, takes_replays, payload } = *self;
        batched(limits, Arc::new(Bound { handler, takes_replays, place, payload }))
    }
}

struct Bound<S, T, F> {
    handler: F,
    takes_replays: bool,
    place: HandlerPlace<S>,
    payload: PhantomData<fn(T)>,
}

#[async_trait]
impl<S, T, F, R> BatchHandler for Bound<S, T, F>
where
    S: Send + Sync + 'static,
    T: Payload,
    F: Fn(Batch<T, S>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send + 'static,
{
    async fn handle(&self, batch: Arc<DeliveryBatch>) -> Result<(), HandlerError> {
        let called = self.open(&batch).map(&self.handler);
        match called {
            Some(called) => called.await,
            None => Ok(()),
        }
    }

    fn takes_replays(&self) -> bool {
        self.takes_replays
    }
}

impl<S, T: Payload, F> Bound<S, T, F> {
    /// Decodes the events. An event that cannot be decoded is marked as failed. Returns nothing if no event is left.
    fn open(&self, batch: &Arc<DeliveryBatch>) -> Option<Batch<T, S>> {
        let mut items = Vec::with_capacity(batch.len());
        for (index, delivery) in batch.deliveries().enumerate() {
            match self.place.open(delivery, batch.trace(index)) {
                Ok((value, context)) => {
                    items.push(BatchItem { value, context, batch: Arc::clone(batch), index });
                }
                Err(error) => batch.fail(index, error),
            }
        }
        let core = Arc::clone(&self.place.core);
        (!items.is_empty()).then_some(Batch { items, core })
    }
}
