//! Dead letters from the command line: listed, shown, redriven and closed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::{
    process::Child,
    time::{Duration, Instant},
};

use common::{
    Bench, Said,
    prepared::{self, on_store},
    some,
};
use domain::group::GroupSpec;
use serde_json::{Value, json};
use store::Store;

const FAILURES: [(&str, &str); 3] =
    [("e1", "user 17 is unknown"), ("e2", "user 99 is unknown"), ("e3", "the card was \u{1b}[31mrefused")];

/// A group that gave up on three events. Two of them failed with similar errors.
fn bench() -> Bench {
    let bench = Bench::with(&some());
    on_store(&bench, async |store| {
        prepared::group(store, GroupSpec::new("mail"), true).await;
        prepared::give_up(store, "mail", &FAILURES, false).await;
    });
    bench
}

fn list(bench: &Bench, flags: &[&str]) -> Vec<Value> {
    let found = bench.json(&[&["dead-letters", "list"], flags].concat());
    found["deadLetters"].as_array().unwrap().clone()
}

fn of_event(bench: &Bench, id: &str) -> Value {
    let all = list(bench, &["--state", "all"]);
    all.iter().find(|letter| letter["event"]["id"] == id).unwrap().clone()
}

fn id_of(bench: &Bench, event: &str) -> String {
    of_event(bench, event)["id"].as_str().unwrap().to_owned()
}

#[test]
fn dead_letters_are_listed_with_their_event_and_what_was_said() {
    let bench = bench();
    let letters = list(&bench, &[]);
    assert_eq!(letters.len(), 3);
    let first = of_event(&bench, "e1");
    assert_eq!(
        (&first["group"], &first["state"], &first["attempts"]),
        (&json!("mail"), &json!("open"), &json!(4))
    );
    assert_eq!(first["position"], "0:1");
    assert_eq!(first["error"], "user 17 is unknown");
    assert_eq!(first["history"][0]["errors"], json!(["user 17 is unknown", "the cause of it"]));
    let said = bench.run(&["dead-letters", "list"]).ok().prints("the card was \\u{1b}[31mrefused");
    assert!(!said.stdout.contains('\u{1b}'), "{said:?}");
    Bench::with(&some()).run(&["dead-letters", "list"]).ok().says("no dead letter matches");
}

/// An empty list for a misspelt name would hide dead letters.
#[test]
fn a_group_that_does_not_exist_is_no_all_clear() {
    let bench = bench();
    for args in [
        &["list", "--group", "mailr"][..],
        &["list", "--group", "mailr", "--by", "fingerprint"],
        &["redrive", "--group", "mailr"],
        &["redrive", "--group", "mailr", "--dry-run"],
        &["discard", "--group", "mailr", "--reason", "spam", "--yes"],
    ] {
        let said = bench.run(&[&["dead-letters"], args].concat()).exits(2);
        said.says("there is no group \"mailr\", and it has no dead letters; there are: mail");
    }
    // Dead letters stay after their group is deleted, and the name of the group still finds them.
    bench.run(&["groups", "delete", "mail", "--yes"]).ok();
    assert_eq!(list(&bench, &["--group", "mail"]).len(), 3);
}

