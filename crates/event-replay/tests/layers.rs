//! tower layers around handlers, one guarantee per test, on a store in memory under a paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use event_replay::{
    Backoff, Batch, Event, Filter, Group,
    layers::{Layer, Service as TowerService},
    prelude::*,
    testing::TestService,
};
use tokio::time::Instant;
use tower::{limit::ConcurrencyLimitLayer, timeout::TimeoutLayer};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Notes {
    lines: Mutex<Vec<String>>,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Notes {
    fn note(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

async fn test(define: impl FnOnce(Group<Notes>) -> Group<Notes>) -> TestService<Notes> {
    let settings = BusSettings { enable_validation: false, ..BusSettings::default() };
    TestService::start(|store| {
        Service::new("shop", store, Notes::default()).settings(settings).group("g", |g| define(quick(g)))
    })
    .await
}

/// Sets the pauses between attempts to a few milliseconds.
fn quick(g: Group<Notes>) -> Group<Notes> {
    g.backoff(Backoff::new(Duration::from_millis(1), Duration::from_millis(5)))
}

async fn emit(service: &RunningService<Notes>, user: &str) {
    service.emit(Event::new("order.placed").user(user)).await.unwrap();
}

async fn note(event: Event, cx: Context<Notes>) -> Result {
    cx.state().note(format!("handler {}", event.event_type()));
    Ok(())
}

/// Notes its name when it gets a delivery.
#[derive(Clone)]
struct Named(&'static str, Arc<Mutex<Vec<&'static str>>>);

#[derive(Clone)]
struct NamedService<V>(V, Named);

impl<V> Layer<V> for Named {
    type Service = NamedService<V>;

    fn layer(&self, inner: V) -> NamedService<V> {
        NamedService(inner, self.clone())
    }
}

impl<V: TowerService<Delivery>> TowerService<Delivery> for NamedService<V> {
    type Response = V::Response;
    type Error = V::Error;
    type Future = V::Future;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<std::result::Result<(), V::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, delivery: Delivery) -> V::Future {
        let Named(name, noted) = &self.1;
        noted.lock().unwrap().push(name);
        self.0.call(delivery)
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_time_limit_is_a_retry() {
    async fn slow_at_first(_: Event, cx: Context<Notes>) -> Result {
        cx.state().note(format!("attempt {}", cx.attempt()));
        let time = if cx.attempt() == 1 { 20 * SECOND } else { Duration::ZERO };
        tokio::time::sleep(time).await;
        Ok(())
    }
    let service = test(|g| g.on_types(["order.*"], slow_at_first).layer(TimeoutLayer::new(2 * SECOND))).await;
    let begun = Instant::now();
    emit(&service, "ann").await;
    service.settle().await;
    assert_eq!(service.state().lines(), ["attempt 1", "attempt 2"]);
    assert!(begun.elapsed() >= 2 * SECOND && begun.elapsed() < 5 * SECOND, "{:?}", begun.elapsed());
    assert!(service.dead_letters("g").await.is_empty());
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_layer_is_in_the_dead_letter() {
    async fn hangs(_: Event) -> Result {
        std::future::pending().await
    }
    let service = test(|g| g.on_any(hangs).layer(TimeoutLayer::new(SECOND)).max_retries(1)).await;
    emit(&service, "ann").await;
    service.settle().await;
    let letters = service.dead_letters("g").await;
    assert_eq!((letters.len(), letters[0].attempts), (1, 2));
    assert_eq!(letters[0].last_failure().unwrap().errors, ["request timed out"]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_concurrency_is_kept() {
    async fn counts(_: Event, cx: Context<Notes>) -> Result {
        let running = cx.state().running.fetch_add(1, Ordering::SeqCst) + 1;
        cx.state().most.fetch_max(running, Ordering::SeqCst);
        tokio::time::sleep(SECOND).await;
        cx.state().running.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
    for (limit, most) in [(Some(2), 2), (None, 8)] {
        let service = test(|g| {
            let g = g.on_any(counts).concurrency(8);
            match limit {
                Some(limit) => g.layer(ConcurrencyLimitLayer::new(limit)),
                None => g,
            }
        })
        .await;
        for n in 0..10 {
            emit(&service, &format!("u{n}")).await;
        }
        service.settle().await;
        assert_eq!(service.state().most.load(Ordering::SeqCst), most);
        assert!(service.dead_letters("g").await.is_empty());
        service.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_layer_that_was_added_last_is_the_outermost_and_all_handlers_have_all_layers() {
    let noted = Arc::default();
    let named = |name| Named(name, Arc::clone(&noted));
    let (inner, outer) = (named("inner"), named("outer"));
    let service =
        test(|g| g.on_types(["order.*"], note).layer(inner).layer(outer).on_types(["payment.*"], note)).await;
    emit(&service, "ann").await;
    service.settle().await;
    assert_eq!(*noted.lock().unwrap(), ["outer", "inner"]);
    // A handler that was added after the layers.
    service.emit(Event::new("payment.captured").user("ann")).await.unwrap();
    service.settle().await;
    assert_eq!(*noted.lock().unwrap(), ["outer", "inner", "outer", "inner"]);
    assert_eq!(service.state().lines(), ["handler order.placed", "handler payment.captured"]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_verdict_of_the_handler_survives_a_layer() {
    async fn refuses(_: Event, cx: Context<Notes>) -> Result {
        cx.state().note(format!("attempt {}", cx.attempt()));
        Err(permanent("no such order"))
    }
    // The time limit changes the type of the error.
    let service = test(|g| g.on_any(refuses).layer(TimeoutLayer::new(SECOND))).await;
    emit(&service, "ann").await;
    service.settle().await;
    assert_eq!(service.state().lines(), ["attempt 1"]);
    let letters = service.dead_letters("g").await;
    assert_eq!(letters[0].last_failure().unwrap().errors, ["no such order"]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_declines_replays_declines_them_behind_a_layer() {
    #[derive(serde::Serialize, serde::Deserialize, Event)]
    #[event("order.placed", schema = false)]
    struct OrderPlaced {
        #[entity(key)]
        user_id: String,
    }
    async fn mail(order: OrderPlaced, cx: Context<Notes>) -> Result {
        cx.state().note(order.user_id);
        Ok(())
    }
    let service = test(|g| g.on_live(mail).layer(TimeoutLayer::new(SECOND))).await;
    service.emit(OrderPlaced { user_id: "ann".into() }).await.unwrap();
    service.settle().await;
    let report = service.replay(Filter::types(["order.placed"])).into("g").run().await.unwrap();
    assert_eq!((report.successful_replays, report.skipped_events), (0, 1));
    assert_eq!(service.state().lines(), ["ann"]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_layer_wraps_each_event_of_a_batch() {
    async fn sizes(events: Batch<Event, Notes>) -> Result {
        events.state().note(events.len().to_string());
        Ok(())
    }
    let noted = Arc::default();
    let named = Named("layer", Arc::clone(&noted));
    let service = test(|g| g.on_batch(3, SECOND, sizes).layer(named)).await;
    for user in ["ann", "bob", "eve"] {
        emit(&service, user).await;
    }
    service.settle().await;
    assert_eq!(service.state().lines(), ["3"]);
    assert_eq!(*noted.lock().unwrap(), ["layer"; 3]);
    service.stop().await;
}
