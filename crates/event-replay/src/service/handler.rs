//! Plain functions as handlers.

use std::{marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use bus::trace::{self, TraceParent};
use domain::{Delivery, HandlerError, TypePattern, ports::EventHandler};

use super::{context::Context, payload::Payload, shared::Core};

/// A function that handles events: `async fn(T)` or `async fn(T, Context<S>)`. `T` is a [`Payload`], such as a
/// [`TypedEvent`](super::TypedEvent). The function returns a [`Result`](super::Result). The payload determines the
/// event types that the handler gets.
///
/// Closures are handlers too: `|order: OrderPlaced| async move { … Ok(()) }`.
pub trait Handler<S, Arguments>: Send + Sync + 'static {
    /// The type into which an event is decoded for the handler.
    type Payload: Payload;

    /// Handles an event.
    fn call(
        &self,
        payload: Self::Payload,
        context: Context<S>,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

impl<S, T, F, R> Handler<S, (T,)> for F
where
    S: Send + Sync + 'static,
    T: Payload,
    F: Fn(T) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send,
{
    type Payload = T;

    fn call(&self, payload: T, _: Context<S>) -> impl Future<Output = Result<(), HandlerError>> + Send {
        self(payload)
    }
}

impl<S, T, F, R> Handler<S, (T, Context<S>)> for F
where
    S: Send + Sync + 'static,
    T: Payload,
    F: Fn(T, Context<S>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send,
{
    type Payload = T;

    fn call(&self, payload: T, context: Context<S>) -> impl Future<Output = Result<(), HandlerError>> + Send {
        self(payload, context)
    }
}

/// A handler of a group, before the service runs.
pub(crate) struct Route<S> {
    /// The event types of the handler. Empty: all types.
    pub(crate) types: Vec<String>,
    bind: Box<dyn Bind<S>>,
}

impl<S: Send + Sync + 'static> Route<S> {
    pub(crate) fn new<H: Handler<S, A>, A: 'static>(
        types: Vec<String>,
        handler: H,
        takes_replays: bool,
    ) -> Self {
        Self { types, bind: Box::new(Unbound { handler, takes_replays, arguments: PhantomData }) }
    }

    /// Returns a handler that is bound to a running service in its own way.
    pub(crate) fn of(types: Vec<String>, bind: impl Bind<S> + 'static) -> Self {
        Self { types, bind: Box::new(bind) }
    }

    /// Returns the handler within a running service.
    pub(crate) fn bind(self, place: HandlerPlace<S>) -> Arc<dyn EventHandler> {
        self.bind.bind(place)
    }
}

/// Binds a handler to a running service.
pub(crate) trait Bind<S>: Send + Sync {
    fn bind(self: Box<Self>, place: HandlerPlace<S>) -> Arc<dyn EventHandler>;
}

/// The place of a handler in its group, within a running service.
pub(crate) struct HandlerPlace<S> {
    pub(crate) core: Arc<Core<S>>,
    /// The event types of each handler that the group added before this one. An empty list means all types.
    pub(crate) earlier: Vec<Vec<TypePattern>>,
}

impl<S> HandlerPlace<S> {
    /// Decodes the event of a delivery, and makes the context of the call.
    pub(crate) fn open<T: Payload>(
        &self,
        delivery: &Delivery,
        trace: Option<TraceParent>,
    ) -> Result<(T, Context<S>), HandlerError> {
        let event = &delivery.stored.event;
        let payload = T::decode(event).map_err(HandlerError::give_up)?;
        // Only handlers that match this event count. So a handler of another type never changes the derived ids.
        let takes = |types: &&Vec<TypePattern>| {
            types.is_empty() || types.iter().any(|pattern| pattern.matches(event.event_type()))
        };
        let handler = self.earlier.iter().filter(takes).count();
        Ok((payload, Context::new(Arc::clone(&self.core), delivery.clone(), handler, trace)))
    }
}

struct Unbound<H, A> {
    handler: H,
    takes_replays: bool,
    arguments: PhantomData<fn(A)>,
}

impl<S: Send + Sync + 'static, A: 'static, H: Handler<S, A>> Bind<S> for Unbound<H, A> {
    fn bind(self: Box<Self>, place: HandlerPlace<S>) -> Arc<dyn EventHandler> {
        let Self { handler, takes_replays, arguments } = *self;
        Arc::new(Bound { handler, takes_replays, place, arguments })
    }
}

struct Bound<S, H, A> {
    handler: H,
    takes_replays: bool,
    place: HandlerPlace<S>,
    arguments: PhantomData<fn(A)>,
}

#[async_trait]
impl<S: Send + Sync + 'static, A: 'static, H: Handler<S, A>> EventHandler for Bound<S, H, A> {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let (payload, context) = self.place.open(delivery, trace::current())?;
        self.handler.call(payload, context).await
    }

    fn takes_replays(&self) -> bool {
        self.takes_replays
    }
}