#[test]
fn dead_letters_are_chosen_by_the_filters_of_everywhere_and_their_own() {
    let bench = bench();
    assert_eq!(list(&bench, &["--type", "payment.*"]).len(), 1);
    assert_eq!(list(&bench, &["--user-id", "user-123"]).len(), 2);
    assert_eq!(list(&bench, &["--group", "mail", "--event-id", "e2"]).len(), 1);
    bench.run(&["groups", "create", "other"]).ok();
    assert_eq!(list(&bench, &["--group", "other"]).len(), 0);
    assert_eq!(list(&bench, &["--state", "discarded"]).len(), 0);
    let fingerprint = of_event(&bench, "e1")["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(list(&bench, &["--fingerprint", &fingerprint]).len(), 2);
}

#[test]
fn pages_of_dead_letters_add_up() {
    let bench = bench();
    let page = bench.json(&["dead-letters", "list", "--limit", "2"]);
    let next = page["nextCursor"].as_str().unwrap();
    let rest = bench.json(&["dead-letters", "list", "--limit", "2", "--after", next]);
    assert_eq!(
        (page["deadLetters"].as_array().unwrap().len(), rest["deadLetters"].as_array().unwrap().len()),
        (2, 1)
    );
    assert_eq!(rest["nextCursor"], Value::Null);
    assert_eq!(bench.json(&["dead-letters", "list", "--limit", "3"])["nextCursor"], Value::Null);
}

#[test]
fn failures_that_are_alike_are_counted_together() {
    let bench = bench();
    let alike = bench.json(&["dead-letters", "list", "--by", "fingerprint"]);
    assert_eq!(alike.as_array().unwrap().len(), 2);
    assert_eq!((&alike[0]["count"], &alike[0]["eventType"]), (&json!(2), &json!("user.registered")));
    assert_eq!((&alike[1]["count"], &alike[1]["group"]), (&json!(1), &json!("mail")));
    let example = alike[1]["example"].as_str().unwrap();
    assert_eq!(example, id_of(&bench, "e3"));
    let said = bench.run(&["dead-letters", "list", "--by", "fingerprint"]).ok();
    said.says("3 dead letters with 2 fingerprints").prints("user.registered");
}

#[test]
fn a_dead_letter_is_shown_with_what_to_do_next() {
    let bench = bench();
    let id = id_of(&bench, "e1");
    let said = bench.run(&["dead-letters", "show", &id]).ok();
    said.prints("user 17 is unknown")
        .prints("the cause of it")
        .prints("\"id\": \"e1\"")
        .says(&format!("next: fix the cause, then `event-replay dead-letters redrive {id}`"));
    let shown = bench.json(&["dead-letters", "show", &id]);
    assert_eq!(shown["deadLetters"][0]["event"]["id"], "e1");
    bench
        .run(&["dead-letters", "show", &id, "nothing"])
        .exits(1)
        .prints("e1")
        .says("no dead letter has the id \"nothing\"");
    bench.run(&["groups", "delete", "mail", "--yes"]).ok();
    bench.run(&["dead-letters", "show", &id]).ok().says("group mail was deleted");
    let said = bench.run(&["dead-letters", "redrive", &id]).exits(3);
    said.prints("1 of a group that was deleted");
}

#[test]
fn what_to_redrive_has_to_be_said() {
    let bench = bench();
    bench
        .run(&["dead-letters", "redrive"])
        .exits(2)
        .says("redrive needs dead letters to work on")
        .says("--all");
    bench.run(&["dead-letters", "redrive", "x", "--all"]).exits(2).says("not by both");
    bench.run(&["dead-letters", "redrive", "--all", "--dry-run"]).ok().prints("would redrive 3 dead letters");
    bench.run(&["dead-letters", "redrive", "unknown"]).exits(3).prints("1 unknown");
    bench.run(&["dead-letters", "discard", "--all"]).exits(2).says("--reason");
    bench.run(&["dead-letters", "discard", "--all", "--reason", " "]).exits(2).says("say why");
}

/// Handles the replay lanes of a group until a command has ended.
async fn answer(store: &Store, mut child: Child, fails: impl Fn(u64) -> Option<String>) -> Said {
    let patience = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < patience, "the command does not end");
        prepared::answer_lanes(store, "mail", &fails).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_redrive_waits_until_all_are_handled_and_a_second_one_adds_none() {
    let bench = bench();
    let child =
        bench.command(&["dead-letters", "redrive", "--group", "mail", "--output", "json"]).spawn().unwrap();
    let said = on_store(&bench, async |store| answer(store, child, |_| None).await).ok();
    let report = said.json();
    assert_eq!(
        (&report["requested"], &report["handled"], &report["remaining"]),
        (&json!(3), &json!(3), &json!(0))
    );
    assert_eq!(list(&bench, &["--state", "handled"]).len(), 3);
    assert_eq!(list(&bench, &[]).len(), 0);
    bench
        .run(&["dead-letters", "redrive", "--all"])
        .ok()
        .prints("0 dead letters: 0 succeeded, 0 failed again");
    let id = id_of(&bench, "e1");
    bench.run(&["dead-letters", "redrive", &id]).ok().prints("1 already sent or closed");
    on_store(&bench, async |store| {
        assert_eq!(prepared::answer_lanes(store, "mail", |_| None).await, 0, "something was sent again");
    });
}

#[test]
fn a_redrive_that_comes_back_is_named() {
    let bench = bench();
    let child = bench.command(&["dead-letters", "redrive", "--all"]).spawn().unwrap();
    let fails = |position| (position == 2).then(|| "still unknown".to_owned());
    let said = on_store(&bench, async |store| answer(store, child, fails).await).exits(3);
    said.prints("3 dead letters: 2 succeeded, 1 failed again").prints("still unknown");
    let back = of_event(&bench, "e2");
    assert_eq!((&back["state"], &back["attempts"]), (&json!("open"), &json!(8)));
    assert_eq!(back["history"].as_array().unwrap().len(), 2);
    assert_eq!(of_event(&bench, "e1")["state"], "handled");
}

#[test]
fn a_detached_redrive_names_groups_without_consumers() {
    let bench = bench();
    on_store(&bench, async |store| {
        use domain::ports::GroupStore;
        store.leave("mail", prepared::CONSUMER, 7).await.unwrap();
    });
    let said = bench.run(&["dead-letters", "redrive", "--all", "--detach"]).ok();
    said.prints("3 of 3 dead letters sent").says("group mail has no consumers");
    assert_eq!(list(&bench, &["--state", "redriving"]).len(), 3);
}

#[test]
fn a_caller_that_stops_waiting_takes_nothing_back() {
    let bench = bench();
    on_store(&bench, async |store| {
        use domain::ports::GroupStore;
        store.leave("mail", prepared::CONSUMER, 7).await.unwrap();
    });
    let child = bench.command(&["dead-letters", "redrive", "--all"]).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while list(&bench, &["--state", "redriving"]).len() < 3 {
        assert!(Instant::now() < patience, "nothing is sent");
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let (said, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{said}{told}");
    assert!(said.contains("0 succeeded, 0 failed again, 3 not handled yet"), "{said}");
    assert!(told.contains("group mail has no consumers: waiting for one"), "{told}");
    assert_eq!(list(&bench, &["--state", "redriving"]).len(), 3);
}

#[test]
fn discarding_keeps_the_reason_and_asks_for_what_flags_choose() {
    let bench = bench();
    let id = id_of(&bench, "e1");
    bench
        .run(&["dead-letters", "discard", &id, "--reason", "paid by hand"])
        .ok()
        .prints("discarded 1 dead letter");
    let closed = of_event(&bench, "e1");
    assert_eq!((&closed["state"], &closed["reason"]), (&json!("discarded"), &json!("paid by hand")));
    let all = ["dead-letters", "discard", "--all", "--reason", "test data"];
    bench
        .run(&all)
        .exits(2)
        .says("this would close 2 dead letters unhandled; `event-replay dead-letters restore` undoes it")
        .says("add --yes");
    let would = bench.json(&[&all[..], &["--dry-run"]].concat());
    assert_eq!(
        (&would["dryRun"], &would["requested"], &would["discarded"]),
        (&json!(true), &json!(2), &json!(0))
    );
    let done = bench.json(&[&all[..], &["--yes"]].concat());
    assert_eq!((&done["requested"], &done["discarded"]), (&json!(2), &json!(2)));
    bench.run(&["dead-letters", "discard", &id, "--reason", "again"]).ok().prints("1 already sent or closed");
    bench.run(&["dead-letters", "discard", "unknown", "--reason", "x"]).exits(3).prints("1 unknown");
    let counts = bench.json(&["stats"]);
    assert_eq!(counts["deadLetters"], json!({"open": 0, "redriving": 0, "handled": 0, "discarded": 3}));
    assert_eq!(counts["counters"]["inAll"]["deadLettersClosed"], 3);
}

#[test]
fn dead_letters_stay_when_the_log_is_trimmed() {
    let bench = bench();
    bench.run(&["trim", "--max-events", "0", "--yes"]).ok().prints("dropped 5 events");
    assert_eq!(of_event(&bench, "e1")["event"]["userId"], "user-123");
}
