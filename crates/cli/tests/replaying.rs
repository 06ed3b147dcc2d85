//! The replay commands, checkpoints and recovery.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{
    Bench, ids,
    prepared::{self, on_store},
    registered, some,
};
use domain::group::GroupSpec;
use serde_json::{Value, json};

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
    // The event happened years before the mark and arrived after it.
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

/// A command that reports success for each event except these. It refuses these without retry.
fn refusing(bench: &Bench, ids: &str) -> String {
    let script = format!(
        r#"while IFS= read -r line; do
             id=${{line#*'"id":"'}}; id=${{id%%'"'*}}; ok='"ok":true'
             case $id in {ids}) ok='"ok":false,"error":"no room","retry":false' ;; esac
             printf '{{"id":"%s",%s}}\n' "$id" "$ok"
           done"#
    );
    bench.file("answer.sh", script);
    "exec:sh answer.sh".to_owned()
}

#[test]
fn every_group_gets_a_replay_and_the_report_says_what_each_made_of_it() {
    let bench = Bench::with(&some());
    let target = refusing(&bench, "e3");
    let consumers = [
        bench.consume(&["billing", "--target", &target]),
        bench.consume(&["mail", "--no-replays", "--create"]),
        bench.consume(&["users", "--type", "user.*", "--create"]),
    ];
    let said = bench.run(&["replay", "--user-id", "user-123", "--output", "json"]).exits(3);
    let report = said.json();
    assert_eq!(
        [
            &report["totalEvents"],
            &report["successfulReplays"],
            &report["failedReplays"],
            &report["skippedEvents"]
        ],
        // One event is handled by every group that takes it. One group refuses the other event.
        [2, 1, 1, 0],
        "{report}"
    );
    let group = |name: &str, handled: u64, failed: u64, skipped: u64| json!({"name": name, "handled": handled, "failed": failed, "skipped": skipped});
    let groups = json!([group("billing", 1, 1, 0), group("mail", 0, 0, 2), group("users", 1, 0, 1)]);
    assert_eq!(report["groups"], groups);
    assert_eq!(
        (&report["errors"][0]["eventId"], report["errors"].as_array().unwrap().len()),
        (&"e3".into(), 1)
    );
    let letters = bench.json(&["dead-letters", "list"]);
    assert_eq!(letters["deadLetters"][0]["replayId"], report["replayId"]);
    assert_eq!(bench.json(&["replays", "show", report["replayId"].as_str().unwrap()])["state"], "COMPLETED");

    let only = bench.run(&["replay", "--event-id", "e4", "--group", "users", "--group", "billing"]).ok();
    only.prints("completed: 1 of 1 event replayed, 0 failed, 0 skipped").says("to groups billing, users");
    for consumer in consumers {
        consumer.stop().ok();
    }
}

#[test]
fn the_pauses_between_batches_are_said_first_and_none_follows_the_last() {
    let bench = Bench::with(&some());
    let consumer = bench.consume(&["mail"]);
    bench.run(&["replay", "--all", "--delay", "1h"]).ok().says("replaying 5 events to group mail\n");
    let args = ["replay", "--all", "--batch-size", "3", "--delay", "50"];
    bench.run(&args).ok().says("replaying 5 events to group mail, at least 1s");
    bench.run(&["replay", "--all", "--batch-size", "1", "--delay", "0"]).ok().says("to group mail\n");
    consumer.prints_lines(15);
    consumer.stop().ok();
}

#[test]
fn a_detached_replay_is_run_by_a_consumer() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "mail"]).ok();
    let args = ["replay", "--type", "user.*", "--where", "has(data.email)", "--detach", "--output", "json"];
    let said = bench.run(&args).ok().says("group mail has no consumers");
    let started = said.json();
    assert_eq!((&started["totalEvents"], &started["groups"]), (&json!(3), &json!(["mail"])));
    assert_eq!(started["groupsWithoutConsumers"], json!(["mail"]));
    let id = started["replayId"].as_str().unwrap();
    assert_eq!(bench.json(&["replays", "show", id])["state"], "PLANNED");
    let consumer = bench.consume(&["mail"]);
    bench.run(&["replays", "watch", id]).ok();
    let mut got = consumer.stop().ok().lines();
    got.sort_by_key(|line| line["event"]["id"].as_str().unwrap().to_owned());
    assert_eq!(ids(&got), ["e1", "e2", "event-456789"]);
    assert!(got.iter().all(|line| line["replay"]["replayId"] == id));
}

#[test]
fn a_replay_names_groups_without_consumers_and_continues_when_one_starts() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "mail"]).ok();
    let replay = bench.start(&["replay", "--all"]);
    replay.says("group mail has no consumers: waiting for one (`event-replay consume mail`)");
    let consumer = bench.consume(&["mail"]);
    let said = replay.ends().ok();
    said.prints("completed: 5 of 5 events replayed");
    consumer.stop().ok();
}

