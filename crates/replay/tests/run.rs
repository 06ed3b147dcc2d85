//! Tests of runs: a run sends exactly its plan's set, in log order, and reports every event of the set.
// Test helpers may unwrap, because a panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use conformance::{EngineFault, FaultScript};
use domain::{
    Entity, Filter, Position, RetentionRule, StorageFailure,
    ports::{DeliveryOutcome, EventStore, GroupHolds, ReplayTarget, TargetError, TrimRequest},
};
use event_replay_replay::{
    PlanRequest, ReplayError, ReplayOptions, ReplayProgress, ReplayReport, ReplayStatus,
};
use storage_memory::MemoryEngine;
use store::Store;
use support::{
    Recorder, append, behind, dump, failing_reads, manager, manager_of, replay_counts, store, store_on,
    types, unpaced,
};

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("e{n}")).collect()
}

fn assert_adds_up(report: &ReplayReport) {
    assert_eq!(report.done() + report.missing + report.remaining, report.total_events, "{report:?}");
}

#[tokio::test]
async fn a_run_sends_the_plans_set_in_log_order() {
    let store = store(2500).await;
    let manager = manager(&store);
    let request = PlanRequest { limit: Some(1234), ..PlanRequest::new(types("user.*")) };
    let plan = manager.plan(request, None).await.unwrap();
    let mut target = Recorder::default();
    let report = manager.run(&plan, &mut target, &unpaced(), &()).await.unwrap();
    assert_eq!(target.ids(), ids((0..2500).filter(|n| n % 3 != 2).take(1234)));
    assert!(target.batches[..24].iter().all(|(_, batch)| batch.len() == 50));
    assert_eq!(report.successful_replays, 1234);
    assert!(report.is_clean());
    assert_eq!(report.plan_hash, plan.plan_hash);
}

#[tokio::test]
async fn what_arrives_during_a_replay_is_not_in_it() {
    let store = store(200).await;
    let manager = manager(&store);
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    append(&store, 200..210).await;
    let (other, runtime) = (Arc::<Store>::clone(&store), tokio::runtime::Handle::current());
    let during = move |call: usize| {
        let other = Arc::clone(&other);
        runtime.spawn(async move { append(&other, [1000 + call as u64]).await });
    };
    let mut target = Recorder { during: Some(Box::new(during)), ..Recorder::default() };
    let report = manager.run(&plan, &mut target, &unpaced(), &()).await.unwrap();
    assert_eq!(target.ids(), ids(0..200));
    assert!(report.is_clean());
}

#[tokio::test]
async fn a_replay_stores_nothing_and_counts_each_delivery_once() {
    let store = store(300).await;
    let before = dump(&store).await;
    let manager = manager(&store);
    let mut target = Recorder {
        verdict: Some(Box::new(|delivery| match delivery.stored.event.event_type() {
            "course.c" => DeliveryOutcome::Skipped,
            "user.b" => DeliveryOutcome::Failed("no".to_owned()),
            _ => DeliveryOutcome::Handled,
        })),
        ..Recorder::default()
    };
    let report = manager.replay_events(Filter::default(), &unpaced(), &mut target).await.unwrap();
    assert_eq!(
        (report.successful_replays, report.failed_replays, report.skipped_events),
        (100, 100, 100),
        "the three add up"
    );
    assert_eq!(report.errors.len(), 100);
    assert_eq!((report.errors[0].event_id.as_str(), report.errors[0].error.as_str()), ("e1", "no"));
    assert_eq!(dump(&store).await, before);
    let counts: Vec<u32> = (0..300).map(|n| u32::from(n % 3 != 2)).collect();
    assert_eq!(replay_counts(&store).await, counts);

    let mut again = Recorder::default();
    manager.replay_events(types("user.a"), &unpaced(), &mut again).await.unwrap();
    assert!(again.deliveries().all(|delivery| delivery.replay_count() == 2));
    let replay = &again.batches[0].1[0].replay_id;
    assert!(again.deliveries().all(|delivery| delivery.replay_id == *replay) && *replay != report.replay_id);
}

