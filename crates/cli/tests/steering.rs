//! Replays in stages, with a failure limit, and at a pace that changes while they run; on a file and on Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, registered};
use serde_json::{Value, json};

fn benches() -> Vec<Bench> {
    [Some(Bench::new()), Bench::on_redis()].into_iter().flatten().collect()
}

/// A bench with this many events and a group at the end of its log.
fn with_events(bench: &Bench, count: usize) {
    let event = |n| registered(&format!("e{n}"), &format!("u{}", n % 7), "2024-01-15T10:30:00Z");
    let events: Vec<String> = (0..count).map(event).collect();
    bench.pipe(&["publish"], events.join("\n")).ok();
    bench.run(&["groups", "create", "mail", "--at", "head"]).ok();
}

/// Waits until a replay is paused, and returns it.
fn paused(bench: &Bench, id: &str) -> Value {
    let began = Instant::now();
    loop {
        let replay = bench.json(&["replays", "show", id]);
        if replay["state"] == "PAUSED" {
            return replay;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{replay}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_replay_in_stages_waits_for_a_resumption_after_each() {
    for bench in benches() {
        with_events(&bench, 40);
        let consumer = bench.consume(&["mail"]);
        let start = ["replay", "--all", "--group", "mail", "--delay", "0", "--ramp", "1,10,all", "--detach"];
        let id = bench.json(&start)["replayId"].as_str().unwrap().to_owned();
        for (stage, done) in [(1, 1), (2, 11)] {
            let replay = paused(&bench, &id);
            assert_eq!((&replay["successful"], &replay["ramp"]), (&json!(done), &json!([1, 10])));
            assert_eq!(replay["pausedBy"], json!({"reason": "stageComplete", "stage": stage, "stages": 3}));
            bench
                .run(&["replays", "show", &id])
                .ok()
                .prints("1,10,all")
                .prints(&format!("stage {stage} of 3 is complete"));
            bench.run(&["replays", "resume", &id]).ok();
        }
        bench.run(&["replays", "watch", &id]).ok();
        let replay = bench.json(&["replays", "show", &id]);
        assert_eq!((&replay["successful"], &replay["pausedBy"]), (&json!(40), &Value::Null));
        consumer.stop().ok();
    }
}

#[test]
fn a_replay_in_the_foreground_reports_its_stage_and_goes_on_when_it_is_resumed() {
    let bench = Bench::new();
    with_events(&bench, 5);
    let consumer = bench.consume(&["mail"]);
    let waiting = bench.start(&["replay", "--all", "--group", "mail", "--delay", "0", "--ramp", "2"]);
    let began = Instant::now();
    let id = loop {
        let replays = bench.json(&["replays", "list"]);
        if let Some(id) = replays[0]["id"].as_str() {
            break id.to_owned();
        }
        assert!(began.elapsed() < Duration::from_secs(60));
    };
    paused(&bench, &id);
    bench.run(&["replays", "resume", &id]).ok();
    waiting
        .ends()
        .ok()
        .says(&format!("paused: stage 1 of 2 is complete; `event-replay replays resume {id}` continues it"));
    consumer.stop().ok();
}

#[test]
fn a_replay_pauses_at_its_failure_limit() {
    for bench in benches() {
        with_events(&bench, 40);
        let consumer = bench.consume(&["mail", "--target", "exec1:false", "--max-retries", "0"]);
        let start =
            ["replay", "--all", "--group", "mail", "--rate", "10", "--stop-after-failures", "2", "--detach"];
        let id = bench.json(&start)["replayId"].as_str().unwrap().to_owned();
        let replay = paused(&bench, &id);
        assert_eq!(replay["failureLimit"], json!({"events": 2}));
        assert_eq!(replay["pausedBy"]["reason"], "failureLimit");
        let failed = replay["failed"].as_u64().unwrap();
        assert!((2..40).contains(&failed), "{failed}");
        bench.run(&["replays", "cancel", &id]).ok();
        consumer.stop().ok();
    }
}

#[test]
fn a_replay_to_a_command_ends_at_its_failure_limit() {
    let bench = Bench::new();
    with_events(&bench, 40);
    let refuses = r#"exec:sed -u 's/.*"id":"\(e[0-9]*\)".*/{"id":"\1","ok":false,"retry":false}/'"#;
    let limited = ["replay", "--all", "--target", refuses, "--delay", "0"];
    let report = bench
        .run(
            &[&limited[..], &["--batch-size", "5", "--stop-after-failures", "50%", "--output", "json"]]
                .concat(),
        )
        .exits(1)
        .json();
    assert_eq!((&report["failedReplays"], &report["remaining"]), (&json!(20), &json!(20)));
    assert_eq!(report["ended"], "20 of 20 events failed, and the limit is 50%");
}

#[test]
fn the_pace_of_a_replay_is_changed_while_it_runs() {
    for bench in benches() {
        with_events(&bench, 30);
        let consumer = bench.consume(&["mail"]);
        let start = ["replay", "--all", "--group", "mail", "--rate", "0.1", "--detach"];
        let id = bench.json(&start)["replayId"].as_str().unwrap().to_owned();
        bench.run(&["replays", "pace", &id]).exits(2).says("--rate");
        bench.run(&["replays", "pace", &id, "--rate", "0"]).exits(2).says("at least 0.001");
        bench
            .run(&["replays", "pace", &id, "--rate", "200", "--reason", "the mail server has room"])
            .ok()
            .prints(&format!("replay {id} has a new pace: 200 events a second"));
        bench.run(&["replays", "watch", &id]).ok();
        let replay = bench.json(&["replays", "show", &id]);
        assert_eq!((&replay["successful"], &replay["pace"]), (&json!(30), &json!({"rate": 200.0})));
        bench.run(&["replays", "pace", &id, "--delay", "0"]).exits(1).says("has ended");
        let audit = bench.json(&["audit", "list", "--action", "replays pace"]);
        assert!(audit.to_string().contains("200 events a second"), "{audit}");
        consumer.stop().ok();
    }
}

#[test]
fn stages_are_for_groups_and_bounds_are_checked() {
    let bench = Bench::new();
    with_events(&bench, 2);
    bench
        .run(&["replay", "--all", "--target", "stdout", "--ramp", "1"])
        .exits(2)
        .says("--ramp is for replays into groups");
    bench.run(&["replay", "--all", "--ramp", "1,0"]).exits(2).says("such as 1,10,100,all");
    for wrong in ["0", "101%", "few"] {
        bench.run(&["replay", "--all", "--stop-after-failures", wrong]).exits(2).says("a share such as 2%");
    }
}
