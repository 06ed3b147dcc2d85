//! Attacks that an adversarial review found, each with its fix under test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use conformance::{EngineFault, FaultScript, FaultyEngine};
use domain::{
    Delivery, Entity, HandlerError,
    group::{GroupSpec, LaneOrigin, NewLaneBatch, segment_of},
    ports::{EventHandler, EventStore, GroupStore},
};
use event_replay_bus::{Bus, ConsumerError, StartAt};
use storage_memory::MemoryEngine;
use store::Store;
use support::{TokioClock, bus_over, event, eventually, is_idle, typed};

type Seen = Arc<Mutex<Vec<String>>>;

/// A handler that records its events. `answer` returns how long a call takes, or why it fails.
fn noting(
    seen: &Seen,
    answer: impl Fn(&Delivery) -> Result<Duration, HandlerError> + Send + Sync + 'static,
) -> Arc<dyn EventHandler> {
    let seen = Arc::clone(seen);
    event_replay_bus::handler(move |delivery: &Delivery| {
        seen.lock().unwrap().push(delivery.stored.event.id().to_owned());
        let answer = answer(delivery);
        async move {
            tokio::time::sleep(answer?).await;
            Ok(())
        }
    })
}

fn times(seen: &Seen, id: &str) -> usize {
    seen.lock().unwrap().iter().filter(|other| *other == id).count()
}

async fn world() -> (Arc<Store>, Bus) {
    let clock = TokioClock::start();
    let store = Arc::new(Store::new(MemoryEngine::new(Arc::new(clock))));
    let bus = bus_over(store.clone(), clock).await;
    (store, bus)
}

