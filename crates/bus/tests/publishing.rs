//! Publication of one event: its admission, and its outcome when the store fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod faulty;

use std::{sync::Arc, time::Duration};

use ::stats::Meter;
use conformance::FaultScript;
use domain::{
    DeliveryOptions, Entity, Event, Filter, Position, Priority, Retry, StorageFailure,
    ports::{EventStore, ReadRequest, ScheduleStore},
    stats::{ADMITTED, APPEND_FAILED, APPENDED, REJECTED},
};
use event_replay_bus::{
    Intake, IntakeOptions, PublishError, PublishOptions, PublishSettings, Published, Publisher, Rejection,
    SameEvent, UnknownTypes, error_scope,
};
use faulty::{
    Counts, Fault, Faulty, Noon, TwoRules, busy, event, full, publisher, publisher_with, store, stored_json,
};
use jiff::Timestamp;
use storage_memory::MemoryEngine;
use store::Store;

fn broken(rejection: Result<domain::Event, Rejection>) -> Vec<(String, String)> {
    let violations = rejection.unwrap_err().violations;
    violations.into_iter().map(|v| (v.pointer, v.rule.into_owned())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(pointer, rule)| ((*pointer).to_owned(), (*rule).to_owned())).collect()
}

#[test]
fn envelope_and_schema_are_reported_together_and_nothing_twice() {
    let publisher = publisher(&store([]));
    let json =
        br#"{"type":"known","version":"1","timestamp":"2024-02-30T00:00:00Z","source":"","metadata":{}}"#;
    let rejection = publisher.admit(json).unwrap_err();
    assert_eq!((rejection.event_id.as_deref(), rejection.event_type.as_deref()), (None, Some("known")));
    let id: Vec<_> = rejection.violations.iter().filter(|v| v.pointer == "/id").collect();
    assert_eq!(id.len(), 1);
    assert_ne!(id[0].message, "the schema wants it", "the envelope's sentence is the one given");
    assert_eq!(
        broken(Err(rejection)),
        pairs(&[
            ("/data/n", "required"),
            ("/id", "required"),
            ("/source", "limit"),
            ("/timestamp", "date-time"),
            ("/userId", "required"),
        ])
    );
}

#[test]
fn what_is_not_json_is_one_violation() {
    let publisher = publisher(&store([]));
    for json in [&b"{"[..], b"[]", b"", b"\xff", b"{}{}", br#"{"a":1,"a":2}"#] {
        assert_eq!(publisher.admit(json).unwrap_err().violations.len(), 1, "{json:?}");
    }
}

#[test]
fn a_timestamp_may_lie_ahead_of_the_clock_by_the_limit_and_no_further() {
    let publisher = publisher(&store([]));
    let at = |time: &str| event("e", 1).replace("2024-01-15T10:30:00Z", time);
    assert!(publisher.admit(at("2024-01-16T12:00:00Z").as_bytes()).is_ok());
    let late = at("2024-01-16T12:00:00.000000001Z");
    assert_eq!(broken(publisher.admit(late.as_bytes())), pairs(&[("/timestamp", "limit")]));
    let also_without_id = late.replace("\"e\"", "null");
    assert_eq!(
        broken(publisher.admit(also_without_id.as_bytes())),
        pairs(&[("/id", "required"), ("/timestamp", "limit")])
    );
}

#[test]
fn an_unknown_type_is_refused_or_accepted_by_the_setting() {
    let json = event("e", 1).replace("known", "new.type");
    let rejection = publisher(&store([])).admit(json.as_bytes()).unwrap_err();
    assert_eq!(rejection.violations, [domain::Violation::no_schema("new.type")]);
    let accepting = PublishSettings { unknown_types: UnknownTypes::Accept, ..PublishSettings::default() };
    assert!(publisher_with(&store([]), accepting).admit(json.as_bytes()).is_ok());
}

