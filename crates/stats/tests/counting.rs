//! Counters, and their fate when the store fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{sync::Arc, time::Duration};

use domain::{
    ports::SystemClock,
    stats::{APPENDED, DELIVERED, HANDLED, REJECTED},
};
use event_replay_stats::{MAX_LABELS, Meter, OTHER};
use support::{EngineFault, FaultyStats, HandClock, MINUTE, Remembering, busy, full};

fn meter() -> (Meter, HandClock) {
    let clock = HandClock::new();
    (Meter::new(Arc::new(clock.clone())), clock)
}

#[tokio::test]
async fn counts_and_sums_are_kept_by_minute_name_and_label() {
    let (meter, clock) = meter();
    let store = FaultyStats::failing([]);
    meter.count(DELIVERED, "mailer", 2);
    meter.time(HANDLED, "user.registered", Duration::from_millis(3));
    clock.advance_minutes(1);
    meter.count(DELIVERED, "mailer", 1);
    meter.time(HANDLED, "user.registered", Duration::from_micros(7));
    meter.add(APPENDED, "", 500, 1200);
    meter.flush(&*store).await.unwrap();
    let label = || "mailer".to_owned();
    assert_eq!(store.of(DELIVERED).await, [(MINUTE, label(), 2, 0), (MINUTE + 1, label(), 1, 0)]);
    let label = || "user.registered".to_owned();
    assert_eq!(store.of(HANDLED).await, [(MINUTE, label(), 1, 3000), (MINUTE + 1, label(), 1, 7)]);
    assert_eq!(store.of(APPENDED).await, [(MINUTE + 1, String::new(), 500, 1200)]);
    meter.flush(&*store).await.unwrap();
    assert_eq!(store.calls.lock().unwrap().len(), 1, "nothing was counted since");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_that_count_while_another_flushes_lose_nothing() {
    let meter = Meter::new(Arc::new(SystemClock));
    let store = FaultyStats::failing([]);
    let threads: Vec<_> = (0..20)
        .map(|thread| {
            let meter = meter.clone();
            std::thread::spawn(move || {
                for n in 0..5_000 {
                    meter.add(HANDLED, if (n + thread) % 2 == 0 { "even" } else { "odd" }, 1, 2);
                }
            })
        })
        .collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        meter.flush(&*store).await.unwrap();
        tokio::task::yield_now().await;
    }
    meter.flush(&*store).await.unwrap();
    assert_eq!(store.total(HANDLED).await, (100_000, 200_000));
}

#[tokio::test]
async fn labels_beyond_the_bound_are_counted_together_for_each_name_by_itself() {
    let (meter, _) = meter();
    let store = FaultyStats::failing([]);
    // Several threads count, because the limit applies to the name and not to a thread.
    for part in 0..4 {
        let meter = meter.clone();
        let count = move || (0..MAX_LABELS).for_each(|n| meter.count(REJECTED, &format!("{part}/{n}"), 1));
        std::thread::spawn(count).join().unwrap();
    }
    meter.count(REJECTED, "0/5", 1);
    meter.count(HANDLED, "a type of its own", 1);
    meter.flush(&*store).await.unwrap();
    let kept = store.of(REJECTED).await;
    assert_eq!(kept.len(), MAX_LABELS + 1);
    let count_of = |label: &str| kept.iter().find(|row| row.1 == label).map(|row| row.2);
    assert_eq!(count_of(OTHER), Some(3 * MAX_LABELS as u64));
    assert_eq!((count_of("0/5"), count_of("1/5")), (Some(2), None));
    assert_eq!(store.of(HANDLED).await, [(MINUTE, "a type of its own".to_owned(), 1, 0)]);
}

#[tokio::test]
async fn what_the_store_does_not_take_is_added_by_the_next_flush() {
    for fault in [busy(), full()] {
        let (meter, _) = meter();
        let store = FaultyStats::failing([fault.clone()]);
        meter.count(DELIVERED, "g", 3);
        meter.flush(&*store).await.unwrap_err();
        meter.count(DELIVERED, "g", 4);
        meter.flush(&*store).await.unwrap();
        assert_eq!(store.total(DELIVERED).await, (7, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_never_makes_anything_count_twice() {
    let (meter, _) = meter();
    let store = FaultyStats::failing([EngineFault::None, EngineFault::AnswerLost]);
    // The samples fill three calls. The second answer is lost, and the third call is not sent yet.
    for n in 0..2_500 {
        let name = [DELIVERED, HANDLED, REJECTED][n % 3];
        meter.count(name, &(n / 3).to_string(), 1);
    }
    meter.flush(&*store).await.unwrap_err();
    meter.flush(&*store).await.unwrap();
    assert_eq!(*store.calls.lock().unwrap(), [1000, 1000, 500]);
    let mut total = 0;
    for name in [DELIVERED, HANDLED, REJECTED] {
        total += store.total(name).await.0;
    }
    assert_eq!(total, 2_500);
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_is_dropped_keeps_what_it_had_not_sent() {
    let (meter, _) = meter();
    let store = FaultyStats::failing([EngineFault::Hangs]);
    for n in 0..1_500 {
        meter.count([DELIVERED, HANDLED][n % 2], &(n / 2).to_string(), 1);
    }
    let dropped = tokio::time::timeout(Duration::from_secs(1), meter.flush(&*store)).await;
    assert!(dropped.is_err());
    meter.flush(&*store).await.unwrap();
    assert_eq!(*store.calls.lock().unwrap(), [1000, 500]);
}

#[test]
fn the_recorder_sees_counters_and_durations_under_their_documented_names() {
    let (meter, clock) = meter();
    meter.count(DELIVERED, "g", 1);
    let recorder = Remembering::default();
    let seen = recorder.clone();
    metrics::with_local_recorder(&recorder, || {
        // A recorder that is installed late gets the counts from the next minute on.
        meter.count(DELIVERED, "g", 1);
        clock.advance_minutes(1);
        meter.count(DELIVERED, "g", 5);
        meter.time(HANDLED, "user.registered", Duration::from_millis(250));
        meter.add(APPENDED, "", 10, 500_000);
    });
    let seen = seen.0.lock().unwrap();
    let expected = [
        ("event_replay_appended_seconds{kind=}", (1, 0.5)),
        ("event_replay_appended_total{kind=}", (10, 0.0)),
        ("event_replay_delivered_total{kind=g}", (5, 0.0)),
        ("event_replay_handled_seconds{kind=user.registered}", (1, 0.25)),
        ("event_replay_handled_total{kind=user.registered}", (1, 0.0)),
    ];
    assert_eq!(*seen, expected.map(|(name, of)| (name.to_owned(), of)).into());
}
