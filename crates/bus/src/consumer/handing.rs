//! Calls the handlers of a delivery: selects them, limits their time, catches their panics and calls their error hooks.

use std::{borrow::Cow, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use domain::{
    Delivery, DeliveryOrigin, HandlerError, TypePattern,
    ports::{EventHandler, EventUpcaster},
    upcast::upcast_stored,
};
use tokio::time::Instant;
use tracing::Instrument;

use super::{panics, rules::HandlerOutcome};
use crate::{
    error_scope,
    shared::Shared,
    trace::{self, DeliveryTrace},
};

/// The type of events that report errors. The bus calls no error hook for these events.
const SYSTEM_ERROR: &str = "system.error";

/// A handler and the types that it takes.
#[derive(Clone)]
pub(crate) struct Route {
    /// The patterns. An empty list matches all types.
    pub(crate) types: Vec<TypePattern>,
    pub(crate) handler: Arc<dyn EventHandler>,
}

/// All handlers of a group.
#[derive(Clone, Default)]
pub(crate) struct Router(pub(crate) Vec<Route>);

impl Router {
    /// Returns the types that any handler takes, or an empty list for all types.
    pub(crate) fn types(&self) -> Vec<TypePattern> {
        if self.0.iter().any(|route| route.types.is_empty()) {
            return Vec::new();
        }
        let mut types: Vec<TypePattern> = self.0.iter().flat_map(|route| route.types.clone()).collect();
        types.sort();
        types.dedup();
        types
    }

    /// Returns the handlers that take this delivery, in order.
    fn handlers<'r>(&'r self, delivery: &'r Delivery) -> impl Iterator<Item = &'r dyn EventHandler> {
        let event_type = delivery.stored.event.event_type();
        let matches =
            move |route: &&Route| route.types.is_empty() || route.types.iter().any(|t| t.matches(event_type));
        let takes = |route: &&Route| !delivery.is_replay() || route.handler.takes_replays();
        self.0.iter().filter(matches).filter(takes).map(|route| &*route.handler)
    }
}

/// The result of the handler calls of a delivery.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) answer: HandlerOutcome,
    /// The duration of the handler calls.
    pub(crate) took: Duration,
}

/// The handlers of a consumer and the parts that their calls need.
pub(crate) struct Handling {
    pub(crate) router: Router,
    pub(crate) shared: Arc<Shared>,
    /// The time limit of a call.
    pub(crate) timeout: Duration,
}

/// Calls the handlers of a delivery one after the other. With `alone`, the caller ensures that no other delivery of
/// this process is with a handler.
pub(crate) async fn hand_over(handling: Arc<Handling>, delivery: Delivery, alone: bool) -> Handed {
    let _shared_permit = if alone { None } else { Some(handling.shared.isolation.read().await) };
    // The wrappers of both branches hold a pointer to the call. The task, which is copied at its start, stays small.
    let mut calling = pin!(call(&handling, &delivery));
    let Some(DeliveryTrace { own, span }) = DeliveryTrace::of(&delivery) else {
        let (event, is_live) = (delivery.stored.event.clone(), delivery.origin == DeliveryOrigin::Live);
        return trace::within_delivery(event, is_live, calling.as_mut()).await;
    };
    let handed = trace::within(own, calling.as_mut()).instrument(span.clone()).await;
    span.record("outcome", handed.answer.name());
    handed
}

async fn call(handling: &Handling, delivery: &Delivery) -> Handed {
    let began = Instant::now();
    let Handling { router, shared, timeout } = handling;
    let (upcaster, timeout) = (&*shared.upcaster, *timeout);
    // Only a delivery that a handler takes is upcast.
    let mut upcast = None;
    for handler in router.handlers(delivery) {
        let current = &*upcast.get_or_insert_with(|| upcast_delivery(upcaster, delivery));
        let (delivery, answer) = match current {
            Ok(current) => (&**current, within(timeout, handler.handle(current)).await),
            Err(error) => {
                let telling = async {
                    handler.upcast_failed(error, delivery);
                    Err(error.clone())
                };
                (delivery, within(timeout, telling).await)
            }
        };
        let Err(error) = answer else { continue };
        let took = began.elapsed();
        let event = &delivery.stored.event;
        if !event.options().reports_error && event.event_type() != SYSTEM_ERROR {
            let hook = async {
                error_scope::within(handler.on_error(&error, delivery)).await;
                Ok(())
            };
            if let Err(failed) = within(timeout, hook).await {
                tracing::warn!(group = %delivery.group, error = %failed, "an error handler failed");
            }
        }
        return Handed { answer: HandlerOutcome::Failed(error), took };
    }
    match upcast {
        Some(_) => Handed { answer: HandlerOutcome::Handled, took: began.elapsed() },
        None => Handed { answer: HandlerOutcome::Skipped, took: Duration::ZERO },
    }
}

/// Upcasts the event of a delivery. A retry cannot help after a failure, so the group gives up at once.
fn upcast_delivery<'d>(
    upcaster: &dyn EventUpcaster,
    delivery: &'d Delivery,
) -> Result<Cow<'d, Delivery>, HandlerError> {
    Ok(match upcast_stored(upcaster, &delivery.stored).map_err(HandlerError::give_up)? {
        Cow::Borrowed(_) => Cow::Borrowed(delivery),
        Cow::Owned(stored) => Cow::Owned(Delivery { stored, ..delivery.clone() }),
    })
}

/// Runs user code. Converts its panics and its excess of the time limit into errors.
async fn within(
    timeout: Duration,
    work: impl Future<Output = Result<(), HandlerError>>,
) -> Result<(), HandlerError> {
    let mut work = pin!(work);
    let caught = poll_fn(|cx| {
        panics::catch(|| work.as_mut().poll(cx)).unwrap_or_else(|panicked| Poll::Ready(Err(panicked)))
    });
    match tokio::time::timeout(timeout, caught).await {
        Ok(done) => done,
        Err(_) => Err(HandlerError::retry(format!("the handler did not end within {timeout:?}"))),
    }
}
