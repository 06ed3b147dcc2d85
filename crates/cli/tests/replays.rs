//! The records of replays, shown and changed from another terminal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::sync::Arc;

use common::{
    Bench,
    consumer::wait,
    prepared::{self, on_store},
    registered, some,
};
use domain::{Filter, TypePattern, group::GroupSpec, ports::SystemClock};
use replay::{GroupReplayOptions, PlanRequest, ReplayManager};
use serde_json::json;

/// Creates a replay into a group that waits for a runner, and returns its id.
fn planned(bench: &Bench) -> String {
    on_store(bench, async |store| {
        prepared::group(store, GroupSpec::new("mail"), false).await;
        let store = Arc::new(store.clone());
        let manager =
            ReplayManager::new(store.clone(), store.clone(), store.clone(), None, Arc::new(SystemClock))
                .with_groups(store);
        let filter = Filter { types: vec![TypePattern::new("user.*")], ..Filter::default() };
        let plan = manager.plan(PlanRequest::new(filter), None).await.unwrap();
        manager.start_group_replay(&plan, &GroupReplayOptions::to_all_groups()).await.unwrap().id
    })
}

#[test]
fn every_run_leaves_a_record() {
    let bench = Bench::with(&some());
    bench.run(&["replays", "list"]).ok().says("there are no replays");
    bench.run(&["replay", "--type", "user.*", "--target", "stdout"]).ok();
    bench.run(&["replay", "--all", "--dry-run"]).ok();
    let list = bench.json(&["replays", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 1, "a dry run leaves none");
    let replay = &list[0];
    assert_eq!((&replay["state"], &replay["target"]), (&json!("COMPLETED"), &json!("stdout")));
    assert_eq!((&replay["totalEvents"], &replay["successful"]), (&json!(3), &json!(3)));
    let id = replay["id"].as_str().unwrap();
    let shown = bench.json(&["replays", "show", id]);
    assert_eq!(shown["report"]["successfulReplays"], 3);
    assert_eq!(shown["filter"], json!({"types": ["user.*"]}));
    bench
        .run(&["replays", "show", id])
        .ok()
        .prints("completed")
        .prints("3 of 3: 3 handled, 0 failed, 0 skipped");
    bench.run(&["replays", "list"]).ok().prints("completed").prints("user.*");
    bench.run(&["replays", "watch", id]).ok().says("completed, 3 of 3");
}

#[test]
fn a_record_says_which_events_in_the_words_of_the_flags() {
    let bench = Bench::with(&some());
    bench.run(&["checkpoint", "before-migration", "e3"]).ok();
    bench.run(&["recover", "before-migration", "--target", "stdout"]).ok();
    bench.run(&["recover", "before-migration", "--type", "payment.*", "--target", "stdout"]).ok();
    bench.run(&["replay", "--user-id", "user-123", "--entity", "payment=p 1", "--target", "stdout"]).ok();
    bench.run(&["replay", "--all", "--target", "stdout"]).ok();
    let list = bench.run(&["replays", "list"]).ok();
    let shown: Vec<&str> = list.stdout.lines().skip(1).collect();
    for (line, which) in shown.iter().zip([
        " all",
        " --entity 'payment=p 1' --user-id user-123",
        " recover before-migration --type 'payment.*'",
        " recover before-migration",
    ]) {
        assert!(line.trim_end().ends_with(which), "{line:?} does not end with {which:?}");
    }
    let rows = bench.json(&["replays", "list"]);
    assert_eq!(rows[3]["checkpoint"], "before-migration");
    assert!(rows[3]["after"].is_string() && rows[0]["after"].is_null(), "{rows}");
    let id = rows[2]["id"].as_str().unwrap();
    bench.run(&["replays", "show", id]).ok().prints("recover before-migration --type 'payment.*'");
}

#[test]
fn events_that_a_target_never_got_remain() {
    let bench = Bench::with(&some());
    let url = {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", port.local_addr().unwrap())
    };
    let said = bench.run(&["replay", "--type", "user.*", "--target", &url, "--max-retries", "0"]).exits(1);
    said.says("it ended early, 3 events remain: the target cannot be reached");
    let replay = &bench.json(&["replays", "list"])[0];
    assert_eq!((&replay["state"], &replay["failed"]), (&json!("FAILED"), &json!(0)));
    assert_eq!(replay["report"]["remaining"], 3);
    bench.run(&["replays", "list"]).ok().prints(" 0   3       0 ");
}

#[test]
fn an_id_may_be_cut_as_long_as_it_is_one_replays_alone() {
    let bench = Bench::with(&some());
    let id = planned(&bench);
    bench.run(&["replays", "show", &id[..8]]).ok().prints(&id);
    bench.run(&["replays", "show", &id[..3]]).exits(1).says("there is no replay");
    bench.run(&["replays", "show", "ffffffff"]).exits(1).says("`event-replay replays list` shows them");
    bench.run(&["replay", "--all", "--target", "stdout"]).ok();
    bench.run(&["replays", "show", &id[..6]]).exits(1).says("several replays begin with");
}

#[test]
fn a_replay_is_paused_resumed_cancelled_and_deleted() {
    let bench = Bench::with(&some());
    let id = planned(&bench);
    assert_eq!(bench.json(&["replays", "show", &id])["state"], "PLANNED");
    assert_eq!(
        bench.json(&["replays", "pause", &id]),
        json!({"id": id, "state": "PAUSED", "effective": true, "withGroups": 0})
    );
    bench
        .run(&["replays", "resume", &id])
        .ok()
        .prints("is resumed")
        .says("the process that runs it continues");
    bench.run(&["replays", "delete", &id]).exits(1).says("only a replay that has ended can be deleted");
    assert_eq!(bench.json(&["replays", "cancel", &id])["state"], "CANCELLED");
    bench.run(&["replays", "pause", &id]).exits(1).says("has ended (cancelled); nothing was changed");
    bench.run(&["replays", "watch", &id]).exits(1).prints("cancelled").prints("mail");
    let lines = bench.run(&["replays", "watch", &id, "--output", "ndjson"]).exits(1).lines();
    assert_eq!(lines[0]["groups"], json!(["mail"]));
    assert_eq!(bench.json(&["replays", "delete", &id]), json!({"deleted": id}));
    bench.run(&["replays", "show", &id]).exits(1).says("there is no replay");
}

fn nothing_of_a_paused_replay_comes_after_the_answer(bench: &Bench) {
    let events: Vec<String> =
        (0..300).map(|n| registered(&format!("e{n}"), &format!("u{n}"), "2024-01-15T10:30:00Z")).collect();
    bench.pipe(&["publish"], events.join("\n")).ok();
    bench.file(
        "slow.sh",
        r#"while IFS= read -r line; do id=${line#*'"id":"'}; id=${id%%'"'*}; sleep 0.02
           echo "$id" >> answered; printf '{"id":"%s","ok":true}\n' "$id"; done"#,
    );
    let consumer = bench.consume(&["mail", "--concurrency", "1", "--target", "exec:sh slow.sh"]);
    let replay = ["replay", "--all", "--delay", "0", "--batch-size", "10", "--detach"];
    let id = bench.json(&replay)["replayId"].as_str().unwrap().to_owned();
    let answered = || std::fs::read_to_string(bench.path("answered")).unwrap_or_default().lines().count();
    let until = |number: usize| {
        wait("answers", || if answered() >= number { Ok(()) } else { Err(answered().to_string()) });
    };
    until(20);
    let answer = bench.json(&["replays", "pause", &id]);
    let at_the_answer = answered();
    assert_eq!(answer, json!({"id": id, "state": "PAUSED", "effective": true, "withGroups": 0}));
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(answered(), at_the_answer);
    assert!(at_the_answer < 200, "{at_the_answer}");
    bench.run(&["replays", "list"]).ok().prints("paused");
    bench.run(&["replays", "resume", &id]).ok().prints("is resumed");
    until(300);
    bench.run(&["replays", "watch", &id]).ok().prints("300 of 300: 300 handled");
    consumer.stop().ok();
}

#[test]
fn nothing_of_a_paused_replay_comes_after_the_answer_from_a_file() {
    nothing_of_a_paused_replay_comes_after_the_answer(&Bench::new());
}

#[test]
fn nothing_of_a_paused_replay_comes_after_the_answer_from_a_server() {
    if let Some(bench) = Bench::on_redis() {
        nothing_of_a_paused_replay_comes_after_the_answer(&bench);
    }
}

#[test]
fn a_run_says_that_it_is_paused_and_that_it_goes_on() {
    let bench = Bench::with(&some());
    let sending = ["replay", "--all", "--target", "stdout", "--batch-size", "1", "--delay", "300ms"];
    let running = bench.start(&sending);
    running.prints_lines(1);
    let id = bench.json(&["replays", "list"])[0]["id"].as_str().unwrap().to_owned();
    let paused = bench.run(&["replays", "pause", &id]).ok();
    paused.says("it is paused: nothing more is delivered");
    running.says("paused; `event-replay replays resume` continues it");
    bench.run(&["replays", "resume", &id]).ok();
    running.says("resumed");
    assert_eq!(running.ends().ok().lines().len(), 5);
}

#[test]
fn what_a_replay_needs_is_kept_from_trim_and_named() {
    let bench = Bench::with(&some()).env("EVENT_REPLAY_RETENTION_FORGOTTEN_AFTER", "0s");
    let id = planned(&bench);
    let report = bench.json(&["trim", "--max-events", "0", "--yes"]);
    assert_eq!(report["events"], 0);
    assert!(report["heldBy"][0].as_str().unwrap().contains(&id), "{report}");
    bench.run(&["replays", "cancel", &id]).ok();
    bench.run(&["trim", "--max-events", "0", "--yes"]).ok().prints("dropped 5 events");
}
