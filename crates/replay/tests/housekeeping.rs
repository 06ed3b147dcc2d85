//! Tests of repeated retention, and of a namespace that keeps events only until delivery.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{sync::Arc, time::Duration};

use domain::{RetentionRule, ports::*};
use event_replay_replay::{Housekeeper, HousekeepingOptions, ReplayManager, retention::in_force};
use storage_memory::MemoryEngine;
use store::Store;
use support::{
    append,
    world::{TokioClock, make_group},
};

const HOUR: Duration = Duration::from_secs(3600);

/// Creates a store of five events, and a manager, both on tokio's clock.
async fn keeping(keeps: RetentionMode) -> (Arc<Store>, ReplayManager) {
    let clock = Arc::new(TokioClock::new());
    let store = Arc::new(Store::new(MemoryEngine::keeping(clock.clone(), keeps)));
    append(&store, 0..5).await;
    let manager = ReplayManager::new(store.clone(), store.clone(), store.clone(), None, clock);
    (store, manager)
}

async fn left(store: &Store) -> u64 {
    store.info().await.unwrap().events
}

fn at_most(events: u64) -> RetentionRule {
    RetentionRule { max_events: Some(events), ..RetentionRule::default() }
}

#[tokio::test(start_paused = true)]
async fn what_is_delivered_goes_without_a_rule_where_only_deliveries_are_kept() {
    let (store, manager) = keeping(RetentionMode::UntilDelivered).await;
    let young = manager.apply_retention(&[], false, None).await.unwrap();
    assert_eq!((young.events, left(&store).await), (0, 5), "their ids are still known");
    tokio::time::sleep(25 * HOUR).await;
    let dry = manager.apply_retention(&[RetentionRule::default()], true, None).await.unwrap();
    assert_eq!((dry.events, left(&store).await), (5, 5));
    let old = manager.apply_retention(&[], false, None).await.unwrap();
    assert_eq!((old.events, left(&store).await), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_group_has_not_passed_stays() {
    let (store, manager) = keeping(RetentionMode::UntilDelivered).await;
    make_group(&store, "g", "").await;
    append(&store, 5..8).await;
    tokio::time::sleep(25 * HOUR).await;
    manager.apply_retention(&[], false, None).await.unwrap();
    assert_eq!(left(&store).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_history_loses_nothing_without_a_rule() {
    let (store, manager) = keeping(RetentionMode::History).await;
    tokio::time::sleep(400 * 24 * HOUR).await;
    manager.apply_retention(&[], false, None).await.unwrap();
    assert_eq!(left(&store).await, 5);
    assert!(in_force(&*store, &[]).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rules_that_are_set_are_the_rules_in_force() {
    for keeps in [RetentionMode::History, RetentionMode::UntilDelivered] {
        let (store, _) = keeping(keeps).await;
        let rules = [at_most(2)];
        assert_eq!(*in_force(&*store, &rules).await.unwrap(), rules);
    }
}

#[tokio::test(start_paused = true)]
async fn a_housekeeper_needs_no_rule_either() {
    let (store, manager) = keeping(RetentionMode::UntilDelivered).await;
    let keeper = Housekeeper::spawn(manager, HousekeepingOptions::default());
    tokio::time::sleep(23 * HOUR).await;
    assert_eq!(left(&store).await, 5);
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(left(&store).await, 0);
    keeper.stop().await;
}

#[tokio::test]
async fn a_housekeeper_that_is_stopped_ends_after_the_step_it_is_at() {
    let (store, manager) = keeping(RetentionMode::History).await;
    append(&store, 5..10_000).await;
    let options = HousekeepingOptions { rules: vec![at_most(1)], every: HOUR };
    Housekeeper::spawn(manager, options).stop().await;
    let left = left(&store).await;
    assert!(left < 10_000, "its first step is made");
    assert!(left > 1, "and not the whole round");
}
