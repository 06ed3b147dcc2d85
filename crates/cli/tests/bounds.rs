//! Bounds by events: `--after-event` and `--until-event` of the commands that read a slice of the log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Bench, ids, paid, registered, some};
use serde_json::{Value, json};

/// Returns the ids of a list.
fn listed(bench: &Bench, args: &[&str]) -> Vec<String> {
    let mut all = vec!["list", "--limit", "1000", "--output", "ndjson"];
    all.extend(args);
    ids(&bench.run(&all).ok().lines()).into_iter().map(str::to_owned).collect()
}

fn count(bench: &Bench, args: &[&str]) -> Value {
    bench.json(args)["totalEvents"].clone()
}

/// Each bound selects the same part of the log in every command.
fn every_command_cuts_the_log_at_an_event(bench: &Bench) {
    let all = listed(bench, &["--order", "asc"]);
    let (first, last) = (all.len() / 4, all.len() - 2);
    let (after, until) = (all[first].as_str(), all[last].as_str());
    let part = all[first + 1..=last].to_vec();
    let bounds = ["--after-event", after, "--until-event", until];
    let with = |args: &[&'static str]| -> Vec<String> {
        args.iter().copied().chain(bounds).map(str::to_owned).collect()
    };
    let run = |args: &[&'static str]| {
        let args = with(args);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        bench.run(&args).ok()
    };

    assert_eq!(listed(bench, &["--order", "asc", "--after-event", after]), all[first + 1..]);
    assert_eq!(listed(bench, &["--order", "asc", "--until-event", until]), all[..=last]);
    let forth = run(&["list", "--limit", "1000", "--order", "asc", "--output", "ndjson"]);
    assert_eq!(ids(&forth.lines()), part);
    let mut back = part.clone();
    back.reverse();
    assert_eq!(ids(&run(&["list", "--limit", "1000", "--output", "ndjson"]).lines()), back);
    let exported: Vec<Value> = run(&["export", "--with-meta"]).lines();
    assert_eq!(ids(&exported), part);
    let tail = run(&["tail", "--lines", "3", "--output", "ndjson"]).lines();
    assert_eq!(ids(&tail), part[part.len() - 3..]);
    let tail = run(&["tail", "--lines", "1000", "--output", "ndjson"]).lines();
    assert_eq!(ids(&tail), part);
    assert_eq!(run(&["stats", "--output", "json"]).json()["events"], part.len());
    assert_eq!(run(&["histogram", "--output", "json"]).json()["events"], part.len());
    let plan = run(&["replay", "--dry-run", "--output", "json"]).json();
    assert_eq!(plan["totalEvents"], part.len());
    let sent = run(&["replay", "--target", "stdout"]).lines();
    assert_eq!(ids(&sent), part);
    // A position is another name of the event at it.
    let position = bench.json(&["show", after])["events"][0]["position"].as_str().unwrap().to_owned();
    assert_eq!(listed(bench, &["--order", "asc", "--after-event", &position]), all[first + 1..]);
    // Further flags narrow the selection.
    let typed = run(&["replay", "--type", "user.*", "--dry-run", "--output", "json"]).json();
    assert!(typed["totalEvents"].as_u64() < plan["totalEvents"].as_u64(), "{typed}");
}

/// The pages of a bounded list are the pages of its part, in either order.
fn pages_end_at_the_bounds(bench: &Bench) {
    let all = listed(bench, &["--order", "asc"]);
    for order in ["asc", "desc"] {
        let (mut paged, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let mut args = vec!["list", "--limit", "2", "--order", order, "--after-event", all[0].as_str()];
            args.extend(["--until-event", all[all.len() - 2].as_str()]);
            args.extend(after.iter().flat_map(|after| ["--after", after.as_str()]));
            let page = bench.json(&args);
            paged.extend(ids(page["events"].as_array().unwrap()).into_iter().map(str::to_owned));
            match page["nextCursor"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => break,
            }
        }
        if order == "desc" {
            paged.reverse();
        }
        assert_eq!(paged, all[1..all.len() - 1], "{order}");
    }
}

