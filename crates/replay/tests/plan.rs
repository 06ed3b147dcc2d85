//! Tests of plans: a plan counts the matches of its filter up to a frozen mark, and its hash identifies the set.
// Test helpers may unwrap, because a panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use domain::{Entity, Filter, Position, Violation, ports::*};
use event_replay_replay::{PlanRequest, ReplayError, ReplayManager};
use serde_json::Value;
use support::{append, failing_reads, manager, manager_of, store, types};

#[tokio::test]
async fn a_plan_counts_by_type_source_entity_kind_and_day() {
    let store = store(42).await;
    let plan = manager(&store).plan(PlanRequest::new(types("user.*")), None).await.unwrap();
    assert_eq!(plan.total_events, 28);
    assert_eq!(Vec::from_iter(&plan.by_type), [(&"user.a".to_owned(), &14), (&"user.b".to_owned(), &14)]);
    assert_eq!(plan.by_source.values().sum::<u64>(), 28);
    assert_eq!(Vec::from_iter(&plan.by_entity_kind), [(&"user".to_owned(), &28)]);
    assert_eq!(plan.by_day.values().sum::<u64>(), 28);
    assert_eq!(plan.by_day.get("2024-01-01"), Some(&2), "events 0 and 28");
    assert_eq!(plan.by_day.get("2024-01-02"), Some(&1), "event 1; event 29 is no user's");
    assert_eq!(plan.oldest.unwrap().to_string(), "2024-01-01T10:30:00Z");
    assert_eq!(plan.newest.unwrap().to_string(), "2024-01-28T10:30:00Z");
    let bytes: usize = (0..42).filter(|n| n % 3 != 2).map(|n| support::event(n).size_bytes()).sum();
    assert_eq!(plan.total_bytes, bytes as u64);
    assert_eq!(plan.end().unwrap().sequences, [41]);
}

#[tokio::test]
async fn the_limit_counts_matches_not_events() {
    let store = store(100).await;
    let manager = manager(&store);
    let request = PlanRequest { limit: Some(7), ..PlanRequest::new(types("course.c")) };
    let plan = manager.plan(request.clone(), None).await.unwrap();
    assert_eq!((plan.total_events, plan.end().unwrap().sequences.as_slice()), (7, &[21][..]));
    let error = manager.plan(PlanRequest { limit: Some(0), ..request }, None).await.unwrap_err();
    assert_eq!(error.kind(), "invalid-option");
}

#[tokio::test]
async fn a_plan_has_a_segment_for_every_ten_thousand_matches() {
    let store = store(25_000).await;
    let plan = manager(&store).plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    let segments: Vec<_> =
        plan.segments.iter().map(|segment| (segment.count, segment.cursor.sequences[0])).collect();
    assert_eq!(segments, [(10_000, 10_000), (10_000, 20_000), (5_000, 25_000)]);
    assert_ne!(plan.segments[0].hash, plan.segments[1].hash);
}

#[tokio::test]
async fn the_hash_names_the_set_and_not_its_replays() {
    let store = store(50).await;
    let manager = manager(&store);
    let hash = async |request: PlanRequest| manager.plan(request, None).await.unwrap().plan_hash;
    let request = PlanRequest::new(types("user.*"));
    let first = hash(request.clone()).await;
    assert_eq!(first.len(), 64);
    let positions: Vec<Position> = (1..=50).map(|sequence| Position::new(0, sequence)).collect();
    store.record_replayed(&positions, jiff::Timestamp::now()).await.unwrap();
    assert_eq!(hash(request.clone()).await, first);

    assert_ne!(hash(PlanRequest { limit: Some(5), ..request.clone() }).await, first);
    assert_ne!(hash(PlanRequest::new(types("course.*"))).await, first);
    let mark = store.head().await.unwrap();
    append(&store, 50..51).await;
    assert_ne!(hash(request.clone()).await, first, "another mark");
    assert_eq!(hash(PlanRequest { until: Some(mark.clone()), ..request.clone() }).await, first);
    store.erase(&Entity::new("user", "u0")).await.unwrap();
    assert_ne!(hash(PlanRequest { until: Some(mark), ..request }).await, first, "other ids");
}

