//! Intakes of event streams: the report accounts for every line, in order, for every behaviour of the store.
// Test helpers may unwrap, because a panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faulty;

use std::{sync::Arc, time::Duration};

use domain::{Entity, Limits, ports::EventStore};
use event_replay_bus::{
    Intake, IntakeError, IntakeOptions, IntakeReport, Line, PublishSettings, RefusedLine,
};
use faulty::{Fault, Faulty, busy, event, full, publisher, publisher_with, slow, store, stored_json};

async fn take(store: &Faulty, options: IntakeOptions, lines: &[String]) -> Result<IntakeReport, IntakeError> {
    let mut intake = Intake::new(publisher(store), options);
    for (number, line) in (1..).zip(lines) {
        intake.line(number, line.as_bytes()).await?;
    }
    intake.finish().await
}

fn small() -> IntakeOptions {
    IntakeOptions { batch_events: 3, ..IntakeOptions::default() }
}

fn atomic() -> IntakeOptions {
    IntakeOptions { atomic: true, ..small() }
}

fn counts(report: &IntakeReport) -> [u64; 4] {
    [report.stored, report.already_stored, report.rejected, report.conflicts]
}

/// Returns the line and the rule of the first violation of every error.
fn rules(report: &IntakeReport) -> Vec<(u64, &str)> {
    report.errors.iter().map(|error| (error.line, &*error.violations[0].rule)).collect()
}

#[tokio::test]
async fn the_report_has_the_documented_form() {
    let lines = [event("a", 1), event("a", 2), "{}".to_owned()];
    let report = take(&store([]), small(), &lines[..2]).await.unwrap();
    assert_eq!(
        serde_json::to_string(&report).unwrap(),
        concat!(
            r#"{"stored":1,"alreadyStored":0,"rejected":0,"conflicts":1,"errors":[{"line":2,"eventId":"a","type":"known","#,
            r#""violations":[{"pointer":"/id","rule":"conflict","message":"other content is stored under this id, at 0:1"}]}],"#,
            r#""errorsTruncated":false}"#
        )
    );
    let report = take(&store([]), atomic(), &lines).await.unwrap();
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!((&value["notStored"], &value["errors"][0]["eventId"]), (&2.into(), &serde_json::Value::Null));
}

#[tokio::test]
async fn refused_lines_are_kept_as_they_were_read() {
    let options = IntakeOptions { keep_refused: true, ..small() };
    let mut intake = Intake::new(publisher(&store([])), options);
    let (first, other) = (event("a", 1), event("a", 2));
    intake.line(1, first.as_bytes()).await.unwrap();
    intake.line_of(2, b"{}", b" {} \r").await.unwrap();
    intake.too_long(3, 9_999_999);
    intake.line(4, other.as_bytes()).await.unwrap();
    let kept = |lines: Vec<RefusedLine>| -> Vec<(u64, Option<Vec<u8>>)> {
        lines.into_iter().map(|refused| (refused.error.line, refused.bytes)).collect()
    };
    assert_eq!(kept(intake.take_refused()), [(2, Some(b" {} \r".to_vec())), (3, None)]);
    assert_eq!(intake.take_refused(), []);
    let (report, rest) = intake.finish_with_refused().await;
    assert_eq!(counts(&report.unwrap()), [1, 0, 2, 1]);
    assert_eq!(kept(rest), [(4, Some(other.into_bytes()))]);
    let mut plain = Intake::new(publisher(&store([])), small());
    plain.line(1, b"{}").await.unwrap();
    assert_eq!(plain.take_refused(), []);
}

#[tokio::test(start_paused = true)]
async fn every_line_keeps_its_outcome_while_batches_overlap() {
    let store = slow(Duration::from_millis(20), []);
    let mut lines = Vec::new();
    let mut expected = Vec::new();
    for n in 1..=100u64 {
        lines.push(event(&format!("e{n}"), n));
        match n % 10 {
            3 => lines.push("  \t\r".to_owned()),
            5 => {
                lines.push("not json".to_owned());
                expected.push((lines.len() as u64, "json"));
            }
            7 => lines.push(event(&format!("e{}", n - 5), n - 5)),
            9 => {
                lines.push(event(&format!("e{}", n - 8), 1000));
                expected.push((lines.len() as u64, "conflict"));
            }
            _ => {}
        }
    }
    let report = take(&store, small(), &lines).await.unwrap();
    assert_eq!(counts(&report), [100, 10, 10, 10]);
    assert_eq!(report.lines(), 130, "blank lines are no events");
    assert_eq!(rules(&report), expected);
    let in_order: Vec<String> = (1..=100).map(|n| event(&format!("e{n}"), n)).collect();
    assert_eq!(stored_json(&store).await, in_order);
}

