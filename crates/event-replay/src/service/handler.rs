//! Plain functions as handlers.

use std::{marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use domain::{Delivery, HandlerError, TypePattern, ports::EventHandler};

use super::{context::Context, payload::Payload, shared::Core};

/// A function that handles events: `async fn(T)` or `async fn(T, Context<S>)`, where `T` is a [`Payload`], such as a value of a
/// [`TypedEvent`](super::TypedEvent). It answers with [`Result`](super::Result). The payload says which events it is given.
///
/// Closures are handlers too: `|order: OrderPlaced| async move { … Ok(()) }`.
pub trait Handler<S, Arguments>: Send + Sync + 'static {
    /// What it is given of an event.
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

/// A handler of a group before its service runs.
pub(crate) struct Route<S> {
    /// The types it is given; empty: all.
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

    /// The handler within a service that runs. `earlier` has the types of the group's handlers before it.
    pub(crate) fn bind(self, core: Arc<Core<S>>, earlier: Vec<Vec<TypePattern>>) -> Arc<dyn EventHandler> {
        self.bind.bind(core, earlier)
    }
}

/// Puts a handler into a running service.
trait Bind<S>: Send + Sync {
    fn bind(self: Box<Self>, core: Arc<Core<S>>, earlier: Vec<Vec<TypePattern>>) -> Arc<dyn EventHandler>;
}

struct Unbound<H, A> {
    handler: H,
    takes_replays: bool,
    arguments: PhantomData<fn(A)>,
}

impl<S: Send + Sync + 'static, A: 'static, H: Handler<S, A>> Bind<S> for Unbound<H, A> {
    fn bind(self: Box<Self>, core: Arc<Core<S>>, earlier: Vec<Vec<TypePattern>>) -> Arc<dyn EventHandler> {
        let Self { handler, takes_replays, arguments } = *self;
        Arc::new(Bound { handler, takes_replays, core, earlier, arguments })
    }
}

struct Bound<S, H, A> {
    handler: H,
    takes_replays: bool,
    core: Arc<Core<S>>,
    /// The types of the group's handlers before it, empty for all.
    earlier: Vec<Vec<TypePattern>>,
    arguments: PhantomData<fn(A)>,
}

#[async_trait]
impl<S: Send + Sync + 'static, A: 'static, H: Handler<S, A>> EventHandler for Bound<S, H, A> {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let event = &delivery.stored.event;
        let payload = H::Payload::decode(event).map_err(HandlerError::give_up)?;
        // Handlers of other types change nothing of the ids that this one's events are given.
        let takes = |types: &&Vec<TypePattern>| {
            types.is_empty() || types.iter().any(|pattern| pattern.matches(event.event_type()))
        };
        let handler = self.earlier.iter().filter(takes).count();
        let context = Context::new(Arc::clone(&self.core), delivery.clone(), handler);
        self.handler.call(payload, context).await
    }

    fn takes_replays(&self) -> bool {
        self.takes_replays
    }
}