fn many() -> String {
    let event = |n: usize| match n % 3 {
        0 => registered(&format!("e{n}"), &format!("user-{}", n % 7), "2024-01-15T10:30:00Z"),
        _ => paid(&format!("e{n}"), &format!("user-{}", n % 7), "5"),
    };
    (0..60).map(event).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_event_bounds_every_command_on_a_file() {
    let bench = Bench::with(&many());
    every_command_cuts_the_log_at_an_event(&bench);
    pages_end_at_the_bounds(&bench);
}

#[test]
fn an_event_bounds_every_command_on_redis() {
    let Some(bench) = Bench::on_redis() else { return };
    bench.pipe(&["publish"], many()).ok();
    every_command_cuts_the_log_at_an_event(&bench);
    pages_end_at_the_bounds(&bench);
}

#[test]
fn an_event_bounds_every_partition() {
    let Some(bench) = Bench::on_redis() else { return };
    bench.run(&["init", "--partitions", "4"]).ok();
    bench.pipe(&["publish"], many()).ok();
    every_command_cuts_the_log_at_an_event(&bench);
    pages_end_at_the_bounds(&bench);
}

#[test]
fn a_bound_that_names_no_event_is_an_error() {
    let bench = Bench::with(&some());
    bench.run(&["list", "--after-event", "e9"]).exits(1).says("no event has the id \"e9\"").says("0:17");
    bench
        .run(&["export", "--until-event", "0:6"])
        .exits(1)
        .says("there is no position 0:6; the log ends at 0:5");
    bench.run(&["list", "--until-event", "1:1"]).exits(1).says("there is no position 1:1");
    let args = ["replay", "--after-event", "e3", "--until-event", "e2", "--dry-run"];
    bench.run(&args).exits(2).says("no event is after \"e3\" and at or before \"e2\"");
    bench.run(&["list", "--after-event", "e3", "--until-event", "e3"]).exits(2);
    bench.run(&["tail", "-f", "--until-event", "e3"]).exits(2).says("leave out --until-event");
}

#[test]
fn a_position_of_a_removed_event_still_bounds() {
    let bench = Bench::with(&some());
    bench.run(&["erase", "user=user-456", "--yes"]).ok();
    // e2 and e4 are erased; their positions stay.
    bench.run(&["list", "--after-event", "e2"]).exits(1);
    assert_eq!(listed(&bench, &["--order", "asc", "--after-event", "0:2"]), ["e3", "event-456789"]);
    assert_eq!(listed(&bench, &["--order", "asc", "--until-event", "0:4"]), ["e1", "e3"]);
}

#[test]
fn a_recovery_begins_after_the_checkpoint_and_after_the_event() {
    let bench = Bench::with(&some());
    bench.run(&["checkpoint", "c", "e2"]).ok();
    let total = |args: &[&str]| {
        let mut all = vec!["recover", "c", "--dry-run"];
        all.extend(args);
        count(&bench, &all)
    };
    assert_eq!(total(&[]), 3);
    assert_eq!(total(&["--after-event", "e1"]), 3);
    assert_eq!(total(&["--after-event", "e3"]), 2);
    assert_eq!(total(&["--until-event", "e3"]), 1);
}

/// A kept plan keeps the places that the events named, so later events and erasures do not move it.
#[test]
fn a_kept_plan_keeps_the_resolved_bounds() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "g"]).ok();
    let kept = bench.json(&["replay", "--after-event", "e1", "--until-event", "e4", "--plan"]);
    assert_eq!(kept["totalEvents"], 3);
    assert!(kept["after"].is_string(), "{kept}");
    bench.pipe(&["publish"], registered("e9", "user-9", "2024-01-15T10:30:00Z")).ok();
    let id = kept["id"].as_str().unwrap();
    let events = bench.json(&["plans", "show", id, "--events"]);
    assert_eq!(ids(events["events"].as_array().unwrap()), ["e2", "e3", "e4"]);
    let begun = bench.json(&["replay", "--apply", id, "--detach"]);
    assert_eq!((&begun["totalEvents"], &begun["planHash"]), (&json!(3), &kept["planHash"]));
}