#[tokio::test]
async fn taking_the_same_in_again_stores_nothing() {
    let store = store([]);
    let lines: Vec<String> = (0..10).map(|n| event(&n.to_string(), n)).collect();
    assert_eq!(counts(&take(&store, small(), &lines).await.unwrap()), [10, 0, 0, 0]);
    assert_eq!(counts(&take(&store, small(), &lines).await.unwrap()), [0, 10, 0, 0]);
}

#[tokio::test]
async fn white_space_around_an_event_is_not_part_of_it() {
    let store = store([]);
    let lines = [format!(" \t{}\r", event("a", 1)), event("a", 1)];
    assert_eq!(counts(&take(&store, small(), &lines).await.unwrap()), [1, 1, 0, 0]);
    assert_eq!(stored_json(&store).await, [event("a", 1)]);
}

#[tokio::test]
async fn a_stored_event_is_taken_out_untouched() {
    let inner = event("a", 1).replace("\"n\":1", "\"n\" : 1.50, \"wide\":123456789012345678901234567890");
    let first =
        format!(r#"{{"event":{inner},"position":"0:1","storedAt":"2024-01-15T10:31:00Z","replayCount":3}}"#);
    let reordered = format!(r#" {{ "position":"0:1", "replayCount":3, "event" : {inner} }}"#);
    let store = store([]);
    assert_eq!(counts(&take(&store, small(), &[first, reordered]).await.unwrap()), [1, 1, 0, 0]);
    assert_eq!(stored_json(&store).await, [inner]);
}

#[tokio::test]
async fn an_event_that_has_members_of_a_stored_event_is_an_event() {
    let own = format!(
        r#"{{"event":{},"position":"x",{}"#,
        event("inner", 1),
        event("outer", 1).strip_prefix('{').unwrap()
    );
    let store = store([]);
    assert_eq!(counts(&take(&store, small(), std::slice::from_ref(&own)).await.unwrap()), [1, 0, 0, 0]);
    assert_eq!(stored_json(&store).await, [own]);
}

#[tokio::test]
async fn an_erased_id_is_rejected() {
    let store = store([]);
    take(&store, small(), &[event("a", 1)]).await.unwrap();
    store.inner.erase(&Entity::new("user", "u")).await.unwrap();
    let report = take(&store, small(), &[event("a", 1)]).await.unwrap();
    assert_eq!((counts(&report), rules(&report)), ([0, 0, 1, 0], vec![(1, "erased")]));
}

#[tokio::test]
async fn the_errors_kept_are_those_of_the_first_lines() {
    let options = IntakeOptions { max_errors: 2, batch_events: 2, ..IntakeOptions::default() };
    let lines = [event("a", 1), event("a", 2), "x".to_owned(), "x".to_owned(), "x".to_owned()];
    let report = take(&store([]), options, &lines).await.unwrap();
    assert_eq!(rules(&report), [(2, "conflict"), (3, "json")]);
    assert!(report.errors_truncated);
    assert_eq!(counts(&report), [1, 0, 3, 1]);
}

#[tokio::test]
async fn atomic_stores_all_in_one_step_or_nothing() {
    let fine: Vec<String> = (0..10).map(|n| event(&n.to_string(), n)).collect();
    let good = store([]);
    let report = take(&good, atomic(), &fine).await.unwrap();
    assert_eq!((counts(&report), report.not_stored), ([10, 0, 0, 0], None));
    assert_eq!(good.batches.lock().unwrap().len(), 1);

    let rejected = store([]);
    let lines = [fine.as_slice(), &["x".to_owned()], &[event("later", 1)]].concat();
    let report = take(&rejected, atomic(), &lines).await.unwrap();
    assert_eq!((counts(&report), report.not_stored), ([0, 0, 1, 0], Some(11)));
    assert_eq!(report.lines(), 12);
    assert!(stored_json(&rejected).await.is_empty());

    let conflict = store([]);
    take(&conflict, small(), &[event("3", 99), event("4", 4)]).await.unwrap();
    let report = take(&conflict, atomic(), &fine).await.unwrap();
    assert_eq!((counts(&report), report.not_stored), ([0, 1, 0, 1], Some(8)));
    assert_eq!(stored_json(&conflict).await, [event("3", 99), event("4", 4)]);
}

#[tokio::test]
async fn what_is_too_large_for_one_step_is_refused_when_atomic_and_cut_when_not() {
    let store = store([]).with_max_events(4);
    let lines: Vec<String> = (0..10).map(|n| event(&n.to_string(), n)).collect();
    let error = take(&store, atomic(), &lines).await.unwrap_err();
    assert!(matches!(error, IntakeError::TooLargeToBeAtomic { max_events: 4, .. }), "{error}");
    assert!(stored_json(&store).await.is_empty());
    assert_eq!(counts(&take(&store, IntakeOptions::default(), &lines).await.unwrap()), [10, 0, 0, 0]);
    assert_eq!(stored_json(&store).await, lines);
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_passing_faults_lose_and_repeat_nothing() {
    let store = store([Fault::AnswerLost, Fault::Fails(busy()), Fault::RequestLost, Fault::AnswerLost]);
    let lines: Vec<String> = (0..10).map(|n| event(&n.to_string(), n)).collect();
    let report = take(&store, small(), &lines).await.unwrap();
    assert_eq!((report.lines(), report.is_clean()), (10, true));
    assert_eq!(stored_json(&store).await, lines);
}

#[tokio::test]
async fn a_failing_store_is_named_with_its_lines_and_what_was_stored_before() {
    let store = store([]);
    let lines: Vec<String> = (0..9).map(|n| event(&n.to_string(), n)).collect();
    let mut intake = Intake::new(publisher(&store), small());
    for (number, line) in (1..=6).zip(&lines) {
        intake.line(number, line.as_bytes()).await.unwrap();
    }
    while stored_json(&store).await.len() < 6 {
        tokio::task::yield_now().await;
    }
    store.script.plan_all("append", [Fault::Fails(full())]);
    for (number, line) in (7..).zip(&lines[6..]) {
        intake.line(number, line.as_bytes()).await.unwrap();
    }
    match intake.finish().await.unwrap_err() {
        IntakeError::Store { error, lines, report } => {
            assert_eq!((error, lines, report.stored), (full().into(), 7..=9, 6));
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_line_over_the_limit_is_a_rejected_event() {
    let limits = Limits { max_event_bytes: 100, ..Limits::default() };
    let store = store([]);
    let publisher = publisher_with(&store, PublishSettings { limits, ..PublishSettings::default() });
    let mut intake = Intake::new(publisher, small());
    intake.take(Line::TooLong { line: 1, bytes: 536_870_912 }).await.unwrap();
    intake.take(Line::Text { line: 2, bytes: event("a", 1).as_bytes() }).await.unwrap();
    assert_eq!((intake.progress().lines, intake.progress().rejected), (2, 2));
    let report = intake.finish().await.unwrap();
    assert_eq!(rules(&report), [(1, "limit"), (2, "limit")]);
    assert!(report.errors[0].violations[0].message.contains("536870912"));
}

#[tokio::test]
async fn a_line_with_very_many_violations_keeps_the_first() {
    let members: Vec<String> = (0..5000).map(|n| format!(r#""k{n}Id":"""#)).collect();
    let line = format!("{{{}}}", members.join(","));
    let report = take(&store([]), small(), &[line]).await.unwrap();
    let violations = &report.errors[0].violations;
    assert_eq!((violations.len(), &*violations[100].rule), (101, "more"));
    assert_eq!(violations[100].message, "and 4906 more violations");
}

#[tokio::test]
async fn an_intake_that_is_dropped_stops_appending() {
    let store = slow(Duration::from_secs(3600), []);
    let mut intake = Intake::new(publisher(&store), small());
    for n in 0..3u64 {
        intake.line(n + 1, event(&n.to_string(), n).as_bytes()).await.unwrap();
    }
    while store.batches.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&store), 2, "the publisher holds the other");
    drop(intake);
    while Arc::strong_count(&store) > 1 {
        tokio::task::yield_now().await;
    }
    assert!(stored_json(&store).await.is_empty());
}