#[tokio::test]
async fn the_report_has_the_documented_form() {
    let store = store(1).await;
    let mut target = Recorder {
        verdict: Some(Box::new(|_| DeliveryOutcome::Failed("no such user".to_owned()))),
        ..Recorder::default()
    };
    let report = manager(&store).replay_user_events("u0", &unpaced(), &mut target).await.unwrap();
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!(value["status"], "COMPLETED");
    for (member, number) in
        [("totalEvents", 1), ("successfulReplays", 0), ("failedReplays", 1), ("skippedEvents", 0)]
    {
        assert_eq!(value[member], number, "{member}");
    }
    assert_eq!(value["groups"], serde_json::json!([]));
    assert!(value["planHash"].is_string() && value["durationMs"].is_u64());
    let error = value["errors"][0].as_object().unwrap();
    assert_eq!(error.keys().collect::<Vec<_>>(), ["error", "eventId", "eventType", "timestamp"]);
}

#[tokio::test]
async fn the_errors_kept_are_bounded() {
    let store = store(1500).await;
    let mut target = Recorder {
        verdict: Some(Box::new(|_| DeliveryOutcome::Failed("no".to_owned()))),
        ..Recorder::default()
    };
    let report = manager(&store).replay_events(Filter::default(), &unpaced(), &mut target).await.unwrap();
    assert_eq!((report.failed_replays, report.errors.len(), report.errors_truncated), (1500, 1000, true));
}

#[tokio::test]
async fn everything_is_replayed_only_when_told_so() {
    let store = store(3).await;
    let manager = manager(&store);
    let options = ReplayOptions { all: false, ..unpaced() };
    let mut target = Recorder::default();
    let refused = manager.replay_events(Filter::default(), &options, &mut target).await;
    assert!(matches!(refused, Err(ReplayError::Everything)));
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    assert!(matches!(manager.run(&plan, &mut target, &options, &()).await, Err(ReplayError::Everything)));
    assert!(target.batches.is_empty());
    manager.replay_events(Filter::default(), &unpaced(), &mut target).await.unwrap();
    assert_eq!(target.ids(), ids(0..3));
}

