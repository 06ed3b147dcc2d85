//! `replay --missed`: the events that a group passed and certainly did not deliver.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Bench, ids, paid, registered, some};
use serde_json::{Value, json};

fn consume(bench: &Bench, group: &str) -> Vec<String> {
    let said = bench.run(&["consume", group, "--until-idle", "1s"]).ok();
    ids(&said.lines()).into_iter().map(str::to_owned).collect()
}

fn later(n: usize) -> String {
    let user = format!("user-{n}");
    [registered(&format!("r{n}"), &user, "2024-03-01T00:00:00Z"), paid(&format!("p{n}"), &user, "5")]
        .join("\n")
}

/// Returns the causes of a dry run, each with its number of events and its types.
fn causes(plan: &Value) -> Vec<(String, u64, Vec<String>)> {
    let part = |part: &Value| {
        let types = part["types"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
        (part["cause"].as_str().unwrap().to_owned(), part["events"].as_u64().unwrap(), types.collect())
    };
    plan["missed"]["parts"].as_array().unwrap().iter().map(part).collect()
}

fn of(cause: &str, events: u64, types: &[&str]) -> (String, u64, Vec<String>) {
    (cause.to_owned(), events, types.iter().map(|name| (*name).to_owned()).collect())
}

fn dry_run(bench: &Bench, args: &[&str]) -> Value {
    let mut all = vec!["replay", "--missed", "mail", "--dry-run"];
    all.extend(args);
    bench.json(&all)
}

/// A group gets by cause the events before its start, and the events of types that were added later.
fn a_group_gets_what_it_missed(bench: &Bench) {
    bench.pipe(&["publish"], some()).ok();
    bench.run(&["groups", "create", "mail", "--type", "user.*"]).ok();
    bench.pipe(&["publish"], later(1)).ok();
    assert_eq!(consume(bench, "mail"), ["r1"]);

    let plan = dry_run(bench, &[]);
    assert_eq!(causes(&plan), [of("start", 3, &["user.*"])]);
    assert_eq!(plan["totalEvents"], 3);

    bench.run(&["groups", "create", "mail", "--type", "user.*", "--type", "payment.*"]).ok();
    bench.pipe(&["publish"], later(2)).ok();
    assert_eq!(consume(bench, "mail"), ["r2", "p2"]);
    let several = bench.run(&["replay", "--missed", "mail", "--dry-run"]).exits(2);
    several
        .says("start (5 events of payment.*, user.*), types (1 event of payment.processed)")
        .says("--cause");
    let plan = dry_run(bench, &["--cause", "types"]);
    assert_eq!(
        causes(&plan),
        [of("start", 5, &["payment.*", "user.*"]), of("types", 1, &["payment.processed"])]
    );
    assert_eq!((&plan["totalEvents"], &plan["byType"]), (&json!(1), &json!({"payment.processed": 1})));
    bench
        .run(&["replay", "--missed", "mail", "--cause", "types", "--target", "stdout"])
        .ok()
        .prints("\"p1\"");

    // The plan is exactly what is sent, and no event that the group handled is in it.
    let begun = bench.json(&["replay", "--missed", "mail", "--cause", "types", "--detach"]);
    assert_eq!((&begun["totalEvents"], &begun["groups"]), (&json!(1), &json!(["mail"])));
    assert_eq!(begun["planHash"], plan["planHash"]);
    assert_eq!(consume(bench, "mail"), ["p1"]);
    bench.run(&["replay", "--missed", "mail", "--cause", "start", "--type", "payment.*", "--detach"]).ok();
    let mut sent = consume(bench, "mail");
    sent.sort();
    assert_eq!(sent, ["e3", "e4"]);
}

#[test]
fn a_group_gets_what_it_missed_on_a_file() {
    a_group_gets_what_it_missed(&Bench::new());
}

#[test]
fn a_group_gets_what_it_missed_on_redis() {
    let Some(bench) = Bench::on_redis() else { return };
    a_group_gets_what_it_missed(&bench);
}

#[test]
fn a_reset_forward_leaves_events_that_can_be_sent() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "mail", "--at", "start"]).ok();
    assert_eq!(consume(&bench, "mail").len(), 5);
    let nothing = bench.run(&["replay", "--missed", "mail", "--dry-run"]).ok();
    nothing.says("group mail missed no stored event that is known").prints("would replay 0 events");
    bench.pipe(&["publish"], later(1)).ok();
    bench.run(&["groups", "reset", "mail", "--at", "head"]).ok();
    let plan = dry_run(&bench, &[]);
    assert_eq!((causes(&plan), &plan["totalEvents"]), (vec![of("reset", 2, &[])], &json!(2)));
    // The group handles everything again, so nothing is missed.
    bench.run(&["groups", "reset", "mail", "--at", "start"]).ok();
    assert_eq!(causes(&dry_run(&bench, &[])), []);
    assert_eq!(consume(&bench, "mail").len(), 7);
    assert_eq!(causes(&dry_run(&bench, &[])), []);
}

#[test]
fn filters_and_bounds_narrow_the_missed_events() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "mail"]).ok();
    assert_eq!(dry_run(&bench, &[])["totalEvents"], 5);
    assert_eq!(dry_run(&bench, &["--type", "payment.*"])["totalEvents"], 2);
    assert_eq!(dry_run(&bench, &["--user-id", "user-123"])["totalEvents"], 2);
    assert_eq!(dry_run(&bench, &["--after-event", "e3"])["totalEvents"], 2);
    assert_eq!(dry_run(&bench, &["--until-event", "e1"])["totalEvents"], 1);
    assert_eq!(dry_run(&bench, &["--type", "lab.*"])["totalEvents"], 0);
    assert_eq!(dry_run(&bench, &["--cause", "reset"])["totalEvents"], 0);
}

#[test]
fn wrong_requests_for_missed_events_are_refused() {
    let bench = Bench::with(&some());
    bench.run(&["replay", "--missed", "mail", "--dry-run"]).exits(1).says("mail");
    bench.run(&["groups", "create", "mail"]).ok();
    bench.run(&["replay", "--missed", "mail", "--group", "mail"]).exits(2);
    bench.run(&["replay", "--missed", "mail", "--all"]).exits(2);
    bench.run(&["replay", "--cause", "start", "--all"]).exits(2);
    bench.run(&["replay", "--missed", "mail", "--cause", "luck"]).exits(2).says("types");
}
