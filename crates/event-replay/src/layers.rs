//! [tower](https://docs.rs/tower) layers around handlers: time limits, limits of concurrency, and layers of a service.
//!
//! A layer wraps a [`Service`] that takes a [`Delivery`]. The response is `()`: the delivery was handled. An error fails
//! the delivery. The innermost service is a [`HandlerService`], which calls the handler.
//!
//! - **Errors.** An error of a layer is tried again. The error of the handler keeps its verdict, also if a layer wraps it
//!   in an error with [`source`](std::error::Error::source).
//! - **Order.** The layer that was added last is the outermost. In a [`ServiceBuilder`] it is the first.
//! - **Scope.** A layer wraps each handler of a group. It is made once for each handler. So a limit of concurrency
//!   applies to one handler, unless the layer shares its limit.
//! - **Batches.** A layer wraps each delivery of a batch, from its arrival to its answer. Set the time limit of a batch
//!   with [`Group::timeout`](crate::Group::timeout).
//! - **Clones.** Each delivery gets a clone of the service.
//!
//! [`ServiceBuilder`]: https://docs.rs/tower/latest/tower/struct.ServiceBuilder.html
//!
//! ```
//! use std::{sync::{Arc, atomic::{AtomicU64, Ordering}}, task::{Context, Poll}};
//! use event_replay::{Delivery, layers::{Layer, Service}};
//!
//! /// Counts the deliveries of a handler.
//! #[derive(Clone, Default)]
//! struct Count(Arc<AtomicU64>);
//!
//! #[derive(Clone)]
//! struct Counting<V>(V, Arc<AtomicU64>);
//!
//! impl<V> Layer<V> for Count {
//!     type Service = Counting<V>;
//!
//!     fn layer(&self, inner: V) -> Counting<V> {
//!         Counting(inner, Arc::clone(&self.0))
//!     }
//! }
//!
//! impl<V: Service<Delivery>> Service<Delivery> for Counting<V> {
//!     type Response = V::Response;
//!     type Error = V::Error;
//!     type Future = V::Future;
//!
//!     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), V::Error>> {
//!         self.0.poll_ready(cx)
//!     }
//!
//!     fn call(&mut self, delivery: Delivery) -> V::Future {
//!         self.1.fetch_add(1, Ordering::Relaxed);
//!         self.0.call(delivery)
//!     }
//! }
//!
//! fn group(g: event_replay::Group<()>) -> event_replay::Group<()> {
//!     g.on_any(|_: event_replay::Event| async { Ok(()) }).layer(Count::default())
//! }
//! ```

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use domain::{Delivery, HandlerError, ports::EventHandler};

pub use tower_layer::Layer;
pub use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// The innermost service: it calls a handler.
#[derive(Clone)]
pub struct HandlerService(Arc<dyn EventHandler>);

impl fmt::Debug for HandlerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerService").finish_non_exhaustive()
    }
}

impl Service<Delivery> for HandlerService {
    type Response = ();
    type Error = HandlerFailure;
    type Future = Pin<Box<dyn Future<Output = Result<(), HandlerFailure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HandlerFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, delivery: Delivery) -> Self::Future {
        let handler = Arc::clone(&self.0);
        Box::pin(async move { handler.handle(&delivery).await.map_err(HandlerFailure) })
    }
}

/// The error of a handler as an [`Error`], which layers require.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerFailure(HandlerError);

impl HandlerFailure {
    /// Returns the error of the handler.
    pub fn error(&self) -> &HandlerError {
        &self.0
    }
}

impl From<HandlerError> for HandlerFailure {
    fn from(error: HandlerError) -> Self {
        Self(error)
    }
}

impl fmt::Display for HandlerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for HandlerFailure {}

/// A layer that can wrap handlers. Every [`Layer`] is one if its service takes a [`Delivery`], returns `()`, and can be
/// cloned and sent. The future of the service must be [`Send`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot wrap a handler",
    note = "its service must implement `Service<Delivery, Response = ()>`, `Clone`, `Send` and `Sync`, and its future `Send`"
)]
pub trait HandlerLayer: Send + Sync + 'static {
    /// Returns a handler that calls this one through the layer.
    fn around(&self, handler: Arc<dyn EventHandler>) -> Arc<dyn EventHandler>;
}

impl<L> HandlerLayer for L
where
    L: Layer<HandlerService> + Send + Sync + 'static,
    L::Service: Service<Delivery, Response = (), Error: Into<BoxError>, Future: Send>,
    L::Service: Clone + Send + Sync + 'static,
{
    fn around(&self, handler: Arc<dyn EventHandler>) -> Arc<dyn EventHandler> {
        let service = self.layer(HandlerService(Arc::clone(&handler)));
        Arc::new(Layered { handler, service })
    }
}

struct Layered<V> {
    handler: Arc<dyn EventHandler>,
    service: V,
}

#[async_trait]
impl<V> EventHandler for Layered<V>
where
    V: Service<Delivery, Response = (), Error: Into<BoxError>, Future: Send>,
    V: Clone + Send + Sync + 'static,
{
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let mut service = self.service.clone();
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(failure)?;
        service.call(delivery.clone()).await.map_err(failure)
    }

    async fn on_error(&self, error: &HandlerError, delivery: &Delivery) {
        self.handler.on_error(error, delivery).await;
    }

    fn takes_replays(&self) -> bool {
        self.handler.takes_replays()
    }
}

/// Converts the error of the outermost service. The verdict is the verdict of the handler, if the handler failed.
fn failure(error: impl Into<BoxError>) -> HandlerError {
    let error: BoxError = match error.into().downcast::<HandlerFailure>() {
        Ok(failure) => return failure.0,
        Err(error) => error,
    };
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    let mut verdict = None;
    while let Some(next) = cause.filter(|_| verdict.is_none()) {
        verdict = next.downcast_ref::<HandlerFailure>().map(|failure| failure.0.verdict);
        cause = next.source();
    }
    let converted = HandlerError::from(error);
    HandlerError { verdict: verdict.unwrap_or(converted.verdict), ..converted }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the audit failed")]
    struct Audit(#[source] HandlerFailure);

    #[test]
    fn the_verdict_of_a_handler_survives_the_errors_of_layers() {
        let permanent = HandlerFailure(HandlerError::give_up("no such order"));
        assert_eq!(failure(permanent.clone()), permanent.0);
        let wrapped = failure(Audit(permanent));
        assert_eq!(wrapped.errors, ["the audit failed", "no such order"]);
        assert!(wrapped.is_permanent());
        let later = HandlerError::retry_after(Duration::from_secs(60), "the printer is jammed");
        assert_eq!(failure(Audit(HandlerFailure(later.clone()))).verdict, later.verdict);
        assert!(!failure("the layer is full").is_permanent());
    }
}