#[tokio::test(start_paused = true)]
async fn replays_that_wait_to_be_tried_again_leave_live_events_alone() {
    let (store, bus) = world().await;
    let seen = Seen::default();
    let handler = noting(&seen, |delivery| match delivery.is_replay() {
        true => Err(HandlerError::retry_after(Duration::from_secs(3600), "later")),
        false => Ok(Duration::ZERO),
    });
    let _consumer =
        bus.subscribe("g").on_everything(handler).start_at(StartAt::Earliest).start().await.unwrap();
    let ids: Vec<String> = (0..120).map(|n| format!("e{n}")).collect();
    for id in &ids {
        bus.publish(&event(id, id)).await.unwrap();
    }
    eventually("all were handled", async || seen.lock().unwrap().len() == 120).await;
    let mut segments: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for stored in &store.get(&ids).await.unwrap() {
        let segment = segment_of(&stored.event.ordering_key(), 0, 1, 16);
        segments.entry(segment).or_default().push(stored.position.sequence);
    }
    let batch = |(segment, positions)| NewLaneBatch {
        group: "g".to_owned(),
        segment,
        origin: LaneOrigin::Replay { replay_id: "r".to_owned(), batch: 0 },
        positions,
    };
    store.enqueue(None, &segments.into_iter().map(batch).collect::<Vec<_>>()).await.unwrap();
    eventually("all were replayed once", async || seen.lock().unwrap().len() == 240).await;
    bus.publish(&event("live", "someone")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(times(&seen, "live"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_entity_of_the_kind_event_is_found_again() {
    let (store, bus) = world().await;
    let seen = Seen::default();
    let handler = noting(&seen, |delivery| match delivery.attempt {
        1 => Err(HandlerError::retry("not yet")),
        _ => Ok(Duration::ZERO),
    });
    let _consumer =
        bus.subscribe("g").on_everything(handler).start_at(StartAt::Earliest).start().await.unwrap();
    for (id, member) in [("e1", r#","eventId":"concert-7""#), ("e2", r#","eventId":"concert-7""#), ("e3", "")]
    {
        let json = format!(
            r#"{{"id":"{id}","type":"t","version":"1","timestamp":"2026-01-01T00:00:00Z","source":"s","metadata":{{}}{member}}}"#
        );
        bus.publish(json.as_bytes()).await.unwrap();
    }
    eventually("the group is idle", async || is_idle(&*store, "g").await).await;
    assert_eq!([times(&seen, "e1"), times(&seen, "e2"), times(&seen, "e3")], [2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_parked_behind_an_erased_event_goes_on() {
    let (store, bus) = world().await;
    let seen = Seen::default();
    let handler = noting(&seen, |delivery| match delivery.stored.event.id() {
        "bad" => Err(HandlerError::give_up("no")),
        _ => Ok(Duration::ZERO),
    });
    let subscription = bus.subscribe("g").on_everything(handler).start_at(StartAt::Earliest).park(true);
    let _consumer = subscription.start().await.unwrap();
    let bad = r#"{"id":"bad","type":"t","version":"1","timestamp":"2026-01-01T00:00:00Z","source":"s","metadata":{},"userId":"u","labId":"l"}"#;
    bus.publish(bad.as_bytes()).await.unwrap();
    bus.publish(&event("behind", "u")).await.unwrap();
    eventually("the key is parked", async || {
        store.group("g").await.unwrap().unwrap().segments.iter().any(|segment| segment.parked_keys == 1)
    })
    .await;
    store.erase(&Entity::new("lab", "l")).await.unwrap();
    eventually("the key goes on", async || times(&seen, "behind") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_recreated_group_with_other_segments_is_not_the_old_one() {
    let (store, bus) = world().await;
    let seen = Seen::default();
    let handler = noting(&seen, |_| Ok(Duration::ZERO));
    let mut consumer = bus.subscribe("g").on_everything(handler).start().await.unwrap();
    consumer.settled().await;
    let head = store.head().await.unwrap();
    store.delete_group("g").await.unwrap();
    store.create_group(&GroupSpec { segments: 4, ..GroupSpec::new("g") }, &head).await.unwrap();
    assert_eq!(consumer.ended().await, Err(ConsumerError::GroupDeleted("g".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn consumers_of_other_types_stand_aside_and_pass_nothing() {
    let (store, bus) = world().await;
    let (old, new) = (Seen::default(), Seen::default());
    let _old = bus.subscribe("g").on("a", noting(&old, |_| Ok(Duration::ZERO))).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let other = bus_over(store.clone(), TokioClock::start()).await;
    let both = ["a".to_owned(), "b".to_owned()];
    let subscription = other.subscribe("g").on_all_of(both, noting(&new, |_| Ok(Duration::ZERO)));
    let _new = subscription.start().await.unwrap();
    // A third of a lease passes first, because the old consumers may not notice the change earlier.
    tokio::time::sleep(Duration::from_secs(4)).await;
    for n in 0..40 {
        bus.publish(&typed(&format!("e{n}"), &format!("u{n}"), "b")).await.unwrap();
    }
    eventually("the new ones get all", async || new.lock().unwrap().len() == 40).await;
}

/// A bus whose store loses the answer to the first lease, and the number of segment commits.
async fn tricked() -> (Arc<AtomicUsize>, Bus) {
    let clock = TokioClock::start();
    // The store calls take time. Without it, a paused clock would never advance while a caller retries.
    let script = Arc::new(FaultScript::taking(Duration::from_millis(1)));
    script.plan(|call| call.takes_leases(), EngineFault::AnswerLost);
    let commits = script.count(|call| call.is_segment_commit());
    let engine = FaultyEngine::new(Arc::new(MemoryEngine::new(Arc::new(clock))), script);
    (commits, bus_over(Arc::new(Store::new(engine)), clock).await)
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_lease_leaves_no_segment_unserved() {
    let (_, bus) = tricked().await;
    let seen = Seen::default();
    let handler = noting(&seen, |_| Ok(Duration::ZERO));
    let _consumer =
        bus.subscribe("g").on_everything(handler).start_at(StartAt::Earliest).start().await.unwrap();
    for n in 0..40 {
        bus.publish(&event(&format!("e{n}"), &format!("u{n}"))).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(seen.lock().unwrap().len(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_slow_event_does_not_make_its_consumer_commit_again_and_again() {
    let (commits, bus) = tricked().await;
    let seen = Seen::default();
    let handler = noting(&seen, |delivery| match delivery.stored.event.id() {
        "e5" => Ok(Duration::from_secs(20)),
        _ => Ok(Duration::ZERO),
    });
    for n in 0..1500 {
        bus.publish(&event(&format!("e{n}"), &format!("u{n}"))).await.unwrap();
    }
    let subscription = bus.subscribe("g").on_everything(handler).start_at(StartAt::Earliest);
    let _consumer = subscription.segments(1).start().await.unwrap();
    eventually("all were handed over", async || seen.lock().unwrap().len() == 1500).await;
    let commits = commits.load(Ordering::SeqCst);
    assert!(commits < 300, "{commits} commits for 1500 events");
}
