//! `groups pause` and `groups resume`, on a file and on Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::time::Duration;

use common::{Bench, registered, some};
use serde_json::{Value, json};

fn benches() -> Vec<Bench> {
    [Some(Bench::new()), Bench::on_redis()].into_iter().flatten().collect()
}

fn row(bench: &Bench) -> Value {
    bench.json(&["groups", "list"])[0].clone()
}

#[test]
fn a_paused_group_delivers_nothing_until_it_is_resumed() {
    for bench in benches() {
        bench.pipe(&["publish"], some()).ok();
        bench.run(&["groups", "create", "mail", "--at", "start"]).ok();
        let consumer = bench.consume(&["mail"]);
        consumer.prints_lines(5);
        let said =
            bench.json(&["groups", "pause", "mail", "--reason", "new server", "--operator", "ann@desk"]);
        let members = ["source", "by", "reason", "until"].map(|member| said["pause"][member].clone());
        assert_eq!(json!(members), json!(["operator", "ann@desk", "new server", null]));
        assert_eq!(row(&bench)["pauses"][0], said["pause"]);
        std::thread::sleep(Duration::from_secs(1));
        bench.pipe(&["publish"], registered("late", "user-123", "2024-02-01T00:00:00Z")).ok();
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(consumer.stdout().lines().count(), 5);
        // Every command that shows the group shows the pause.
        bench.run(&["groups", "list"]).ok().prints("mail (paused)");
        bench.run(&["groups", "show", "mail"]).ok().prints("by ann@desk: new server");
        let health = bench.json(&["health"]);
        let checks = health["checks"].as_array().unwrap();
        let paused = checks.iter().find(|check| check["name"] == "group-paused").unwrap();
        assert_eq!(paused["status"], "warn", "{paused}");
        let resumed = bench.json(&["groups", "resume", "mail"]);
        assert_eq!(resumed, json!({"name": "mail", "pauses": 1}));
        consumer.prints_lines(6);
        assert_eq!(row(&bench)["pauses"], json!([]));
        bench.run(&["groups", "resume", "mail"]).ok().prints("was not paused");
        consumer.stop().ok();
        let actions = bench.json(&["audit", "list", "--action", "groups pause"]);
        assert_eq!((&actions[0]["reason"], &actions[0]["subject"]), (&json!("new server"), &json!("mail")));
        bench.run(&["groups", "pause", "nail"]).exits(1).says("there is no group").says("mail");
        bench.run(&["groups", "resume", "nail"]).exits(1).says("there is no group");
        bench.run(&["verify"]).ok();
    }
}

#[test]
fn a_pause_with_an_end_is_over_by_itself() {
    for bench in benches() {
        bench.pipe(&["publish"], some()).ok();
        bench.run(&["groups", "create", "mail", "--at", "start"]).ok();
        bench.run(&["groups", "pause", "mail", "--for", "3s"]).ok().prints("paused group mail until 20");
        let consumer = bench.consume(&["mail"]);
        consumer.prints_lines(5);
        consumer.stop().ok();
        assert_eq!(row(&bench)["pauses"], json!([]));
    }
}

#[test]
fn a_circuit_breaker_of_the_settings_pauses_the_group_and_probes() {
    for bench in benches() {
        let bench = bench.env("EVENT_REPLAY_BREAKER_FAILURES", "3").env("EVENT_REPLAY_BREAKER_PAUSE", "2s");
        bench.pipe(&["publish"], some()).ok();
        bench.run(&["groups", "create", "mail", "--at", "start"]).ok();
        let works = bench.path("works");
        let handler = format!("exec1:test -e {}", works.display());
        let consumer = bench.consume(&["mail", "--target", &handler]);
        common::consumer::wait("the breaker to open", || {
            let row = row(&bench);
            if row["pauses"] == json!([]) { Err(row.to_string()) } else { Ok(()) }
        });
        let pause = row(&bench)["pauses"][0].clone();
        assert!(pause["reason"].as_str().unwrap().starts_with("3 events in a row failed"), "{pause}");
        assert!(pause["source"].as_str().unwrap().starts_with("breaker "), "{pause}");
        std::fs::write(&works, "").unwrap();
        common::consumer::wait("the group to go on", || {
            let row = row(&bench);
            if row["pauses"] == json!([]) && row["pending"] == 0 { Ok(()) } else { Err(row.to_string()) }
        });
        consumer.stop().ok();
        assert_eq!(bench.json(&["dead-letters", "list"])["deadLetters"], json!([]));
    }
}
