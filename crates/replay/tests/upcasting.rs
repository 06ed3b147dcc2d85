//! Tests of upcasting in plans and in replays to targets.
// Test helpers may unwrap, because a panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use domain::{
    Filter, Upcasters,
    ports::{EventUpcaster, EventValidator, SchemaSummary, SystemClock, TargetError, Verdict},
};
use event_replay_replay::{Plan, PlanRequest, ReplayManager, ReplayStatus, UpcastCount};
use serde_json::Value;
use store::Store;
use support::{Recorder, dump, manager, store, unpaced};

/// Upcasts the users' events. The event 1 cannot be upcast.
fn upcasters() -> Arc<dyn EventUpcaster> {
    let twice = |data: Value| -> Result<Value, String> {
        match data["n"].as_u64() {
            Some(1) | None => Err("the number is odd".to_owned()),
            Some(n) => Ok(serde_json::json!({ "twice": 2 * n })),
        }
    };
    let set = Upcasters::builder().data("user.a", "1", "2", twice).data("user.b", "1", "2", twice);
    Arc::new(set.build().unwrap())
}

fn upcasting(store: &Arc<Store>) -> ReplayManager {
    manager(store).with_upcaster(upcasters())
}

/// Accepts only events of version 2.
struct SecondVersion;

impl EventValidator for SecondVersion {
    fn validate(&self, event: &Value) -> Verdict {
        if event["version"] == "2" { Verdict::Valid } else { Verdict::Invalid(Vec::new()) }
    }

    fn ordering_member(&self, _: &str, _: &str) -> Option<&str> {
        None
    }

    fn schemas(&self) -> Vec<SchemaSummary> {
        Vec::new()
    }
}

#[tokio::test]
async fn a_plan_counts_the_events_to_upcast_and_those_that_fail() {
    let store = store(6).await;
    let plan = upcasting(&store).plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    assert_eq!((plan.total_events, plan.upcasts.events, plan.upcasts.failed), (6, 4, 1));
    let count = |event_type: &str, failed| UpcastCount {
        event_type: event_type.to_owned(),
        from: "1".to_owned(),
        to: "2".to_owned(),
        events: 2,
        failed,
    };
    assert_eq!(plan.upcasts.by_version, [count("user.a", 0), count("user.b", 1)]);
    let failure = &plan.upcasts.failures[0];
    assert_eq!((failure.event_id.as_str(), failure.event_type.as_str()), ("e1", "user.b"));
    assert!(
        failure.error.ends_with("upcasting user.b 1 to 2 failed: the number is odd"),
        "{}",
        failure.error
    );
    // The set of events is the same as without upcasters.
    let without = manager(&store).plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    assert_eq!(plan.plan_hash, without.plan_hash);
    assert!(without.upcasts.is_none());
    let shown = |plan: &Plan| serde_json::to_value(plan.dry_run()).unwrap()["upcasts"]["events"].clone();
    assert_eq!((shown(&plan), shown(&without)), (4.into(), Value::Null));
}

#[tokio::test]
async fn a_kept_plan_keeps_the_counts() {
    let store = store(6).await;
    let plan = upcasting(&store).plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    let mut document = plan.to_document().unwrap();
    let none = |_: &str| Err("no conditions".to_owned());
    assert_eq!(Plan::from_document(&document, &none).unwrap().upcasts, plan.upcasts);
    // A plan from before this member has no upcasts.
    document.as_object_mut().unwrap().remove("upcasts");
    assert!(Plan::from_document(&document, &none).unwrap().upcasts.is_none());
}

#[tokio::test]
async fn the_validity_in_a_plan_is_that_of_the_upcast_event() {
    let store = store(6).await;
    let events = Arc::<Store>::clone(&store);
    let validator: Arc<dyn EventValidator> = Arc::new(SecondVersion);
    let manager =
        ReplayManager::new(events.clone(), events.clone(), events, Some(validator), Arc::new(SystemClock));
    let request = PlanRequest { check_schemas: true, ..PlanRequest::new(Filter::default()) };
    assert_eq!(manager.plan(request.clone(), None).await.unwrap().invalid, 6);
    let plan = manager.with_upcaster(upcasters()).plan(request, None).await.unwrap();
    // The events of courses have no upcaster. The event 1 has failed already.
    assert_eq!((plan.invalid, plan.upcasts.failed), (2, 1));
}

#[tokio::test]
async fn a_target_gets_upcast_events_and_the_others_have_failed() {
    let store = store(6).await;
    let before = dump(&store).await;
    let mut target = Recorder::default();
    let report = upcasting(&store).replay_events(Filter::default(), &unpaced(), &mut target).await.unwrap();
    assert_eq!(target.ids(), ["e0", "e2", "e3", "e4", "e5"]);
    let versions: Vec<&str> = target.deliveries().map(|delivery| delivery.stored.event.version()).collect();
    assert_eq!(versions, ["2", "1", "2", "2", "1"]);
    assert_eq!(
        (report.status, report.successful_replays, report.failed_replays),
        (ReplayStatus::Completed, 5, 1)
    );
    assert_eq!(report.missing, 0);
    assert_eq!(report.errors[0].event_id, "e1");
    assert!(report.errors[0].error.contains("upcasting user.b 1 to 2 failed"), "{}", report.errors[0].error);
    assert_eq!(dump(&store).await, before);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_tried_again_keeps_its_failures() {
    let store = store(6).await;
    let unavailable = || TargetError::Unavailable("it restarts".to_owned());
    let mut target = Recorder::failing([unavailable()]);
    let report = upcasting(&store).replay_events(Filter::default(), &unpaced(), &mut target).await.unwrap();
    assert_eq!((report.successful_replays, report.failed_replays), (5, 1));
    let mut target = Recorder::failing(std::iter::repeat_with(unavailable).take(20));
    let report = upcasting(&store).replay_events(Filter::default(), &unpaced(), &mut target).await.unwrap();
    assert_eq!((report.status, report.successful_replays), (ReplayStatus::Failed, 0));
    assert_eq!(report.failed_replays, 1, "the failure of the upcaster is settled");
}