#[test]
fn a_signal_cancels_the_replay_and_reports() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "mail"]).ok();
    let replay = bench.start(&["replay", "--all", "--output", "json"]);
    replay.says("group mail has no consumers");
    let said = replay.stop().exits(1).says("cancelling");
    let report = said.json();
    assert_eq!((&report["status"], &report["remaining"]), (&json!("CANCELLED"), &json!(5)));
    assert_eq!(bench.json(&["replays", "list"])[0]["state"], "CANCELLED");
    let consumed = bench.run(&["consume", "mail", "--until-idle", "0s"]).ok();
    assert_eq!(consumed.stdout, "", "nothing of it comes later");
}

#[test]
fn a_second_cancel_leaves_open_deliveries_to_the_next_runner() {
    let bench = Bench::with(&some());
    let slow = "exec:sh -c 'while read line; do echo begun >> begun; sleep 60; done'";
    let consumer = bench.consume(&["mail", "--target", slow]);
    let replay = bench.start(&["replay", "--event-id", "e1"]);
    common::consumer::wait("the event", || {
        bench.path("begun").exists().then_some(()).ok_or_else(String::new)
    });
    replay.signal("INT");
    replay.says("waiting for events that were delivered");
    replay.signal("INT");
    replay.ends().exits(1).says("is cancelled by the next consumer that runs");
    consumer.kill();
}

#[test]
fn a_long_replay_at_the_default_pace_is_warned_of_before_it_starts() {
    let events: Vec<String> =
        (0..3_052).map(|n| registered(&format!("e{n}"), &format!("u{n}"), "2024-01-15T10:30:00Z")).collect();
    let bench = Bench::with(&events.join("\n"));
    let warned = "at the default pace (50 events, then a pause of a second) 3,052 events take at least 1m 1s; \
                  --rate EVENTS or --delay 0 goes faster";
    bench.run(&["groups", "create", "mail", "--at", "start"]).ok();
    bench.run(&["replay", "--all", "--dry-run"]).ok().says(warned);
    bench.run(&["replay", "--all", "--detach"]).ok().says(warned);
    for more in [&["--limit", "3050"][..], &["--rate", "50"], &["--delay", "2s"], &["--target", "stdout"]] {
        let said = bench.run(&[&["replay", "--all", "--dry-run"], more].concat()).ok();
        assert!(!said.stderr.contains("default pace"), "{said:#?}");
    }
}

#[test]
fn without_a_group_it_says_what_to_do() {
    let bench = Bench::with(&some());
    let shown = bench.run(&["replay", "--type", "user.*"]).ok().prints("would replay 3 events");
    let shown = shown.says("nothing was replayed: the store has no consumer group yet");
    shown.says("event-replay consume NAME").says("--target stdout");
    assert_eq!(bench.json(&["replay", "--type", "user.*"])["dryRun"], true);
    assert_eq!(bench.json(&["replays", "list"]), Value::Array(vec![]), "nothing is left behind");
    for more in [&["--target", "groups"][..], &["--detach"]] {
        let said = bench.run(&[&["replay", "--type", "user.*"], more].concat()).exits(1);
        let said = said.says("there are no consumer groups to replay into");
        said.says("event-replay consume NAME").says("groups create NAME").says("--target stdout");
    }
    bench.run(&["replay", "--type", "user.*", "--dry-run"]).ok().prints("would replay 3 events");
    on_store(&bench, async |store| prepared::group(store, GroupSpec::new("mail"), false).await);
    bench
        .run(&["replay", "--all", "--group", "maul"])
        .exits(1)
        .says("no consumer group named \"maul\"")
        .says("mail");
    for (args, what) in [
        (&["--target", "stdout", "--group", "mail"][..], "--group is for replays into groups"),
        (&["--target", "stdout", "--detach"], "--detach is for replays into groups"),
        (&["--target", "nowhere"], "a target is groups, stdout, exec:COMMAND"),
        (&["--dry-run", "--detach"], "cannot be used with"),
    ] {
        bench.run(&[&["replay", "--all"], args].concat()).exits(2).says(what);
    }
    assert_eq!(bench.json(&["replays", "list"]), json!([]), "nothing was begun");
}

#[test]
fn a_command_gets_a_replay_in_log_order_and_its_refusals_are_failures() {
    let bench = Bench::with(&some());
    let script = r#"while IFS= read -r line; do
          id=${line#*'"id":"'}; id=${id%%'"'*}; echo "$id" >> seen
          case $id in e2) echo "{\"id\":\"$id\",\"ok\":false,\"error\":\"no\",\"retry\":false}" ;;
                      *) echo "{\"id\":\"$id\",\"ok\":true}" ;; esac
        done"#;
    bench.file("take.sh", script);
    let said = bench.run(&["replay", "--all", "--target", "exec:sh take.sh", "--output", "json"]).exits(3);
    let report: Value = said.json();
    assert_eq!((&report["successfulReplays"], &report["failedReplays"]), (&json!(4), &json!(1)));
    let seen = std::fs::read_to_string(bench.path("seen")).unwrap();
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["e1", "e2", "e3", "e4", "event-456789"]);
    said.says("replaying 5 events to exec:sh");
    bench.run(&["replay", "--all", "--target", "exec:no-such-program"]).exits(1).says("no-such-program");
}