#[test]
fn without_validation_the_envelope_and_limits_are_checked_still() {
    let settings = PublishSettings { validation: false, ..PublishSettings::default() };
    let publisher = publisher_with(&store([]), settings);
    assert!(publisher.admit(event("e", 1).replace("known", "other").as_bytes()).is_ok());
    assert!(publisher.admit(event("e", 1).replace("\"n\"", "\"m\"").as_bytes()).is_ok());
    let ahead = event("e", 1).replace("2024-01", "2025-01");
    assert_eq!(broken(publisher.admit(ahead.as_bytes())), pairs(&[("/timestamp", "limit")]));
    assert_eq!(broken(publisher.admit(event("", 1).as_bytes())), pairs(&[("/id", "limit")]));
}

#[test]
fn the_ordering_key_is_the_schemas_member_else_the_settings() {
    let publisher = publisher_with(
        &store([]),
        PublishSettings { unknown_types: UnknownTypes::Accept, ..PublishSettings::default() },
    );
    let by_schema = publisher.admit(event("e", 1).as_bytes()).unwrap();
    assert_eq!(by_schema.ordering_key().to_string(), "order=o");
    let by_setting = publisher.admit(event("e", 1).replace("known", "other").as_bytes()).unwrap();
    assert_eq!(by_setting.ordering_key().to_string(), "user=u");
}

#[tokio::test]
async fn publishing_again_changes_nothing() {
    let store = store([]);
    let publisher = publisher(&store);
    let first = publisher.publish(event("e", 1).as_bytes()).await;
    assert_eq!(first, Ok(Published::Stored(Position::new(0, 1))));
    let again = publisher.publish(event("e", 1).as_bytes()).await;
    assert_eq!(again, Ok(Published::AlreadyStored(Position::new(0, 1))));
    let other = publisher.publish(event("e", 2).as_bytes()).await.unwrap_err();
    assert_eq!(other, PublishError::Conflict { id: "e".to_owned(), position: Position::new(0, 1) });
    assert_eq!((other.kind(), other.retry()), ("conflict", Retry::Never));
    assert_eq!(stored_json(&store).await, [event("e", 1)]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_settled_by_sending_the_same_again() {
    let first = Position::new(0, 1);
    for (fault, expected) in
        [(Fault::AnswerLost, Published::AlreadyStored(first)), (Fault::RequestLost, Published::Stored(first))]
    {
        let store = store([fault.clone(), fault]);
        let published = publisher(&store).publish(event("e", 1).as_bytes()).await.unwrap();
        assert_eq!((published, published.position()), (expected, Some(first)));
        assert_eq!(store.batches.lock().unwrap().len(), 3);
        assert_eq!(stored_json(&store).await, [event("e", 1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_passes_is_waited_out_within_bounds() {
    let passing = store(vec![Fault::Fails(busy()); 6]);
    assert!(publisher(&passing).publish(event("e", 1).as_bytes()).await.is_ok());
    let lasting = store(vec![Fault::Fails(busy()); 100]);
    let error = publisher(&lasting).publish(event("e", 1).as_bytes()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), ("busy", Retry::Later));
    assert_eq!(lasting.batches.lock().unwrap().len(), 7);
}

/// The answer to the first try was lost, and the event is stored. No later failure may claim that the event is not
/// stored.
#[tokio::test(start_paused = true)]
async fn what_became_unknown_is_not_told_as_failed_by_a_later_try() {
    let away = || StorageFailure::Unavailable("away".to_owned());
    for last in [away(), busy(), full(), StorageFailure::Denied("read-only".to_owned())] {
        let faults = || [Fault::AnswerLost].into_iter().chain(vec![Fault::Fails(last.clone()); 20]);
        let store = store(faults());
        let error = publisher(&store).publish(event("e", 1).as_bytes()).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), ("unknown", Retry::ToSettle), "{last}: {error}");
        assert!(error.to_string().contains(&format!("tried again, and {last}")), "{error}");
        assert_eq!(store.inner.count(&Arc::default(), None).await.unwrap(), 1);

        let store = self::store([]);
        store.script.plan_all("commit", faults());
        let error =
            with_schedule(&store).publish_with(event("e", 1).as_bytes(), &delayed(5)).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), ("unknown", Retry::ToSettle), "scheduled: {last}: {error}");
        assert_eq!(store.inner.scheduled(10).await.unwrap().len(), 1);
    }
    // A failure without a lost answer is reported unchanged.
    let store = store(vec![Fault::Fails(away()); 20]);
    let error = publisher(&store).publish(event("e", 1).as_bytes()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), ("unavailable", Retry::Later));
}

/// The store itself waits for a file that another process has locked. The whole call takes no longer.
#[tokio::test(start_paused = true)]
async fn a_lock_that_was_waited_for_long_is_not_waited_for_again() {
    let waited = Duration::from_secs(30);
    let locked = || vec![Fault::Fails(StorageFailure::Busy { waited }); 20];
    let store = Faulty::new(MemoryEngine::default(), FaultScript::taking(waited));
    store.script.plan_all("append", locked()).plan_all("commit", locked());
    for delay in [None, Some(Duration::from_secs(5))] {
        let began = tokio::time::Instant::now();
        let options = PublishOptions { delay, ..PublishOptions::default() };
        let error = with_schedule(&store).publish_with(event("e", 1).as_bytes(), &options).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), ("busy", Retry::Later), "{error}");
        // In this store the read before the write takes as long as the write.
        assert!(began.elapsed() <= 3 * waited, "{:?}", began.elapsed());
    }
    assert_eq!(store.batches.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_fault_that_stays_is_not_tried_again() {
    let store = store([Fault::Fails(full())]);
    let error = publisher(&store).publish(event("e", 1).as_bytes()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), ("full", Retry::Never));
    assert_eq!(store.batches.lock().unwrap().len(), 1);
}

