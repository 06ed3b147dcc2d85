//! The task that appends scheduled events when they are due.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of what they share")]

mod faulty;
#[path = "support/log.rs"]
mod log;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ::stats::Meter;
use conformance::FaultScript;
use domain::{
    Document, Event, Filter, Limits, Priority,
    ports::{EventStore, ReadRequest, ScheduleOutcome, ScheduleStore},
    stats::APPENDED,
};
use event_replay_bus::{PublishOptions, PublishSettings, Published, Publisher, SchedulePump};
use faulty::{Counts, Fault, Faulty, TokioClock, TwoRules, event};
use log::Log;
use storage_memory::MemoryEngine;
use store::Store;

fn parsed(id: &str) -> Event {
    Document::parse(event(id, 1).as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
}

async fn put(schedule: &Faulty, id: &str, due_millis: i64) {
    let outcome = schedule.schedule(&parsed(id), TokioClock::at(due_millis)).await.unwrap();
    assert_eq!(outcome, ScheduleOutcome::Scheduled);
}

fn pump(schedule: &Faulty, clock: &TokioClock) -> SchedulePump {
    SchedulePump::spawn(Arc::<Store>::clone(schedule), Arc::new(clock.clone()), None)
}

fn new() -> (TokioClock, Faulty) {
    with(FaultScript::new())
}

fn with(script: FaultScript) -> (TokioClock, Faulty) {
    let clock = TokioClock::new();
    (clock.clone(), Faulty::new(MemoryEngine::new(Arc::new(clock)), script))
}

/// Returns the number of events that each step appended.
fn steps(schedule: &Faulty) -> Vec<usize> {
    schedule.batches.lock().unwrap().iter().map(Vec::len).collect()
}

async fn wait(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

async fn ids(schedule: &Faulty) -> Vec<String> {
    schedule.appended().await.into_iter().map(|(id, _)| id).collect()
}

#[tokio::test(start_paused = true)]
async fn events_are_published_in_the_order_of_their_times_and_never_early() {
    let (clock, schedule) = new();
    for (id, due) in [("late", 700_003), ("first", 40), ("second", 41), ("past", -5)] {
        put(&schedule, id, due).await;
    }
    let pump = pump(&schedule, &clock);
    wait(800_000).await;
    let expected = [("past", -5), ("first", 40), ("second", 41), ("late", 700_003)];
    let appended = schedule.appended().await;
    assert_eq!(appended.len(), expected.len());
    for ((id, at), (expected, due)) in appended.iter().zip(expected) {
        let late = at - due;
        assert_eq!(id, expected);
        assert!((0..=10).contains(&late), "{id} was published {late} ms after its time");
    }
    pump.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_another_process_schedules_and_a_clock_that_is_set_are_seen_within_a_quarter_second() {
    let (clock, schedule) = new();
    put(&schedule, "in an hour", 3_600_000).await;
    let pump = pump(&schedule, &clock);
    wait(1_000).await;
    put(&schedule, "soon", 1_100).await;
    wait(300).await;
    assert_eq!(ids(&schedule).await, ["soon"]);
    clock.set_by(3_600_000);
    wait(300).await;
    assert_eq!(ids(&schedule).await, ["soon", "in an hour"]);
    pump.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_that_are_due_at_once_go_in_bounded_steps_without_waiting() {
    let (clock, schedule) = new();
    for n in 0..600 {
        put(&schedule, &n.to_string(), 0).await;
    }
    let pump = pump(&schedule, &clock);
    wait(100).await;
    assert_eq!(steps(&schedule), [256, 256, 88]);
    pump.stop().await;
}

#[tokio::test(start_paused = true)]
async fn several_pumps_publish_each_event_once() {
    let (clock, schedule) = with(FaultScript::taking(Duration::from_millis(1)));
    let pumps: Vec<_> = (0..3).map(|_| pump(&schedule, &clock)).collect();
    for n in 0..1_000 {
        put(&schedule, &n.to_string(), n % 50).await;
    }
    wait(2_000).await;
    let mut published = ids(&schedule).await;
    published.sort();
    published.dedup();
    assert_eq!((schedule.appended().await.len(), published.len()), (1_000, 1_000));
    for pump in pumps {
        pump.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_publishes_nothing_twice() {
    let (clock, schedule) = new();
    put(&schedule, "a", 10).await;
    put(&schedule, "b", 20_000).await;
    schedule.script.plan_all("append", [Fault::AnswerLost]);
    let pump = pump(&schedule, &clock);
    wait(30_000).await;
    assert_eq!(ids(&schedule).await, ["a", "b"]);
    pump.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_event_is_not_published() {
    let (clock, schedule) = new();
    put(&schedule, "a", 100).await;
    let pump = pump(&schedule, &clock);
    wait(50).await;
    assert!(schedule.cancel_scheduled("a").await.unwrap());
    wait(1_000).await;
    assert!(schedule.appended().await.is_empty());
    pump.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_logged_once_and_what_was_due_meanwhile_is_published_after_it() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (clock, schedule) = new();
    put(&schedule, "a", 10_000).await;
    let pump = pump(&schedule, &clock);
    wait(100).await;
    schedule.script.is_away(true);
    let looks = schedule.looks();
    wait(60_000).await;
    let tries = looks.load(Ordering::SeqCst);
    assert!((5..60).contains(&tries), "{tries} tries in a minute");
    schedule.script.is_away(false);
    wait(10_000).await;
    assert_eq!(ids(&schedule).await, ["a"]);
    assert_eq!(log.levels(), [tracing::Level::ERROR, tracing::Level::INFO]);
    pump.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_clock_is_behind_is_not_asked_without_end() {
    let (clock, schedule) = new();
    let ahead = TokioClock::new();
    ahead.set_by(60_000);
    put(&schedule, "a", 50_000).await;
    let looks = schedule.looks();
    let pump = pump(&schedule, &ahead);
    wait(10_000).await;
    assert!(schedule.appended().await.is_empty());
    let looks = looks.load(Ordering::SeqCst);
    assert!(looks <= 100, "{looks} calls in ten seconds");
    wait(41_000).await;
    assert_eq!(ids(&schedule).await, ["a"]);
    pump.stop().await;
    drop(clock);
}

#[tokio::test(start_paused = true)]
async fn a_pump_that_was_stopped_or_dropped_publishes_no_more() {
    let (clock, schedule) = new();
    put(&schedule, "a", 100).await;
    pump(&schedule, &clock).stop().await;
    drop(pump(&schedule, &clock));
    wait(1_000).await;
    assert!(schedule.appended().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_pump_publishes_is_counted() {
    let (clock, schedule) = new();
    let meter = Meter::new(Arc::new(clock.clone()));
    for id in ["a", "b"] {
        put(&schedule, id, 0).await;
    }
    let store = Arc::<Store>::clone(&schedule);
    let pump = SchedulePump::spawn(store, Arc::new(clock), Some(meter.clone()));
    wait(100).await;
    pump.stop().await;
    assert_eq!(Counts::of(&meter).await.by_label(APPENDED), [(String::new(), 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_event_is_appended_when_due_with_its_delivery_options() {
    let clock = TokioClock::new();
    let store = Arc::new(Store::new(MemoryEngine::new(Arc::new(clock.clone()))));
    let publisher = Publisher::new(
        Arc::<Store>::clone(&store),
        Arc::new(TwoRules),
        Arc::new(clock.clone()),
        PublishSettings::default(),
    )
    .with_schedule(Arc::<Store>::clone(&store));
    let pump = SchedulePump::spawn(Arc::<Store>::clone(&store), Arc::new(clock.clone()), None);
    let wishes = PublishOptions {
        delay: Some(Duration::from_secs(60)),
        priority: Priority::High,
        ..PublishOptions::default()
    };
    let due = TokioClock::at(60_000);
    let published = publisher.publish_with(event("later", 1).as_bytes(), &wishes).await;
    assert_eq!(published, Ok(Published::Scheduled { due }));
    publisher.publish(event("now", 1).as_bytes()).await.unwrap();
    wait(59_000).await;
    assert_eq!(store.info().await.unwrap().events, 1);
    wait(2_000).await;
    let page = store.read(&ReadRequest::new(Filter::default(), 10)).await.unwrap();
    let [now, later] = page.events.as_slice() else { panic!("two events") };
    assert_eq!((now.event.id(), later.event.id()), ("now", "later"));
    assert_eq!(later.event.options().priority, Priority::High);
    assert!(later.stored_at >= due);
    let again = publisher.publish_with(event("later", 1).as_bytes(), &wishes).await;
    assert_eq!(again, Ok(Published::AlreadyStored(later.position)));
    pump.stop().await;
}
