//! Tests of checkpoints: the mark is a real position, recovery starts right after it, and every gap is reported.
// Test helpers may unwrap, because a panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use domain::{
    Cursor, Filter, RetentionRule, StoreId,
    ports::{CheckpointStore, EventStore, GroupHolds, TrimRequest},
};
use event_replay_replay::{GapCause, NewCheckpoint, PlanRequest, ReplayError, ReplayOptions};
use serde_json::{Map, json};
use store::Store;
use support::{Recorder, append, manager, store, types, unpaced};

fn named(name: &str) -> NewCheckpoint {
    NewCheckpoint { name: name.to_owned(), ..NewCheckpoint::default() }
}

async fn trim_to(store: &Store, newest: u64) {
    let rule = RetentionRule { max_events: Some(newest), ..RetentionRule::default() };
    store
        .trim(&TrimRequest {
            rule,
            holds: vec![],
            limit: 100_000,
            dry_run: false,
            groups: GroupHolds::default(),
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_checkpoint_marks_its_event_and_counts_what_is_before_it() {
    let store = store(100).await;
    let manager = manager(&store);
    let metadata: Map<_, _> = [("reason".to_owned(), json!("migration"))].into_iter().collect();
    let made = manager.create_checkpoint("before", Some("e41"), metadata.clone()).await.unwrap();
    assert_eq!((made.mark.sequences.as_slice(), made.event_count), (&[42][..], 42));
    assert_eq!((made.last_processed_event_id.as_str(), &made.metadata), ("e41", &metadata));
    assert_eq!(manager.checkpoints().find("before").await.unwrap(), made);
    assert_eq!(manager.checkpoints().find(&made.id).await.unwrap(), made);
}

#[tokio::test]
async fn a_checkpoint_without_an_event_marks_the_head() {
    let store = store(100).await;
    let made = manager(&store).create_checkpoint("head", None, Map::new()).await.unwrap();
    assert_eq!((made.last_processed_event_id.as_str(), made.event_count), ("e99", 100));
    assert_eq!(made.mark, store.head().await.unwrap());
    let empty = support::store(0).await;
    let made = manager(&empty).create_checkpoint("head", None, Map::new()).await.unwrap();
    assert_eq!((made.last_processed_event_id.as_str(), made.event_count), ("", 0));
}

#[tokio::test]
async fn what_cannot_be_a_checkpoint_is_refused() {
    let store = store(3).await;
    let manager = manager(&store);
    let create = async |name: &str, event| manager.create_checkpoint(name, event, Map::new()).await;
    create("taken", None).await.unwrap();
    for (made, kind) in [
        (create("x", Some("nowhere")).await, "unknown-event"),
        (create("", None).await, "invalid-option"),
        (create(&"x".repeat(129), None).await, "invalid-option"),
        (create("taken", None).await, "name-taken"),
    ] {
        assert_eq!(made.unwrap_err().kind(), kind);
    }
    assert_eq!(manager.checkpoints().list().await.unwrap().len(), 1);
    append(&store, [3]).await;
    let moved = NewCheckpoint { replace: true, ..named("taken") };
    assert_eq!(manager.checkpoints().create(moved).await.unwrap().event_count, 4);
    let error = manager.checkpoints().find("other").await.unwrap_err();
    assert!(error.to_string().ends_with("there are: taken"), "{error}");
}

#[tokio::test]
async fn recovery_replays_what_came_after_late_events_included() {
    let store = store(60).await;
    let manager = manager(&store);
    manager.create_checkpoint("mark", Some("e49"), Map::new()).await.unwrap();
    // Event 61 happened on the sixth, long before the newest events. It arrived late, after the mark.
    append(&store, 60..65).await;
    let mut target = Recorder::default();
    let options = ReplayOptions { all: false, ..unpaced() };
    let report = manager.recover_from_checkpoint("mark", &options, &mut target).await.unwrap();
    assert_eq!(target.ids(), (50..65).map(|n| format!("e{n}")).collect::<Vec<_>>());
    assert!(report.is_clean());
    let plan = manager
        .recovery_plan(
            "mark",
            PlanRequest { limit: Some(2), ..PlanRequest::new(types("course.*")) },
            false,
            None,
        )
        .await
        .unwrap();
    assert_eq!((plan.total_events, plan.end().unwrap().sequences.as_slice()), (2, &[54][..]));
}

#[tokio::test]
async fn a_trimmed_checkpoint_is_a_gap_that_can_be_allowed() {
    let store = store(100).await;
    let manager = manager(&store);
    manager.create_checkpoint("early", Some("e29"), Map::new()).await.unwrap();
    manager.create_checkpoint("edge", Some("e39"), Map::new()).await.unwrap();
    trim_to(&store, 60).await;
    let edge = manager.recovery_plan("edge", PlanRequest::new(Filter::default()), false, None).await.unwrap();
    assert_eq!(edge.total_events, 60, "nothing after its mark is gone");
    match manager.recovery_plan("early", PlanRequest::new(Filter::default()), false, None).await.unwrap_err()
    {
        ReplayError::CheckpointGap { name, cause, .. } => {
            assert_eq!(name, "early");
            assert_eq!(cause, GapCause::Trimmed { partition: 0, first: 31, last: 40 });
        }
        other => panic!("{other}"),
    }
    let mut target = Recorder::default();
    let recovered = manager.recover_from_checkpoint("early", &unpaced(), &mut target).await;
    assert_eq!(recovered.unwrap_err().kind(), "checkpoint-gap");
    assert!(target.batches.is_empty());
    let allowed =
        manager.recovery_plan("early", PlanRequest::new(Filter::default()), true, None).await.unwrap();
    assert_eq!(allowed.total_events, 60);
}

#[tokio::test]
async fn a_foreign_or_lost_checkpoint_is_a_gap_that_nothing_allows() {
    let store = store(10).await;
    let manager = manager(&store);
    let mut made = manager.create_checkpoint("mark", None, Map::new()).await.unwrap();
    let head = store.head().await.unwrap();
    for (mark, foreign) in [
        (Cursor::new(StoreId(head.store.0 ^ 1), head.epoch, vec![5]), true),
        (Cursor::new(head.store, head.epoch, vec![11]), false),
        (Cursor::new(head.store, head.epoch + 1, vec![5]), false),
    ] {
        made.mark = mark;
        store.save_checkpoint(made.clone(), true).await.unwrap();
        match manager
            .recovery_plan("mark", PlanRequest::new(Filter::default()), true, None)
            .await
            .unwrap_err()
        {
            ReplayError::CheckpointGap { cause: GapCause::Foreign { .. }, .. } => assert!(foreign),
            ReplayError::CheckpointGap { cause: GapCause::Lost(_), .. } => assert!(!foreign),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_diff_counts_between_two_marks_in_either_order() {
    let store = store(100).await;
    let manager = manager(&store);
    manager.create_checkpoint("a", Some("e29"), Map::new()).await.unwrap();
    manager.create_checkpoint("b", Some("e59"), Map::new()).await.unwrap();
    for (one, other) in [("a", "b"), ("b", "a")] {
        let diff = manager.diff_checkpoints(one, other).await.unwrap();
        assert_eq!((diff.from.as_str(), diff.to.as_str(), diff.total_events), ("a", "b", 30));
        assert_eq!(diff.by_type.values().copied().collect::<Vec<_>>(), [10, 10, 10]);
        assert!(!diff.incomplete);
    }
    assert_eq!(manager.diff_checkpoints("a", "a").await.unwrap().total_events, 0);
    trim_to(&store, 50).await;
    let diff = manager.diff_checkpoints("a", "b").await.unwrap();
    assert_eq!((diff.total_events, diff.incomplete), (10, true));
}

#[tokio::test]
async fn retention_removes_what_its_rules_say_and_no_checkpoint_holds() {
    let store = store(10_000).await;
    let manager = manager(&store);
    manager.checkpoints().create(named("loose")).await.unwrap();
    let holding =
        NewCheckpoint { last_processed_event_id: Some("e4999".to_owned()), hold: true, ..named("holding") };
    manager.checkpoints().create(holding).await.unwrap();
    let rules =
        [RetentionRule::default(), RetentionRule { max_events: Some(1000), ..RetentionRule::default() }];
    let dry = manager.apply_retention(&rules, true, None).await.unwrap();
    assert_eq!((dry.events, store.info().await.unwrap().events), (5000, 10_000));
    let steps = std::sync::Mutex::new(Vec::new());
    let progress = |report: &event_replay_replay::RetentionReport| steps.lock().unwrap().push(report.events);
    let done = manager.apply_retention(&rules, false, Some(&progress)).await.unwrap();
    assert_eq!((done.events, done.bytes), (dry.events, dry.bytes));
    assert_eq!(done.held_by, ["checkpoint holding"]);
    assert!(steps.lock().unwrap().is_sorted() && steps.lock().unwrap().len() > 1);
    assert_eq!(
        manager
            .recovery_plan("holding", PlanRequest::new(Filter::default()), false, None)
            .await
            .unwrap()
            .total_events,
        5000
    );
}

#[tokio::test]
async fn checkpoints_of_another_store_hold_nothing_here() {
    let store = store(10).await;
    let manager = manager(&store);
    let mut made = manager.checkpoints().create(NewCheckpoint { hold: true, ..named("x") }).await.unwrap();
    assert_eq!(manager.checkpoints().holds().await.unwrap().len(), 1);
    made.mark.store = StoreId(made.mark.store.0 ^ 1);
    Arc::clone(&store).save_checkpoint(made, true).await.unwrap();
    assert!(manager.checkpoints().holds().await.unwrap().is_empty());
}
