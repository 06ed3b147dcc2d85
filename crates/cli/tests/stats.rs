//! Counters that every command stores beside the events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{
    Bench,
    prepared::{self, on_store},
    registered, some,
};
use domain::stats;
use serde_json::{Value, json};

fn counters(bench: &Bench) -> Value {
    bench.json(&["stats"])["counters"].clone()
}

#[test]
fn what_was_published_refused_and_replayed_is_counted_over_all_runs() {
    let bench = Bench::with(&some());
    bench.pipe(&["import"], format!("{}\nnot json", registered("new", "u", "2024-01-15T10:30:00Z"))).exits(3);
    bench.run(&["replay", "--type", "user.*", "--target", "stdout"]).ok();
    let counters = counters(&bench);
    for window in ["last15Minutes", "inAll"] {
        let counted = &counters[window];
        assert_eq!((&counted["admitted"], &counted["rejected"]), (&json!(6), &json!(1)), "{counters}");
        assert_eq!((&counted["appended"], &counted["appendFailed"]), (&json!(6), &json!(0)));
        assert_eq!(counted["appendSuccessRate"], json!(1.0));
        assert_eq!(counted["validationFailureRate"], json!(0.1429));
        assert_eq!((&counted["replayHandled"], &counted["replaySuccessRate"]), (&json!(4), &json!(1.0)));
    }
    let said = bench.run(&["stats"]).ok();
    said.prints("LAST 15 MIN").prints("validation failures").prints("14.29 %").prints("replays handled");
}

#[test]
fn looking_is_not_counted_and_leaves_an_empty_store_without_counters() {
    let bench = Bench::new();
    bench.run(&["init"]).ok();
    bench.run(&["list"]).ok();
    bench.run(&["replay", "--all", "--dry-run"]).ok();
    assert_eq!(counters(&bench)["inAll"]["admitted"], 0);
    assert_eq!(counters(&bench)["inAll"]["validationFailureRate"], Value::Null);
    let said = bench.run(&["stats"]).ok();
    assert!(!said.stdout.contains("LAST 15 MIN"), "{said:?}");
}

#[test]
fn handlers_time_is_shown_by_type() {
    let bench = Bench::with(&some());
    on_store(&bench, async |store| {
        let slow = (stats::HANDLED, "payment.processed", 4, 6_000_000);
        prepared::count(store, &[slow, (stats::HANDLED, "user.\u{1b}x", 10, 10_000)]).await;
    });
    let times = counters(&bench)["inAll"]["processingTime"].clone();
    assert_eq!(times[0], json!({"type": "payment.processed", "count": 4, "averageMs": 1500.0}));
    let said = bench.run(&["stats"]).ok().prints("payment.processed").prints("1500.0 ms");
    assert!(!said.stdout.contains('\u{1b}'), "{said:?}");
}

#[test]
fn the_flags_choose_events_and_leave_the_counters() {
    let bench = Bench::with(&some());
    let stats = bench.json(&["stats", "--type", "payment.*"]);
    assert_eq!((&stats["events"], &stats["counters"]["inAll"]["admitted"]), (&json!(2), &json!(5)));
    assert_eq!(stats["deadLetters"], json!({"open": 0, "redriving": 0, "handled": 0, "discarded": 0}));
}
