//! The task that writes counts to the store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{sync::Arc, time::Duration};

use domain::stats::DELIVERED;
use event_replay_stats::{Flusher, Meter};
use store::Store;
use support::{FaultyStats, HandClock, MINUTE, busy};

fn meter() -> Meter {
    Meter::new(Arc::new(HandClock::new()))
}

#[tokio::test(start_paused = true)]
async fn counts_reach_the_store_each_second_and_when_it_stops() {
    let (meter, store) = (meter(), FaultyStats::failing([]));
    let flusher = Flusher::spawn(meter.clone(), Arc::new(Store::clone(&store)));
    meter.count(DELIVERED, "g", 1);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(store.total(DELIVERED).await, (1, 0));
    meter.count(DELIVERED, "g", 1);
    assert_eq!(store.total(DELIVERED).await, (1, 0));
    flusher.stop().await;
    assert_eq!(store.total(DELIVERED).await, (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_loses_no_count() {
    let (meter, store) = (meter(), FaultyStats::failing(vec![busy(); 30]));
    let flusher = Flusher::spawn(meter.clone(), Arc::new(Store::clone(&store)));
    for _ in 0..20 {
        meter.count(DELIVERED, "g", 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(store.total(DELIVERED).await, (0, 0));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(store.total(DELIVERED).await, (20, 0));
    flusher.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_flush_is_tried_again_a_few_times_and_then_ends() {
    for (faults, expected) in [(2, 1), (100, 0)] {
        let (meter, store) = (meter(), FaultyStats::failing(vec![busy(); faults]));
        let flusher = Flusher::spawn(meter.clone(), Arc::new(Store::clone(&store)));
        meter.count(DELIVERED, "g", 1);
        flusher.stop().await;
        assert_eq!(store.total(DELIVERED).await.0, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn minutes_older_than_a_day_are_folded_at_once_and_then_each_hour() {
    let (meter, store) = (meter(), FaultyStats::failing([]));
    let flusher = Flusher::spawn(meter, Arc::new(Store::clone(&store)));
    tokio::time::sleep(Duration::from_secs(3 * 3600 + 60)).await;
    assert_eq!(*store.folds.lock().unwrap(), [MINUTE - 1440; 4]);
    flusher.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_flusher_that_is_dropped_flushes_no_more() {
    let (meter, store) = (meter(), FaultyStats::failing([]));
    drop(Flusher::spawn(meter.clone(), Arc::new(Store::clone(&store))));
    meter.count(DELIVERED, "g", 1);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(store.total(DELIVERED).await, (0, 0));
}
