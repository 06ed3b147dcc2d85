//! The start and end of a consumer: the warnings for a new group, and the state after a dropped consumer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of what they share")]

#[path = "support/log.rs"]
mod log;
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use domain::{
    Delivery, HandlerError,
    ports::{Clock, EventHandler, GroupStore},
};
use event_replay_bus::{Bus, ConsumerError, StartAt, Subscription, handler};
use jiff::Timestamp;
use log::Log;
use storage_memory::MemoryEngine;
use store::Store;
use support::{TokioClock, bus_over, event, eventually, is_idle};

struct World {
    store: Arc<Store>,
    bus: Bus,
    /// Events with a completed handler call.
    handled: Arc<AtomicU32>,
}

impl World {
    async fn new() -> Self {
        let clock = TokioClock::start();
        let store = Arc::new(Store::new(MemoryEngine::new(Arc::new(clock))));
        let bus = bus_over(store.clone(), clock).await;
        Self { store, bus, handled: Arc::default() }
    }

    fn handler(&self, takes: Duration) -> Arc<dyn EventHandler> {
        let handled = Arc::clone(&self.handled);
        handler(move |_: &Delivery| {
            let handled = Arc::clone(&handled);
            async move {
                tokio::time::sleep(takes).await;
                handled.fetch_add(1, Ordering::SeqCst);
                Ok::<(), HandlerError>(())
            }
        })
    }

    fn subscribe(&self, takes: Duration) -> Subscription {
        self.bus.subscribe("g").on_everything(self.handler(takes))
    }

    async fn publish(&self, events: u32) {
        for n in 0..events {
            self.bus.publish(&event(&format!("e{n}"), &format!("u{n}"))).await.unwrap();
        }
    }

    fn handled(&self) -> u32 {
        self.handled.load(Ordering::SeqCst)
    }

    async fn has_consumers(&self) -> bool {
        let status = self.store.group("g").await.unwrap().unwrap();
        !status.consumers.is_empty() || status.segments.iter().any(|segment| segment.consumer.is_some())
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_consumer_stops_within_a_second_and_gives_its_segments_back() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let world = World::new().await;
    let consumer = world.subscribe(Duration::from_secs(20)).start().await.unwrap();
    world.publish(40).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.has_consumers().await);
    drop(consumer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!world.has_consumers().await, "it holds leases that are not renewed");
    assert_eq!(world.handled(), 0, "its handlers went on");
    assert!(log.lines().iter().any(|line| line.contains("was dropped while it ran")), "{:?}", log.lines());
    // The next consumer works on all segments immediately. An unreleased lease would last ten seconds.
    let next = world.subscribe(Duration::ZERO).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.handled(), 40);
    next.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_before_a_drop_does_not_come_again() {
    let world = World::new().await;
    let consumer = world.subscribe(Duration::ZERO).start().await.unwrap();
    world.publish(40).await;
    eventually("some are handled", async || world.handled() == 40).await;
    drop(consumer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let next = world.subscribe(Duration::ZERO).start().await.unwrap();
    eventually("the group is idle", async || is_idle(&*world.store, "g").await).await;
    assert_eq!(world.handled(), 40);
    next.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_is_not_awaited_ends_at_once() {
    let world = World::new().await;
    let consumer = world.subscribe(Duration::from_secs(15)).start().await.unwrap();
    world.publish(5).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(tokio::time::timeout(Duration::from_secs(1), consumer.stop()).await.is_err());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!world.has_consumers().await);
    assert_eq!(world.handled(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_consumer_gives_nothing_back() {
    let world = World::new().await;
    let consumer = world.subscribe(Duration::ZERO).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    consumer.abort();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.has_consumers().await, "its leases last until they are over");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(!world.has_consumers().await);
}

#[tokio::test(start_paused = true)]
async fn a_new_group_says_that_it_passes_the_events_before_it_unless_it_was_told_where_to_begin() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let world = World::new().await;
    let warnings = || log.lines().iter().filter(|line| line.contains("does not handle the events")).count();
    let start = async |group: &str, at: Option<StartAt>| {
        let subscription = world.bus.subscribe(group).on_everything(world.handler(Duration::ZERO));
        let subscription = match at {
            Some(at) => subscription.start_at(at),
            None => subscription,
        };
        subscription.start().await.unwrap().stop().await.unwrap();
    };
    start("of-an-empty-log", None).await;
    world.publish(1).await;
    start("of-an-empty-log", None).await;
    start("told-head", Some(StartAt::Head)).await;
    start("told-earliest", Some(StartAt::Earliest)).await;
    assert_eq!(warnings(), 0, "{:?}", log.lines());
    start("not-told", None).await;
    assert_eq!(warnings(), 1, "{:?}", log.lines());
    assert!(log.lines().iter().any(|line| line.contains("group=not-told") && line.contains("Earliest")));
    start("not-told", None).await;
    assert_eq!(warnings(), 1, "it exists: it goes on where it was");
}

/// A clock that panics once it is armed.
#[derive(Debug)]
struct Panicking {
    clock: TokioClock,
    armed: Arc<AtomicBool>,
}

impl Clock for Panicking {
    fn now(&self) -> Timestamp {
        assert!(!self.armed.load(Ordering::SeqCst), "the clock is armed");
        self.clock.now()
    }
}

/// A panic of the consumer's own task is reported as an error. It is no stop.
#[tokio::test(start_paused = true)]
async fn a_consumer_that_panics_ends_with_an_error() {
    let clock = TokioClock::start();
    let armed = Arc::new(AtomicBool::new(false));
    let store = Arc::new(Store::new(MemoryEngine::new(Arc::new(clock))));
    let panicking = Panicking { clock, armed: Arc::clone(&armed) };
    let bus = Bus::builder(store).clock(Arc::new(panicking)).enable_validation(false).build().await.unwrap();
    let arming = handler(move |_: &Delivery| {
        armed.store(true, Ordering::SeqCst);
        async { Err::<(), _>(HandlerError::retry("try again")) }
    });
    let mut consumer = bus.subscribe("g").on_everything(arming).start().await.unwrap();
    bus.publish(&event("e", "u")).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), consumer.ended()).await.unwrap();
    assert_eq!(ended, Err(ConsumerError::Broken("g".to_owned())));
}
