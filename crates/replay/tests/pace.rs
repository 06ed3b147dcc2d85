//! Tests of the pace: it holds in every window, and does not depend on the wall clock.
// Test helpers may unwrap, because a panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use domain::{Filter, ports::TargetError};
use event_replay_replay::{Pace, ReplayOptions};
use support::{Recorder, manager, store, unpaced};

const RATES: [(f64, usize); 5] = [(100.0, 50), (33.3, 7), (1000.0, 10), (0.5, 1), (10.0, 50)];

fn assert_rate(target: &Recorder, rate: f64, batch_size: usize) {
    assert_eq!(broken_rate(target, rate, batch_size), None, "at {rate}/s");
}

/// Returns a window in which more than its length × rate + one batch was sent, as (events, seconds), if there is one.
fn broken_rate(target: &Recorder, rate: f64, batch_size: usize) -> Option<(usize, f64)> {
    let sends: Vec<_> = target.batches.iter().map(|(at, batch)| (*at, batch.len())).collect();
    for first in 0..sends.len() {
        let mut sent = 0;
        for (at, events) in &sends[first..] {
            sent += events;
            let window = at.duration_since(sends[first].0).as_secs_f64();
            // The margin covers the rounding of floats.
            let allowed = rate * window + batch_size as f64 + 1e-6;
            if sent as f64 > allowed {
                return Some((sent, window));
            }
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn the_checker_of_rates_sees_a_replay_that_is_too_fast() {
    let store = store(200).await;
    for pace in [Pace::Unpaced, Pace::Rate(101.0), Pace::Delay(Duration::from_millis(99))] {
        let options = ReplayOptions { pace, batch_size: 10, ..unpaced() };
        let mut target = Recorder::default();
        manager(&store).replay_events(Filter::default(), &options, &mut target).await.unwrap();
        assert!(broken_rate(&target, 95.0, 10).is_some(), "{pace:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_holds_in_every_window() {
    let store = store(200).await;
    for (rate, batch_size) in RATES {
        let options = ReplayOptions { pace: Pace::Rate(rate), batch_size, ..unpaced() };
        let mut target = Recorder::default();
        let report = manager(&store).replay_events(Filter::default(), &options, &mut target).await.unwrap();
        assert!(report.is_clean());
        assert_rate(&target, rate, batch_size);
        let least = options.pace.estimate(200, batch_size);
        let took = Duration::from_millis(report.duration_ms + 1);
        assert!(took >= least, "{took:?} {least:?}");
        // The replay is not much slower than the rate. The clock has a resolution of one millisecond, which each batch may add.
        assert!(
            took <= least + Duration::from_millis(2 * target.batches.len() as u64 + 2),
            "{took:?} {least:?}"
        );
    }
}

/// For every requested batch size, a batch has at most the events of a tenth of a second. The batches are evenly
/// spaced.
#[tokio::test(start_paused = true)]
async fn events_are_evenly_spaced_under_a_rate() {
    let store = store(200).await;
    for (rate, batch_size, expected) in
        [(5.0, 50, 1), (10.0, 50, 1), (100.0, 50, 10), (100.0, 3, 3), (2000.0, 50, 50)]
    {
        let options = ReplayOptions { pace: Pace::Rate(rate), batch_size, ..unpaced() };
        let mut target = Recorder::default();
        manager(&store).replay_events(Filter::default(), &options, &mut target).await.unwrap();
        let (last, all) = target.batches.split_last().unwrap();
        assert!(
            all.iter().all(|(_, batch)| batch.len() == expected) && last.1.len() <= expected,
            "at {rate}/s"
        );
        assert_rate(&target, rate, expected);
        for pair in target.batches.windows(2) {
            let apart = pair[1].0.duration_since(pair[0].0).as_secs_f64();
            let wanted = expected as f64 / rate;
            assert!((wanted..wanted + 0.002).contains(&(apart + 1e-9)), "at {rate}/s: {apart} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn time_lost_to_a_slow_target_or_to_retries_is_not_made_up_for() {
    let store = store(200).await;
    let options = ReplayOptions { pace: Pace::Rate(100.0), batch_size: 10, ..unpaced() };
    let mut target = Recorder::failing([
        TargetError::Unavailable("restarting".to_owned()),
        TargetError::Unavailable("restarting".to_owned()),
    ]);
    target.takes = Duration::from_millis(170);
    manager(&store).replay_events(Filter::default(), &options, &mut target).await.unwrap();
    assert_eq!(target.batches.len(), 22);
    assert_rate(&target, 100.0, 10);
}

#[tokio::test(start_paused = true)]
async fn a_delay_lies_between_batches_and_not_around_them() {
    let store = store(150).await;
    let options = ReplayOptions { pace: Pace::Delay(Duration::from_millis(500)), ..unpaced() };
    let mut target = Recorder { takes: Duration::from_millis(100), ..Recorder::default() };
    let report = manager(&store).replay_events(Filter::default(), &options, &mut target).await.unwrap();
    assert_eq!(report.duration_ms, 3 * 100 + 2 * 500);
}

#[tokio::test]
async fn a_rate_that_is_no_rate_is_refused() {
    let store = store(1).await;
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let options = ReplayOptions { pace: Pace::Rate(rate), ..unpaced() };
        let refused =
            manager(&store).replay_events(Filter::default(), &options, &mut Recorder::default()).await;
        assert_eq!(refused.unwrap_err().kind(), "invalid-option", "{rate}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_slowest_rate_can_be_waited_for_and_cancelled() {
    let store = store(100).await;
    let options = ReplayOptions { pace: Pace::Rate(f64::MIN_POSITIVE), ..unpaced() };
    let cancel = options.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        cancel.cancel();
    });
    let report =
        manager(&store).replay_events(Filter::default(), &options, &mut Recorder::default()).await.unwrap();
    assert_eq!((report.successful_replays, report.remaining), (1, 99));
    assert_eq!(options.pace.estimate(100, 50), Duration::MAX);
}
