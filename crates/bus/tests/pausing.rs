//! Paused groups, and the circuit breaker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{
    Delivery, HandlerError,
    group::GroupPause,
    ports::{Clock, DeadLetterStore, EventHandler, PauseStore},
};
use event_replay_bus::{BreakerSettings, Bus, Consumer, StartAt};
use storage_memory::MemoryEngine;
use store::Store;
use support::{TokioClock, bus_over, event, eventually, is_idle};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
/// The duration of the outage of the handlers' dependency.
const OUTAGE: Duration = Duration::from_secs(60);

struct World {
    clock: TokioClock,
    store: Arc<Store>,
    bus: Bus,
    begun: Instant,
}

impl World {
    async fn new() -> Self {
        let clock = TokioClock::start();
        let store = Arc::new(Store::new(MemoryEngine::new(Arc::new(clock))));
        let bus = bus_over(store.clone(), clock).await;
        Self { clock, store, bus, begun: Instant::now() }
    }

    /// A handler that counts its calls.
    fn counting(&self, calls: &Arc<AtomicUsize>) -> Arc<dyn EventHandler> {
        let calls = Arc::clone(calls);
        event_replay_bus::handler(move |_: &Delivery| {
            calls.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        })
    }

    /// A handler with a dependency that fails for one minute.
    fn in_outage(&self, calls: &Arc<AtomicUsize>) -> Arc<dyn EventHandler> {
        let (calls, over) = (Arc::clone(calls), self.begun + OUTAGE);
        event_replay_bus::handler(move |_: &Delivery| {
            calls.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                match Instant::now() < over {
                    true => Err(HandlerError::retry("the mail server does not answer")),
                    false => Ok(()),
                }
            }
        })
    }

    async fn consumer(&self, name: &str, handler: Arc<dyn EventHandler>, breaker: bool) -> Consumer {
        let mut subscription =
            self.bus.subscribe("g").on_everything(handler).start_at(StartAt::Earliest).named(name);
        if breaker {
            let settings = BreakerSettings { failures: 20, window: 30 * SECOND, pause: 5 * SECOND };
            subscription = subscription.breaker(settings);
        }
        subscription.start().await.unwrap()
    }

    async fn publish(&self, ids: impl Iterator<Item = usize>) {
        for n in ids {
            self.bus.publish(&event(&format!("e{n}"), &format!("u{}", n % 500))).await.unwrap();
        }
    }

    async fn dead_letters(&self) -> u64 {
        self.store.count_dead_letters().await.unwrap().iter().map(|count| count.count).sum()
    }

    fn pause(&self) -> GroupPause {
        let (source, by) = (GroupPause::OPERATOR.to_owned(), "ann@desk".to_owned());
        GroupPause { source, since: self.clock.now(), by, reason: None, until: None }
    }
}

#[tokio::test(start_paused = true)]
async fn every_consumer_of_a_paused_group_stops_within_a_second() {
    let world = World::new().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let mut consumers = Vec::new();
    for name in ["one", "two", "three"] {
        consumers.push(world.consumer(name, world.counting(&calls), false).await);
    }
    for consumer in &mut consumers {
        consumer.settled().await;
    }
    world.publish(0..100).await;
    eventually("all were handled", async || calls.load(Ordering::SeqCst) == 100).await;
    world.store.pause_group("g", &world.pause()).await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert!(consumers.iter().all(|consumer| consumer.state().pauses.len() == 1));
    world.publish(100..200).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(calls.load(Ordering::SeqCst), 100);
    // The consumers keep their segments, and continue within a second.
    assert!(consumers.iter().all(|consumer| !consumer.state().segments.is_empty()));
    world.store.resume_group("g", None).await.unwrap();
    tokio::time::sleep(SECOND).await;
    eventually("all were handled", async || calls.load(Ordering::SeqCst) == 200).await;
    eventually("the group is idle", async || is_idle(&*world.store, "g").await).await;
    assert!(consumers.iter().all(|consumer| consumer.state().pauses.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_starts_while_its_group_is_paused_waits() {
    let world = World::new().await;
    let calls = Arc::new(AtomicUsize::new(0));
    world.consumer("one", world.counting(&calls), false).await.stop().await.unwrap();
    let until = world.clock.now() + 30 * SECOND;
    world.store.pause_group("g", &GroupPause { until: Some(until), ..world.pause() }).await.unwrap();
    world.publish(0..10).await;
    let _consumer = world.consumer("one", world.counting(&calls), false).await;
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    // A pause with an end is then over.
    eventually("all were handled", async || calls.load(Ordering::SeqCst) == 10).await;
    assert!(world.clock.now() >= until);
}

/// Runs 2,000 events through an outage of one minute. Returns the number of dead letters and of handler calls.
async fn outage(breaker: bool) -> (u64, usize) {
    let world = World::new().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let mut consumers = Vec::new();
    for name in ["one", "two"] {
        consumers.push(world.consumer(name, world.in_outage(&calls), breaker).await);
    }
    world.publish(0..2_000).await;
    eventually("the group is idle", async || is_idle(&*world.store, "g").await).await;
    assert!(world.begun.elapsed() < 3 * OUTAGE, "{:?}", world.begun.elapsed());
    (world.dead_letters().await, calls.load(Ordering::SeqCst))
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_minute_makes_few_dead_letters_behind_a_circuit_breaker() {
    let (letters, calls) = outage(true).await;
    assert!(letters < 100, "{letters}");
    // One call for each event, and the extra calls of the outage.
    assert!((2_000..2_400).contains(&calls), "{calls}");
    let (without, _) = outage(false).await;
    assert!(without > 1_000, "{without}");
}

#[tokio::test(start_paused = true)]
async fn a_circuit_breaker_pauses_the_group_for_all_and_ends_that_itself() {
    let world = World::new().await;
    let (failing, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let _one = world.consumer("one", world.in_outage(&failing), true).await;
    world.publish(0..200).await;
    eventually("the breaker is open", async || !world.store.pauses("g").await.unwrap().is_empty()).await;
    let pauses = world.store.pauses("g").await.unwrap();
    assert_eq!((pauses[0].source.as_str(), pauses[0].by.as_str()), ("breaker one", "one"));
    let reason = pauses[0].reason.as_deref().unwrap();
    assert_eq!(reason, "20 events in a row failed, the last with: the mail server does not answer");
    let mut two = world.consumer("two", world.counting(&calls), true).await;
    two.settled().await;
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(two.state().pauses[0].source, "breaker one");
    eventually("the group is idle", async || is_idle(&*world.store, "g").await).await;
    assert!(world.begun.elapsed() >= OUTAGE);
    assert_eq!(world.store.pauses("g").await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn events_that_fail_among_others_do_not_open_the_breaker() {
    let world = World::new().await;
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let handler = event_replay_bus::handler(move |delivery: &Delivery| {
        counted.fetch_add(1, Ordering::SeqCst);
        let bad = delivery.stored.event.id().ends_with('7');
        async move { if bad { Err(HandlerError::retry("a bad event")) } else { Ok(()) } }
    });
    let consumer = world.consumer("one", handler, true).await;
    // Each event has its own key, so no first attempt waits for another event.
    world.publish(0..500).await;
    eventually("the group is idle", async || {
        assert!(world.store.pauses("g").await.unwrap().is_empty());
        is_idle(&*world.store, "g").await
    })
    .await;
    assert_eq!(world.dead_letters().await, 50);
    assert!(consumer.state().pauses.is_empty());
}
