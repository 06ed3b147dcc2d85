//! One event: what is admitted, and what becomes of it when the store fails.
// Helpers of tests may unwrap: a panic is their way to fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bus::{PublishError, PublishSettings, Published, Rejection, UnknownTypes};
use domain::{Position, Retry};
use support::{Fault, busy, event, full, publisher, publisher_with, store, stored_json};

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
    for fault in [Fault::AnswerLost, Fault::RequestLost] {
        let store = store([fault.clone(), fault]);
        let published = publisher(&store).publish(event("e", 1).as_bytes()).await.unwrap();
        assert_eq!(published.position(), Position::new(0, 1));
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

#[tokio::test]
async fn a_fault_that_stays_is_not_tried_again() {
    let store = store([Fault::Fails(full())]);
    let error = publisher(&store).publish(event("e", 1).as_bytes()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), ("full", Retry::Never));
    assert_eq!(store.batches.lock().unwrap().len(), 1);
}
