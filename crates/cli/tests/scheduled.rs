//! Events with delivery options: delay, expiry and priority.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Bench, ids, prepared::on_store, registered, some};
use domain::{
    Priority,
    ports::{EventStore, ReadRequest},
};
use serde_json::{Value, json};

#[test]
fn an_event_with_a_delay_waits_in_the_schedule() {
    let bench = Bench::new();
    let delay = ["publish", "--delay", "10m", "--priority", "high", "--output", "json"];
    let report = bench.pipe(&delay, some()).ok().json();
    assert_eq!(
        (&report["stored"], &report["scheduled"], &report["alreadyScheduled"]),
        (&json!(0), &json!(5), &json!(0))
    );
    assert_eq!(bench.json(&["list"])["events"], json!([]));
    let again = bench.pipe(&delay, some()).ok().json();
    assert_eq!((&again["scheduled"], &again["alreadyScheduled"]), (&json!(0), &json!(5)));
    let waiting = bench.json(&["scheduled", "list"]);
    let rows = waiting["scheduled"].as_array().unwrap();
    assert_eq!(ids(rows), ["e1", "e2", "e3", "e4", "event-456789"]);
    assert_eq!((&rows[0]["priority"], &rows[0]["expiresAt"]), (&json!("high"), &Value::Null));
    bench.run(&["scheduled", "list"]).ok().prints("event-456789").prints("high");
    assert_eq!(bench.run(&["scheduled", "list", "--limit", "2", "--output", "ndjson"]).ok().lines().len(), 2);
}

#[test]
fn a_report_has_scheduled_only_where_there_was_a_delay() {
    let bench = Bench::new();
    let report = bench.pipe(&["publish", "--output", "json"], some()).ok().json();
    assert!(report.get("scheduled").is_none(), "{report}");
    let report = bench.pipe(&["publish", "--priority", "low", "--output", "json"], some()).ok().json();
    assert_eq!((&report["alreadyStored"], report.get("scheduled")), (&json!(5), None));
}

#[test]
fn what_is_due_comes_into_the_log_before_what_comes_now() {
    let bench = Bench::new();
    bench.pipe(&["publish", "--delay", "1"], registered("late", "u", "2024-01-15T10:30:00Z")).ok();
    std::thread::sleep(std::time::Duration::from_millis(20));
    bench.pipe(&["publish"], registered("now", "u", "2024-01-15T10:30:00Z")).ok();
    let found = bench.json(&["list", "--order", "asc"]);
    assert_eq!(ids(found["events"].as_array().unwrap()), ["late", "now"]);
    bench.run(&["scheduled", "list"]).ok().says("no events are scheduled");
}

/// A server accepts fewer events in one step than a file. All due events are appended, in as many steps as needed.
#[test]
fn all_that_is_due_comes_into_the_log_before_what_comes_now() {
    for bench in [Some(Bench::new()), Bench::on_redis()].into_iter().flatten() {
        bench.run(&["init"]).ok();
        let late = (0..600).map(|n| registered(&format!("late{n}"), "u", "2024-01-15T10:30:00Z"));
        bench.pipe(&["publish", "--delay", "1"], late.collect::<Vec<_>>().join("\n")).ok();
        std::thread::sleep(std::time::Duration::from_millis(20));
        bench.pipe(&["publish"], registered("now", "u", "2024-01-15T10:30:00Z")).ok();
        bench.run(&["scheduled", "list"]).ok().says("no events are scheduled");
        assert_eq!(bench.json(&["stats"])["events"], 601);
        let found = bench.json(&["list", "--limit", "1"]);
        assert_eq!(ids(found["events"].as_array().unwrap()), ["now"]);
    }
}

#[test]
fn a_cancelled_event_never_comes() {
    let bench = Bench::new();
    bench.pipe(&["publish", "--delay", "10m"], some()).ok();
    let said = bench.run(&["scheduled", "cancel", "e1", "nothing", "--output", "json"]).exits(1);
    assert_eq!(said.json(), json!({"cancelled": ["e1"], "unknown": ["nothing"]}));
    said.says("no event is scheduled under the id \"nothing\"");
    bench.run(&["scheduled", "cancel", "e2", "e3"]).ok().prints("cancelled 2 events");
    let waiting = bench.json(&["scheduled", "list"]);
    assert_eq!(waiting["scheduled"].as_array().unwrap().len(), 2);
}

#[test]
fn delivery_options_are_kept_beside_the_events() {
    let bench = Bench::new();
    let flags = ["--priority", "critical", "--expires-at", "2030-01-01T00:00:00Z", "--retries", "7"];
    bench.pipe(&[&["publish"], &flags[..]].concat(), some()).ok();
    let options = on_store(&bench, async |store| {
        let page = store.read(&ReadRequest::new(domain::Filter::default(), 10)).await.unwrap();
        page.events.iter().map(|stored| stored.event.options()).collect::<Vec<_>>()
    });
    assert_eq!(options.len(), 5);
    for option in options {
        assert_eq!((option.priority, option.retries), (Priority::Critical, Some(7)));
        assert_eq!(option.expires_at.unwrap().to_string(), "2030-01-01T00:00:00Z");
    }
}

#[test]
fn failing_lines_are_reported_as_without_delivery_options_and_counts_add_up() {
    let bench = Bench::with(&registered("e1", "other", "2024-01-15T10:30:00Z"));
    let lines = format!("{}\n\nnot json\n{}", some(), r#"{"id":"x","type":"no.such","version":"1"}"#);
    let report = bench.pipe(&["publish", "--delay", "1h", "--output", "json"], &lines).exits(3).json();
    let counts = ["stored", "alreadyStored", "rejected", "conflicts", "scheduled", "alreadyScheduled"];
    let counts: Vec<u64> = counts.iter().map(|name| report[name].as_u64().unwrap()).collect();
    assert_eq!(counts, [0, 0, 2, 1, 4, 0]);
    let lines: Vec<_> = report["errors"].as_array().unwrap().iter().map(|error| &error["line"]).collect();
    assert_eq!(lines, [1, 7, 8]);
    assert_eq!(report["errors"][0]["violations"][0]["rule"], "conflict");
    assert_eq!(report["errors"][0]["type"], "user.registered");
}

#[test]
fn many_events_with_delivery_options_keep_the_order_of_their_lines() {
    let bench = Bench::new();
    let lines: Vec<String> =
        (0..1500).map(|n| registered(&format!("e{n}"), &format!("u{n}"), "2024-01-15T10:30:00Z")).collect();
    bench.pipe(&["publish", "--priority", "high"], lines.join("\n")).ok().prints("stored 1,500,");
    let exported = bench.run(&["export"]).ok().lines();
    let expected: Vec<String> = (0..1500).map(|n| format!("e{n}")).collect();
    assert_eq!(exported.iter().map(|event| event["id"].as_str().unwrap()).collect::<Vec<_>>(), expected);
}

#[test]
fn delivery_options_without_meaning_are_refused() {
    let bench = Bench::new();
    for (flags, message) in [
        (&["--delay", "soon"][..], "a duration is a number with a unit"),
        (&["--priority", "urgent"], "critical"),
        (&["--retries", "-1"], "retries"),
        (&["--expires-in", "5m", "--expires-at", "now"], "cannot be used with"),
        (&["--atomic", "--delay", "5m"], "--atomic"),
    ] {
        bench.pipe(&[&["publish"], flags].concat(), some()).exits(2).says(message);
    }
    assert!(!bench.path("events.db").exists());
}
