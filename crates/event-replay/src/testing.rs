//! A test kit: a service on a store in memory, under a paused clock.
//!
//! Use it under `#[tokio::test(start_paused = true)]`. This attribute needs the tokio feature `test-util`. Under the
//! paused clock, retries over minutes finish at once. Without the attribute the same tests run in real time.
//!
//! These functions panic where a test must fail, and when the store in memory fails.
#![allow(clippy::panic, reason = "a panic is a test's way to fail")]

use std::{fmt::Debug, ops::Deref, sync::Arc, time::Duration};

use domain::{
    DeadLetter, Event, Filter, StoredEvent,
    ports::{Clock, DeadLetterQuery, ReadRequest, Stores},
};
use jiff::Timestamp;
use storage_memory::MemoryEngine;
use store::Store;

use crate::{
    RuntimeClock,
    service::{Handler, IntoEvent, Payload, RunningService, Service, TypedEvent},
};

/// Events per read.
const PAGE: usize = 1000;

/// A service on its own store in memory. It derefs to [`RunningService`].
///
/// ```
/// # #[cfg(feature = "derive")] fn main() {
/// use event_replay::{prelude::*, testing::TestService};
/// # use schemars::JsonSchema;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize, JsonSchema)]
/// # #[event("order.placed")]
/// # struct OrderPlaced { #[entity(key)] user_id: String, cents: u64 }
/// # #[derive(Event, Serialize, Deserialize, JsonSchema, Debug, PartialEq)]
/// # #[event("invoice.sent")]
/// # struct InvoiceSent { #[entity(key)] user_id: String, cents: u64 }
/// async fn invoice(order: OrderPlaced, cx: Context<()>) -> Result {
///     cx.emit(InvoiceSent { user_id: order.user_id, cents: order.cents }).await?;
///     Ok(())
/// }
///
/// // #[tokio::test(start_paused = true)]
/// async fn an_order_is_invoiced() {
///     let shop = |store| Service::new("shop", store, ()).event::<OrderPlaced>().event::<InvoiceSent>();
///     let service = TestService::start(|store| shop(store).group("invoices", |g| g.on(invoice))).await;
///     service.emit(OrderPlaced { user_id: "ann".into(), cents: 500 }).await.unwrap();
///     service.settle().await;
///     assert_eq!(service.published::<InvoiceSent>().await, [InvoiceSent { user_id: "ann".into(), cents: 500 }]);
///     assert!(service.dead_letters("invoices").await.is_empty());
///     service.stop().await;
/// }
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(an_order_is_invoiced());
/// # }
/// # #[cfg(not(feature = "derive"))] fn main() {}
/// ```
#[derive(Debug)]
pub struct TestService<S> {
    service: RunningService<S>,
}

impl<S> Deref for TestService<S> {
    type Target = RunningService<S>;

    fn deref(&self) -> &RunningService<S> {
        &self.service
    }
}

/// Makes a store in memory with a clock.
fn memory(clock: Arc<dyn Clock>) -> Arc<dyn Stores> {
    Arc::new(Store::new(MemoryEngine::new(clock)))
}

fn expect<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{what} failed: {error}"))
}

impl<S: Send + Sync + 'static> TestService<S> {
    /// Starts a service on a new store in memory. Store and service share one clock, which replaces the clock of the
    /// service. It starts at the time of the system and follows the clock of the runtime. Under a paused clock its time
    /// stands still while a handler works.
    ///
    /// # Panics
    /// Panics when the service cannot start.
    pub async fn start(service: impl FnOnce(Arc<dyn Stores>) -> Service<S>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::at(Timestamp::now()));
        let service = service(memory(Arc::clone(&clock))).clock(clock);
        Self { service: expect("starting the service", service.start().await) }
    }

    /// Waits until every group is idle: see [`RunningService::settle`].
    ///
    /// # Panics
    /// Panics when a group was deleted.
    pub async fn settle(&self) {
        expect("waiting for the groups", self.service.settle().await);
    }

    /// Lets time pass. Under a paused clock the call returns at once. Scheduled events that become due are published.
    pub async fn advance(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Returns every event of a type in the log as values, in log order. Older versions are upcast first.
    ///
    /// # Panics
    /// Panics when an event cannot be decoded.
    pub async fn published<T: TypedEvent>(&self) -> Vec<T> {
        let history = expect("reading the log", self.service.history(Filter::types([T::TYPE])).await);
        expect("reading an event", history.values())
    }

    /// Returns every event in the log, in log order.
    pub async fn log(&self) -> Vec<Event> {
        read(&**self.store(), Filter::default()).await.into_iter().map(|stored| stored.event).collect()
    }

    /// Returns the dead letters of a group in every state, oldest first, at most 1000.
    pub async fn dead_letters(&self, group: &str) -> Vec<DeadLetter> {
        let query =
            DeadLetterQuery { group: Some(group.to_owned()), limit: PAGE, ..DeadLetterQuery::default() };
        expect("reading dead letters", self.store().dead_letters(&query).await)
    }

    /// Stops the service.
    ///
    /// # Panics
    /// Panics when a consumer ended by itself before this call.
    pub async fn stop(self) {
        expect("stopping the service", self.service.stop().await);
    }
}

async fn read(store: &dyn Stores, filter: Filter) -> Vec<StoredEvent> {
    let mut request = ReadRequest::new(filter, PAGE);
    let mut events = Vec::new();
    loop {
        let page = expect("reading the log", store.read(&request).await);
        events.extend(page.events);
        match page.next {
            Some(next) => request.after = Some(next),
            None => return events,
        }
    }
}

/// Delivers an event to a handler twice, as after a crash of the process before the commit of the first answer. Both
/// calls must succeed, and the second call must change nothing. Two things are compared: the value that `observe`
/// returns for the state, and the ids of the events in the log.
///
/// The service must own the events that the handler emits. Declare them with `own`, as in
/// `|service| service.event::<InvoiceSent>()`.
///
/// # Panics
/// Panics when a call fails, or when the second call changes something.
pub async fn assert_idempotent<S, A, H, O>(
    handler: H,
    event: impl IntoEvent,
    state: S,
    own: impl FnOnce(Service<S>) -> Service<S>,
    observe: impl Fn(&S) -> O,
) where
    S: Send + Sync + 'static,
    A: 'static,
    H: Handler<S, A>,
    O: PartialEq + Debug,
{
    const GROUP: &str = "handler-under-test";
    let name = H::Payload::types().join(", ");
    let service = TestService::start(|store| {
        own(Service::new("idempotence", store, state)).group(GROUP, |group| group.on(handler).max_retries(0))
    })
    .await;
    let start = expect("reading the head", service.store().head().await);
    expect("publishing the event", service.emit(event).await);
    service.settle().await;
    let once = (observe(service.state()), ids(&service.log().await));
    expect("putting the group back", service.store().reset_group(GROUP, &start).await);
    service.settle().await;
    let twice = (observe(service.state()), ids(&service.log().await));
    if let Some(letter) = service.dead_letters(GROUP).await.first() {
        let error = letter.last_failure().map(|failure| failure.errors.join(": ")).unwrap_or_default();
        panic!("the handler of {name} failed: {error}");
    }
    assert_eq!(once, twice, "handling {name} twice is not the same as handling it once");
    service.stop().await;
}

fn ids(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.id().to_owned()).collect()
}