#[tokio::test]
async fn the_seeds_calls_choose_a_workflow_and_a_user() {
    let store = store(100).await;
    let manager = manager(&store);
    let options = ReplayOptions { limit: Some(4), ..unpaced() };
    let mut workflow = Recorder::default();
    manager.replay_correlated_events("c3", &options, &mut workflow).await.unwrap();
    assert_eq!(workflow.ids(), ids([3, 10, 17, 24]));
    let mut user = Recorder::default();
    manager.replay_user_events("u2", &options, &mut user).await.unwrap();
    assert_eq!(user.ids(), ids([2, 7, 12, 17]));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_target_is_tried_again_with_the_same_batch() {
    let store = store(100).await;
    let down = || TargetError::Unavailable("refused".to_owned());
    let mut target = Recorder::failing([down(), down(), down()]);
    let report = manager(&store).replay_events(Filter::default(), &unpaced(), &mut target).await.unwrap();
    assert!(report.is_clean());
    assert_eq!(target.batches.len(), 5);
    assert_eq!(target.ids()[..200], [ids(0..50), ids(0..50), ids(0..50), ids(0..50)].concat());
    assert_eq!(replay_counts(&store).await, [1; 100]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_stays_unreachable_fails_the_run() {
    let store = store(100).await;
    let options = ReplayOptions { max_retries: 2, batch_size: 30, ..unpaced() };
    let down = std::iter::repeat_with(|| TargetError::Unavailable("refused".to_owned())).take(100);
    let mut target = Recorder::failing(down);
    let report = manager(&store).replay_events(Filter::default(), &options, &mut target).await.unwrap();
    assert_eq!((report.status, target.batches.len()), (ReplayStatus::Failed, 3));
    assert_eq!((report.failed_replays, report.remaining), (0, 100), "no event was with the target");
    assert!(report.ended.as_ref().is_some_and(|why| why.contains("refused")));
    assert_adds_up(&report);
}

#[tokio::test]
async fn a_target_that_fails_for_good_is_not_tried_again() {
    let store = store(100).await;
    let mut target = Recorder::failing([TargetError::Failed("disk full".to_owned())]);
    let report = manager(&store).replay_events(Filter::default(), &unpaced(), &mut target).await.unwrap();
    assert_eq!((report.status, target.batches.len()), (ReplayStatus::Failed, 1));
    assert_adds_up(&report);
}

struct Mute;

#[async_trait::async_trait]
impl ReplayTarget for Mute {
    async fn deliver(
        &mut self,
        _: &[domain::ports::ReplayDelivery],
    ) -> Result<Vec<DeliveryOutcome>, TargetError> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_target_that_does_not_answer_for_every_event_fails_the_run() {
    let report =
        manager(&store(10).await).replay_events(Filter::default(), &unpaced(), &mut Mute).await.unwrap();
    assert_eq!((report.status, report.failed_replays), (ReplayStatus::Failed, 10));
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_run_quietly() {
    let store = store(100).await;
    let mut target = Recorder::failing([TargetError::Closed]);
    let report = manager(&store).replay_events(Filter::default(), &unpaced(), &mut target).await.unwrap();
    assert_eq!((report.status, report.failed_replays, report.remaining), (ReplayStatus::Cancelled, 0, 100));
}

#[tokio::test]
async fn a_cancelled_run_ends_after_the_batch_in_hand() {
    let store = store(500).await;
    let options = unpaced();
    let cancel = options.cancel.clone();
    let during = move |call| {
        if call == 3 {
            cancel.cancel();
        }
    };
    let mut target = Recorder { during: Some(Box::new(during)), ..Recorder::default() };
    let report = manager(&store).replay_events(Filter::default(), &options, &mut target).await.unwrap();
    assert_eq!(report.status, ReplayStatus::Cancelled);
    assert_eq!((report.successful_replays, report.remaining, report.missing), (150, 350, 0));
    assert_eq!(target.ids(), ids(0..150));
}

#[tokio::test(start_paused = true)]
async fn a_pause_does_not_keep_a_run_from_being_cancelled() {
    let store = store(500).await;
    let options =
        ReplayOptions { pace: event_replay_replay::Pace::Delay(Duration::from_secs(86_400)), ..unpaced() };
    let cancel = options.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cancel.cancel();
    });
    let mut target = Recorder::default();
    let report = manager(&store).replay_events(Filter::default(), &options, &mut target).await.unwrap();
    assert_eq!((report.status, report.successful_replays), (ReplayStatus::Cancelled, 50));
    assert_eq!(report.duration_ms, 5000);
}

#[tokio::test]
async fn what_was_erased_since_the_plan_is_named_and_nothing_takes_its_place() {
    let store = store(25_000).await;
    let manager = manager(&store);
    let request = PlanRequest { limit: Some(22_000), ..PlanRequest::new(Filter::default()) };
    let plan = manager.plan(request, None).await.unwrap();
    append(&store, [25_000]).await;
    let erased = store.erase(&Entity::new("user", "u1")).await.unwrap().events;
    assert_eq!(erased, 5000);
    let mut target = Recorder::default();
    let report = manager.run(&plan, &mut target, &unpaced(), &()).await.unwrap();
    assert_eq!(target.ids(), ids((0..22_000).filter(|n| n % 5 != 1)));
    assert_eq!((report.missing, report.successful_replays), (4400, 17_600));
    let gaps: Vec<_> = report.gaps.iter().map(|gap| (gap.segment, gap.missing)).collect();
    assert_eq!(gaps, [(0, 2000), (1, 2000), (2, 400)]);
    assert!(!report.is_clean());
    assert_adds_up(&report);
}

#[tokio::test]
async fn what_was_trimmed_since_the_plan_is_named() {
    let store = store(25_000).await;
    let manager = manager(&store);
    let plan = manager.plan(PlanRequest::new(types("user.*")), None).await.unwrap();
    let rule = RetentionRule { max_events: Some(1000), ..RetentionRule::default() };
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
    let report = manager.run(&plan, &mut Recorder::default(), &unpaced(), &()).await.unwrap();
    assert_eq!(report.gaps[0].missing, 10_000, "a whole segment is gone");
    assert_eq!(report.missing + report.successful_replays, plan.total_events);
    assert!(report.missing > 15_000);
}

#[tokio::test]
async fn a_plan_whose_events_are_all_gone_completes_with_nothing_sent() {
    let store = store(10).await;
    let manager = manager(&store);
    let plan =
        manager.plan(PlanRequest::new(Filter::of_entity(Entity::new("user", "u1"))), None).await.unwrap();
    store.erase(&Entity::new("user", "u1")).await.unwrap();
    let report = manager.run(&plan, &mut Recorder::default(), &unpaced(), &()).await.unwrap();
    assert_eq!((report.status, report.missing, report.done()), (ReplayStatus::Completed, 2, 0));
}

#[tokio::test]
async fn watchers_are_told_after_every_batch() {
    let store = store(120).await;
    let manager = manager(&store);
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    let told = Mutex::new(Vec::new());
    let watcher = |progress: ReplayProgress| told.lock().unwrap().push((progress.done(), progress.total));
    manager.run(&plan, &mut Recorder::default(), &unpaced(), &watcher).await.unwrap();
    assert_eq!(*told.lock().unwrap(), [(50, 120), (100, 120), (120, 120)]);
}

#[tokio::test]
async fn a_store_that_fails_meanwhile_gives_the_error_and_what_was_done() {
    let store = store(1000).await;
    let corrupt = || StorageFailure::Corrupt("page 7".to_owned());
    let healthy = manager(&store);
    let plan = healthy.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    let faulty = manager_of(failing_reads(&store, [corrupt()]), &store);
    let mut target = Recorder::default();
    match faulty.run(&plan, &mut target, &unpaced(), &()).await.unwrap_err() {
        ReplayError::Interrupted { error, report } => {
            assert_eq!((error, report.status), (corrupt().into(), ReplayStatus::Failed));
            assert_eq!(report.successful_replays, target.ids().len() as u64);
            assert!(report.successful_replays >= 50 && report.missing == 0);
            assert_adds_up(&report);
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn counts_that_cannot_be_raised_do_not_stop_a_replay_and_are_reported() {
    let store = store(200).await;
    for (failures, calls) in [
        // A permanent refusal: one call for each batch.
        (vec![StorageFailure::Denied("read-only".to_owned()); 4], 4),
        // A lost answer: a retry could count twice.
        (vec![StorageFailure::Unknown("cut".to_owned()); 4], 4),
        // A temporary failure: three retries for the first batch, none for the later batches.
        (vec![StorageFailure::Unavailable("gone".to_owned()); 7], 7),
    ] {
        let script = Arc::new(FaultScript::new());
        for failure in failures {
            script.plan(|call| call.counts_replays(), EngineFault::Fails(failure));
        }
        let raised = script.count(|call| call.counts_replays());
        let manager = manager(&behind(&store, script));
        let report =
            manager.replay_events(Filter::default(), &unpaced(), &mut Recorder::default()).await.unwrap();
        assert_eq!((report.successful_replays, report.uncounted), (200, 200));
        assert_eq!(raised.load(Ordering::SeqCst), calls);
    }
}

#[tokio::test]
async fn a_batch_size_of_zero_is_refused() {
    let options = ReplayOptions { batch_size: 0, ..unpaced() };
    let manager = manager(&store(1).await);
    let error = manager.replay_events(types("user.*"), &options, &mut Recorder::default()).await.unwrap_err();
    assert_eq!(error.kind(), "invalid-option");
}

#[tokio::test]
async fn a_damaged_event_is_counted_and_the_rest_is_sent() {
    let engine = MemoryEngine::default();
    let store = store_on(engine.clone(), 100).await;
    let manager = manager(&store);
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    assert!(engine.damage_event(Position::new(0, 11)));
    let mut target = Recorder::default();
    let report = manager.run(&plan, &mut target, &unpaced(), &()).await.unwrap();
    assert_eq!(target.ids(), ids((0..100).filter(|n| *n != 10)));
    assert_eq!((report.corrupt, report.missing, report.is_clean()), (1, 1, false));
    assert_adds_up(&report);
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    assert_eq!((plan.total_events, plan.corrupt), (99, 1));
}
