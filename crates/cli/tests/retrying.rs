//! `replays retry`: replays only the failed events, on a file and on Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Bench, ids, some};
use serde_json::json;

fn benches() -> Vec<Bench> {
    [Some(Bench::new()), Bench::on_redis()].into_iter().flatten().collect()
}

/// A handler that fails for payments until the file `works` exists.
const HANDLER: &str = "exec1:sh -c 'tee -a given | grep -q user.registered || test -e works'";

#[test]
fn what_failed_in_a_replay_is_sent_again_alone() {
    for bench in benches() {
        bench.pipe(&["publish"], some()).ok();
        let replay = [
            "replay",
            "--all",
            "--target",
            HANDLER,
            "--max-retries",
            "0",
            "--delay",
            "0",
            "--output",
            "json",
        ];
        let report = bench.run(&replay).exits(3).json();
        let id = report["replayId"].as_str().unwrap();
        assert_eq!((&report["failedReplays"], &report["successfulReplays"]), (&json!(2), &json!(3)));
        // The store keeps neither the command nor its arguments.
        bench.run(&["replays", "retry", id]).exits(2).says("--target");
        std::fs::write(bench.path("works"), "").unwrap();
        std::fs::remove_file(bench.path("given")).unwrap();
        let retry = ["replays", "retry", &id[..13], "--target", HANDLER, "--delay", "0", "--output", "json"];
        let said = bench.run(&retry).ok().says("2 events failed in replay");
        let report = said.json();
        assert_eq!((&report["totalEvents"], &report["successfulReplays"]), (&json!(2), &json!(2)));
        let given = std::fs::read_to_string(bench.path("given")).unwrap();
        let given: Vec<_> = given.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(ids(&given), ["e3", "e4"]);
        let again = report["replayId"].as_str().unwrap();
        bench.run(&["replays", "retry", again, "--target", "stdout"]).exits(1).says("no event failed");
    }
}

#[test]
fn a_retry_goes_to_the_groups_of_the_replay() {
    for bench in benches() {
        bench.pipe(&["publish"], some()).ok();
        bench.run(&["groups", "create", "pay", "--at", "head"]).ok();
        bench.run(&["groups", "create", "other", "--at", "head"]).ok();
        let consumer = bench.consume(&["pay", "--target", HANDLER, "--max-retries", "0"]);
        let replay = ["replay", "--all", "--group", "pay", "--delay", "0", "--output", "json"];
        let id = bench.run(&replay).exits(3).json()["replayId"].as_str().unwrap().to_owned();
        std::fs::write(bench.path("works"), "").unwrap();
        let report = bench.run(&["replays", "retry", &id, "--delay", "0", "--output", "json"]).ok().json();
        assert_eq!((&report["totalEvents"], &report["groups"][0]["name"]), (&json!(2), &json!("pay")));
        assert_eq!(report["groups"].as_array().unwrap().len(), 1);
        consumer.stop().ok();
        // A replay that has not ended cannot be retried yet.
        let started = bench.json(&["replay", "--all", "--group", "pay", "--detach"]);
        let id = started["replayId"].as_str().unwrap();
        bench.run(&["replays", "retry", id]).exits(1).says("when it has ended");
    }
}
