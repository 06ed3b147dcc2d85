//! `replay` and its kin, checkpoints and recovery.

mod common;

use common::{Bench, ids, registered, some};
use serde_json::json;

#[test]
fn a_dry_run_is_the_plan_and_changes_nothing() {
    let bench = Bench::with(&some());
    let plan = bench.json(&["replay", "--user-id", "user-123", "--dry-run"]);
    assert_eq!(plan["dryRun"], true);
    assert_eq!(plan["totalEvents"], 2);
    assert_eq!(plan["byType"], json!({"payment.processed": 1, "user.registered": 1}));
    assert_eq!(plan["bySource"], json!({"payment-service": 1, "user-service": 1}));
    assert_eq!(plan["oldest"], "2024-01-15T10:30:00Z");
    assert_eq!(plan["newest"], "2024-01-20T08:00:00Z");
    let before = std::fs::read(bench.path("events.db")).unwrap();
    let again = bench.json(&["replay", "--user-id", "user-123", "--dry-run"]);
    assert_eq!(again["planHash"], plan["planHash"]);
    assert_eq!(std::fs::read(bench.path("events.db")).unwrap(), before);
    bench.run(&["replay", "--user-id", "user-123", "--dry-run"]).ok().prints("would replay 2 events");
    assert_eq!(
        bench.json(&["replay", "--user-id", "user-123", "--dry-run", "--limit", "1"])["totalEvents"],
        1
    );
}

#[test]
fn stdout_has_the_events_alone_and_stderr_the_result() {
    let bench = Bench::with(&some());
    let plan = bench.json(&["replay", "--type", "user.*", "--dry-run"]);
    let said = bench.run(&["replay", "--type", "user.*", "--target", "stdout", "--output", "json"]).ok();
    let lines = said.lines();
    assert_eq!(ids(&lines), ["e1", "e2", "event-456789"]);
    let first = &lines[0];
    assert_eq!(first["replay"]["isReplay"], true);
    assert_eq!(first["replay"]["originalTimestamp"], "2024-01-15T10:30:00Z");
    assert_eq!(first["replay"]["replayCount"], 1);
    let result = said.stderr.lines().last().unwrap();
    let result: serde_json::Value = serde_json::from_str(result).unwrap();
    assert_eq!(result["status"], "COMPLETED");
    assert_eq!(result["replayId"], first["replay"]["replayId"]);
    assert_eq!(
        [
            &result["totalEvents"],
            &result["successfulReplays"],
            &result["failedReplays"],
            &result["skippedEvents"]
        ],
        [3, 3, 0, 0]
    );
    assert_eq!(result["planHash"], plan["planHash"]);
    assert_eq!((&result["errors"], &result["groups"]), (&json!([]), &json!([])));
    assert!(result["durationMs"].is_u64());
}

#[test]
fn a_replay_counts_beside_the_events_and_stores_none() {
    let bench = Bench::with(&some());
    let before = bench.run(&["export"]).stdout;
    for _ in 0..2 {
        bench.run(&["replay-user", "user-123", "--target", "stdout"]).ok();
    }
    assert_eq!(bench.run(&["export"]).stdout, before);
    let events = bench.json(&["list", "--order", "asc"])["events"].clone();
    let counts: Vec<_> =
        events.as_array().unwrap().iter().map(|stored| stored["replayCount"].clone()).collect();
    assert_eq!(counts, [2, 0, 2, 0, 0]);
}

#[test]
fn a_replayed_line_can_be_imported() {
    let bench = Bench::with(&some());
    let lines = bench.run(&["replay", "--all", "--target", "stdout"]).ok().stdout;
    let other = Bench::new();
    other.pipe(&["import"], lines).ok().prints("stored 5");
    assert_eq!(other.run(&["export"]).stdout, bench.run(&["export"]).stdout);
}

#[test]
fn the_resolved_range_and_the_least_time_are_said_first() {
    let bench = Bench::with(&some());
    let args = [
        "replay",
        "--from",
        "2024-01-01T00:00:00+01:00",
        "--batch-size",
        "2",
        "--delay",
        "1ms",
        "--target",
        "stdout",
    ];
    bench.run(&args).ok().says("events from 2023-12-31T23:00:00Z on").says("at least 1s");
}

#[test]
fn a_workflow_is_replayed_and_narrowed_by_other_filters() {
    let bench = Bench::with(&some());
    let lines = bench.run(&["replay-correlation", "c-user-123", "--target", "stdout"]).ok().lines();
    assert_eq!(ids(&lines), ["e1"]);
    let none = bench.json(&["replay-correlation", "c-user-123", "--type", "payment.*", "--dry-run"]);
    assert_eq!(none["totalEvents"], 0);
}

#[test]
fn recovery_replays_what_came_after_the_mark_late_events_included() {
    let bench = Bench::with(&some());
    let made = bench.json(&["checkpoint", "before", "e3", "--metadata", "{\"reason\":\"test\"}"]);
    assert_eq!(made["eventCount"], 3);
    assert_eq!(made["lastProcessedEventId"], "e3");
    assert_eq!(made["metadata"], json!({"reason": "test"}));
    // Happened years before the mark, arrived after it.
    bench.pipe(&["publish"], registered("late", "user-123", "2019-01-01T00:00:00Z")).ok();
    let lines = bench.run(&["recover", "before", "--target", "stdout"]).ok().lines();
    assert_eq!(ids(&lines), ["e4", "event-456789", "late"]);
    let by_id = bench.json(&["recover", made["id"].as_str().unwrap(), "--user-id", "user-123", "--dry-run"]);
    assert_eq!(by_id["totalEvents"], 1);
    bench.run(&["recover", "nowhere", "--dry-run"]).exits(1).says("there are: before");
}

#[test]
fn a_trimmed_mark_is_a_gap_and_never_a_silent_skip() {
    let bench = Bench::with(&some());
    bench.run(&["checkpoint", "early", "e1"]).ok();
    bench.run(&["trim", "--max-events", "2", "--yes"]).ok().prints("dropped 3 events");
    bench
        .run(&["recover", "early", "--dry-run"])
        .exits(1)
        .says("retention has removed events after its mark");
    assert_eq!(bench.json(&["recover", "early", "--dry-run", "--allow-gap"])["totalEvents"], 2);
}

#[test]
fn checkpoints_have_unique_names_and_are_listed_compared_and_deleted() {
    let bench = Bench::with(&some());
    bench.run(&["checkpoint", "one", "e1"]).ok().prints("events at or before it: 1");
    bench.run(&["checkpoint", "one", "e2"]).exits(1).says("--replace");
    bench.run(&["checkpoint", "one", "e2", "--replace"]).ok();
    bench.run(&["checkpoint", "head"]).ok().prints("event-456789");
    bench.run(&["checkpoint", "x", "unknown"]).exits(1).says("no event with the id \"unknown\"");
    let all = bench.json(&["checkpoints", "list"]);
    let names: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["name"].as_str().unwrap(), c["eventCount"].as_u64().unwrap()))
        .collect();
    assert_eq!(names, [("one", 2), ("head", 5)]);
    assert_eq!(bench.json(&["checkpoints", "show", "one"])["lastProcessedEventId"], "e2");
    let diff = bench.json(&["checkpoints", "diff", "head", "one"]);
    assert_eq!(diff["totalEvents"], 3);
    assert_eq!(diff["byType"], json!({"payment.processed": 2, "user.registered": 1}));
    bench.run(&["checkpoints", "delete", "one"]).ok();
    bench.run(&["checkpoints", "delete", "one"]).exits(1).says("no checkpoint named");
}