fn with_schedule(store: &Faulty) -> Publisher {
    let events = Arc::<Store>::clone(store);
    Publisher::new(events, Arc::new(TwoRules), Arc::new(Noon), PublishSettings::default())
        .with_schedule(Arc::<Store>::clone(store))
}

fn delayed(seconds: u64) -> PublishOptions {
    PublishOptions { delay: Some(Duration::from_secs(seconds)), ..PublishOptions::default() }
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

async fn stored_events(store: &Faulty) -> Vec<Event> {
    let page = store.read(&ReadRequest::new(Filter::default(), 100)).await.unwrap();
    page.events.into_iter().map(|stored| stored.event).collect()
}

#[tokio::test]
async fn delivery_options_travel_with_the_event_and_are_not_its_content() {
    let store = store([]);
    let publisher = publisher(&store);
    let expires_at = Some(at("2024-01-15T13:00:00Z"));
    let wishes = PublishOptions {
        priority: Priority::High,
        expires_at,
        retries: Some(9),
        ..PublishOptions::default()
    };
    publisher.publish_with(event("e", 1).as_bytes(), &wishes).await.unwrap();
    let again = publisher.publish(event("e", 1).as_bytes()).await;
    assert_eq!(again, Ok(Published::AlreadyStored(Position::new(0, 1))));
    let stored = stored_events(&store).await;
    let expected =
        DeliveryOptions { priority: Priority::High, expires_at, retries: Some(9), reports_error: false };
    assert_eq!((stored[0].json(), stored[0].options()), (event("e", 1).as_str(), expected));
}

#[tokio::test]
async fn what_an_error_handler_publishes_says_so() {
    let store = store([]);
    let publisher = publisher(&store);
    publisher.publish(event("before", 1).as_bytes()).await.unwrap();
    error_scope::within(async {
        publisher.publish(event("one", 1).as_bytes()).await.unwrap();
        let mut intake = Intake::new(Arc::clone(&publisher), IntakeOptions::default());
        intake.line(1, event("line", 1).as_bytes()).await.unwrap();
        intake.finish().await.unwrap();
    })
    .await;
    publisher.publish(event("after", 1).as_bytes()).await.unwrap();
    let marked: Vec<bool> =
        stored_events(&store).await.iter().map(|event| event.options().reports_error).collect();
    assert_eq!(marked, [false, true, true, false]);
}

#[tokio::test]
async fn with_a_delay_an_event_waits_in_the_schedule() {
    let store = store([]);
    let publisher = with_schedule(&store);
    let wishes = PublishOptions { priority: Priority::Low, ..delayed(90) };
    let due = at("2024-01-15T12:01:30Z");
    let published = publisher.publish_with(event("e", 1).as_bytes(), &wishes).await.unwrap();
    assert_eq!(published, Published::Scheduled { due });
    assert_eq!((published.position(), published.due()), (None, Some(due)));
    assert_eq!(store.waiting().await, [("e".to_owned(), due)]);
    assert_eq!(store.scheduled(1).await.unwrap()[0].event.options().priority, Priority::Low);
    assert!(stored_json(&store).await.is_empty());
    let later = publisher.publish_with(event("e", 1).as_bytes(), &delayed(900)).await;
    assert_eq!(later, Ok(Published::AlreadyScheduled { due }), "the first time stands");
    let no_delay = publisher.publish_with(event("f", 1).as_bytes(), &delayed(0)).await;
    assert_eq!(no_delay, Ok(Published::Stored(Position::new(0, 1))));
}

#[tokio::test]
async fn what_the_schedule_refuses_is_an_error_of_its_own() {
    let store = store([]);
    let publisher = with_schedule(&store);
    publisher.publish_with(event("e", 1).as_bytes(), &delayed(1)).await.unwrap();
    let error = publisher.publish_with(event("e", 2).as_bytes(), &delayed(1)).await.unwrap_err();
    assert_eq!(
        error,
        PublishError::ScheduleConflict { id: "e".to_owned(), due: Some(at("2024-01-15T12:00:01Z")) }
    );
    assert_eq!((error.kind(), error.retry()), ("schedule-conflict", Retry::Never));
    publisher.publish_with(event("f", 1).as_bytes(), &delayed(1)).await.unwrap();
    store.erase(&Entity::new("user", "u")).await.unwrap();
    let error = publisher.publish_with(event("f", 1).as_bytes(), &delayed(1)).await.unwrap_err();
    assert_eq!(error, PublishError::Erased { id: "f".to_owned() });
    let error = publisher.publish_with(event("f", 1).as_bytes(), &delayed(u64::MAX)).await.unwrap_err();
    assert_eq!(error.kind(), "delay-too-long");
    let without = self::publisher(&store).publish_with(event("f", 1).as_bytes(), &delayed(1)).await;
    assert_eq!(without, Err(PublishError::NoSchedule));
}

#[tokio::test]
async fn a_conflict_says_that_a_repeated_attempt_is_published_and_never_to_take_another_id_for_it() {
    let store = store([]);
    let publisher = with_schedule(&store);
    publisher.publish(event("e", 1).as_bytes()).await.unwrap();
    publisher.publish_with(event("s", 1).as_bytes(), &delayed(1)).await.unwrap();
    let stored = publisher.publish(event("e", 2).as_bytes()).await.unwrap_err().to_string();
    let waiting =
        publisher.publish_with(event("s", 2).as_bytes(), &delayed(1)).await.unwrap_err().to_string();
    for advice in [stored, waiting] {
        assert!(advice.contains("If this repeats an attempt, the event is published"), "{advice}");
        assert!(advice.contains("SameEvent::ById"), "{advice}");
        assert!(!advice.contains("publish under another id"), "{advice}");
    }
}

#[tokio::test]
async fn an_id_that_decides_alone_is_published_once_with_any_content() {
    let store = store([]);
    let publisher = with_schedule(&store);
    let by_id = PublishOptions { same_event: SameEvent::ById, ..PublishOptions::default() };
    let first = Published::Stored(Position::new(0, 1));
    assert_eq!(publisher.publish_with(event("e", 1).as_bytes(), &by_id).await, Ok(first));
    let later = event("e", 2).replace("10:30:00Z", "10:31:00Z");
    let again = publisher.publish_with(later.as_bytes(), &by_id).await;
    assert_eq!(again, Ok(Published::AlreadyStored(Position::new(0, 1))));
    assert_eq!(stored_json(&store).await, [event("e", 1)], "the first one stays");
    // The event that the same attempt would have scheduled is already stored.
    let delayed_by_id = PublishOptions { same_event: SameEvent::ById, ..delayed(60) };
    let again = publisher.publish_with(later.as_bytes(), &delayed_by_id).await;
    assert_eq!(again, Ok(Published::AlreadyStored(Position::new(0, 1))));
    let due = at("2024-01-15T12:01:00Z");
    let scheduled = publisher.publish_with(event("s", 1).as_bytes(), &delayed_by_id).await;
    assert_eq!(scheduled, Ok(Published::Scheduled { due }));
    let again = publisher.publish_with(event("s", 2).as_bytes(), &delayed_by_id).await;
    assert_eq!(again, Ok(Published::AlreadyScheduled { due }));
}

#[tokio::test]
async fn an_event_of_another_type_or_key_is_another_one_under_the_same_id() {
    let store = store([]);
    let settings = PublishSettings { unknown_types: UnknownTypes::Accept, ..PublishSettings::default() };
    let publisher = publisher_with(&store, settings);
    let by_id = PublishOptions { same_event: SameEvent::ById, ..PublishOptions::default() };
    publisher.publish_with(event("e", 1).as_bytes(), &by_id).await.unwrap();
    for other in [event("e", 1).replace("known", "other"), event("e", 1).replace(r#""o""#, r#""p""#)] {
        assert_ne!(other, event("e", 1));
        let refused = publisher.publish_with(other.as_bytes(), &by_id).await.unwrap_err();
        assert_eq!(refused.kind(), "conflict", "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_fails_is_asked_again_for_the_same_time() {
    let store = store([]);
    let publisher = with_schedule(&store);
    let away = Fault::Fails(StorageFailure::Unavailable("away".to_owned()));
    store.script.plan_all("commit", [Fault::AnswerLost, away]);
    let due = at("2024-01-15T12:00:05Z");
    let published = publisher.publish_with(event("e", 1).as_bytes(), &delayed(5)).await;
    assert_eq!(published, Ok(Published::AlreadyScheduled { due }));
    assert_eq!(store.waiting().await, [("e".to_owned(), due)]);
    store.script.plan_all("commit", [Fault::Fails(full())]);
    let error = publisher.publish_with(event("f", 1).as_bytes(), &delayed(5)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), ("full", Retry::Never));
}

#[tokio::test]
async fn what_is_admitted_rejected_appended_and_failed_is_counted() {
    let store = store([Fault::Fails(full())]);
    let meter = Meter::new(Arc::new(Noon));
    let publisher = Publisher::new(
        Arc::<Store>::clone(&store),
        Arc::new(TwoRules),
        Arc::new(Noon),
        PublishSettings::default(),
    )
    .with_meter(meter.clone());
    publisher.publish(event("e", 1).as_bytes()).await.unwrap_err();
    publisher.publish(event("e", 1).as_bytes()).await.unwrap();
    publisher.publish(event("f", 1).replace("known", "strange").as_bytes()).await.unwrap_err();
    publisher.publish(b"{").await.unwrap_err();
    let mut intake = Intake::new(Arc::new(publisher), IntakeOptions::default());
    intake.line(1, event("g", 1).as_bytes()).await.unwrap();
    let exported = format!(r#"{{"position":"0:1","event":{}}}"#, event("h", 1));
    intake.line(2, exported.as_bytes()).await.unwrap();
    intake.line(3, b"[]").await.unwrap();
    intake.too_long(4, 1 << 30);
    intake.finish().await.unwrap();
    let counts = Counts::of(&meter).await;
    assert_eq!(counts.by_label(ADMITTED), [("known".to_owned(), 4)]);
    assert_eq!(counts.by_label(REJECTED), [(String::new(), 3), ("strange".to_owned(), 1)]);
    assert_eq!(counts.by_label(APPENDED), [(String::new(), 3)]);
    assert_eq!(counts.by_label(APPEND_FAILED), [(String::new(), 1)]);
}