#[tokio::test]
async fn an_empty_store_gives_an_empty_plan() {
    let store = store(0).await;
    let plan = manager(&store).plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    assert_eq!((plan.total_events, plan.oldest, plan.end()), (0, None, None));
}

#[tokio::test]
async fn an_empty_time_range_is_refused() {
    let filter = Filter {
        from: Some("2024-01-02T00:00:00Z".parse().unwrap()),
        to: Some("2024-01-01T00:00:00Z".parse().unwrap()),
        ..Filter::default()
    };
    let error = manager(&store(1).await).plan(PlanRequest::new(filter), None).await.unwrap_err();
    assert!(error.to_string().contains("from 2024-01-02"), "{error}");
}

#[tokio::test]
async fn progress_rises_to_the_whole() {
    let store = store(3000).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&told);
    let progress: event_store::ProgressCallback =
        Arc::new(move |done, total| into.lock().unwrap().push((done, total)));
    manager(&store).plan(PlanRequest::new(Filter::default()), Some(progress)).await.unwrap();
    let told = told.lock().unwrap();
    assert!(told.len() > 1 && told.is_sorted(), "{told:?}");
    assert_eq!(told.last(), Some(&(3000, 3000)));
}

#[tokio::test]
async fn a_dry_run_has_the_documented_form() {
    let store = store(2).await;
    let plan = manager(&store).plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    let json = serde_json::to_string(&plan.dry_run()).unwrap();
    let expected = format!(
        concat!(
            r#"{{"dryRun":true,"totalEvents":2,"byType":{{"user.a":1,"user.b":1}},"bySource":{{"s0":1,"s1":1}},"#,
            r#""oldest":"2024-01-01T10:30:00Z","newest":"2024-01-02T10:30:00Z","planHash":"{}","#
        ),
        plan.plan_hash
    );
    assert!(json.starts_with(&expected), "{json}");
    assert!(!json.contains("invalid"), "schemas were not checked");
}

struct EvenOnly;

impl EventValidator for EvenOnly {
    fn validate(&self, event: &Value) -> Verdict {
        if event["type"] == "course.c" {
            return Verdict::NoSchema;
        }
        match event["data"]["n"].as_u64().unwrap() % 2 {
            0 => Verdict::Valid,
            _ => Verdict::Invalid(vec![Violation::new("/data/n", "even", "odd")]),
        }
    }

    fn ordering_member(&self, _: &str, _: &str) -> Option<&str> {
        None
    }

    fn schemas(&self) -> Vec<SchemaSummary> {
        Vec::new()
    }
}

#[tokio::test]
async fn a_plan_checks_todays_schemas_when_asked() {
    let store = store(30).await;
    let manager = ReplayManager::new(
        store.clone(),
        store.clone(),
        store.clone(),
        Some(Arc::new(EvenOnly)),
        Arc::new(SystemClock),
    );
    let request = PlanRequest { check_schemas: true, ..PlanRequest::new(Filter::default()) };
    let plan = manager.plan(request.clone(), None).await.unwrap();
    assert_eq!((plan.invalid, plan.without_schema), (10, 10));
    let examples: Vec<&str> = plan.invalid_examples.iter().map(|example| &*example.event_id).collect();
    assert_eq!(examples, ["e1", "e3", "e7", "e9", "e13"]);
    let json = serde_json::to_value(plan.dry_run()).unwrap();
    assert_eq!((&json["invalid"], &json["withoutSchema"]), (&10.into(), &10.into()));
    let unchecked = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    assert_eq!((unchecked.invalid, unchecked.plan_hash), (0, plan.plan_hash));
    let without = support::manager(&store).plan(request, None).await.unwrap_err();
    assert_eq!(without.kind(), "invalid-option");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_for_a_while_is_tried_again() {
    let store = store(500).await;
    let busy = || domain::StorageFailure::Unavailable("gone".to_owned());
    let faulty = failing_reads(&store, [busy(), busy(), busy()]);
    let plan = manager_of(faulty, &store).plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    assert_eq!(plan.total_events, 500);
    let faulty = failing_reads(&store, std::iter::repeat_with(busy).take(100));
    let error = manager_of(faulty, &store).plan(PlanRequest::new(Filter::default()), None).await.unwrap_err();
    assert!(matches!(error, ReplayError::Events(_)) && error.kind() == "unavailable", "{error}");
}
