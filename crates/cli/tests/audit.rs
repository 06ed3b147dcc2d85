//! The audit of operators' actions, on a file and on Redis. `verify` reports altered and removed entries.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Bench, redis::server, some};
use serde_json::{Value, json};

fn benches() -> Vec<Bench> {
    [Some(Bench::new()), Bench::on_redis()].into_iter().flatten().collect()
}

/// Returns the actions with their outcomes, oldest first.
fn actions(bench: &Bench) -> Vec<(String, String)> {
    let all = bench.json(&["audit", "list", "--limit", "1000"]);
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |action: &Value| (word(&action["action"]), word(&action["outcome"]));
    all.as_array().unwrap().iter().rev().map(of).collect()
}

#[test]
fn every_action_that_changes_something_is_written_down() {
    for bench in benches() {
        bench.pipe(&["publish"], some()).ok();
        bench.run(&["checkpoint", "before"]).ok();
        bench.run(&["checkpoint", "before"]).exits(1);
        bench.run(&["groups", "create", "mail"]).ok();
        bench.run(&["groups", "reset", "mail", "--at", "start", "--dry-run"]).ok();
        bench.run(&["groups", "reset", "mail", "--at", "start"]).ok();
        bench.run(&["replay", "--all", "--group", "mail", "--detach"]).ok();
        let replay = bench.json(&["replays", "list"])[0]["id"].as_str().unwrap().to_owned();
        bench.run(&["replays", "pause", &replay]).ok();
        bench.run(&["replays", "resume", &replay]).ok();
        bench.run(&["replays", "cancel", &replay]).ok();
        bench.run(&["replays", "delete", &replay]).ok();
        bench.run(&["replay", "--all", "--target", "stdout"]).ok();
        bench.run(&["recover", "before", "--target", "stdout"]).ok();
        bench.file("s.json", r#"{"type":"object"}"#);
        bench.run(&["schemas", "add", "a.b", "s.json"]).ok();
        bench.run(&["schemas", "remove", "a.b"]).ok();
        bench.run(&["dead-letters", "redrive", "--all"]).ok();
        bench.run(&["dead-letters", "discard", "--all", "--reason", "test data", "--yes"]).ok();
        bench.run(&["trim", "--max-events", "3", "--dry-run"]).ok();
        bench.run(&["trim", "--max-events", "3", "--yes"]).ok();
        bench.run(&["erase", "user=user-789", "--yes"]).ok();
        bench.run(&["groups", "delete", "mail", "--yes"]).ok();
        bench.run(&["checkpoints", "delete", "before"]).ok();
        let expected = [
            ("checkpoint", "done"),
            ("checkpoint", "failed"),
            ("groups create", "done"),
            ("groups reset", "done"),
            ("replay", "done"),
            ("replays pause", "done"),
            ("replays resume", "done"),
            ("replays cancel", "done"),
            ("replays delete", "done"),
            ("replay", "done"),
            ("recover", "done"),
            ("schemas add", "done"),
            ("schemas remove", "done"),
            ("dead-letters redrive", "done"),
            ("dead-letters discard", "done"),
            ("trim", "done"),
            ("erase", "done"),
            ("groups delete", "done"),
            ("checkpoints delete", "done"),
        ];
        let expected = expected.map(|(action, outcome)| (action.to_owned(), outcome.to_owned()));
        assert_eq!(actions(&bench), expected);
        bench.run(&["verify"]).ok();
        // The audit stays after an erasure, and does not name the erased entity.
        let text = bench.run(&["audit", "list", "--limit", "1000", "--output", "ndjson"]).ok().stdout;
        assert!(!text.contains("user-789"), "{text}");
    }
}

#[test]
fn an_audit_entry_has_operator_reason_and_outcome() {
    for bench in benches() {
        bench.pipe(&["publish"], some()).ok();
        let bench = bench.env("EVENT_REPLAY_OPERATOR", "night shift").env("USER", "ann");
        bench.run(&["checkpoint", "one", "--reason", "before the migration"]).ok();
        bench.run(&["checkpoint", "two", "--operator", "bo@desk"]).ok();
        let bench = bench.without("EVENT_REPLAY_OPERATOR");
        bench.run(&["trim", "--max-events", "3", "--yes"]).ok();
        let all = bench.json(&["audit", "list"]);
        let [trim, two, one] = &all.as_array().unwrap()[..] else { panic!("{all}") };
        assert_eq!(
            (&one["operator"], &one["reason"]),
            (&json!("night shift"), &json!("before the migration"))
        );
        assert_eq!(
            (&two["operator"], &two["reason"], &two["subject"]),
            (&json!("bo@desk"), &Value::Null, &json!("two"))
        );
        assert!(trim["operator"].as_str().unwrap().starts_with("ann@"), "{trim}");
        assert_eq!((&trim["result"]["events"], &trim["outcome"]), (&json!(2), &json!("done")));
        // The audit has the plan hash of the dry run.
        let planned = bench.json(&["replay", "--type", "user.*", "--dry-run"])["planHash"].clone();
        bench.run(&["replay", "--type", "user.*", "--target", "stdout"]).ok();
        let newest = bench.json(&["audit", "list", "--limit", "1"])[0].clone();
        assert_eq!(newest["planHash"], planned, "{newest}");
        assert_eq!((&newest["result"]["handled"], &newest["request"]["events"]), (&json!(1), &json!(1)));
        // Filters.
        let count = |flags: &[&str]| {
            let all = bench.json(&[&["audit", "list"], flags].concat());
            all.as_array().unwrap().len()
        };
        assert_eq!(count(&["--action", "checkpoint"]), 2);
        assert_eq!(count(&["--operator-name", "bo@desk"]), 1);
        assert_eq!(count(&["--subject", "one", "--action", "checkpoint"]), 1);
        assert_eq!((count(&["--to", "1h"]), count(&["--from", "1h"])), (0, 4));
        bench.run(&["audit", "list"]).ok().prints("bo@desk").prints("before the migration");
        bench.run(&["audit", "list", "--action", "erase"]).ok().says("no action matches");
    }
}

#[test]
fn verify_names_an_entry_that_was_altered_and_one_that_was_removed() {
    let bench = Bench::new();
    bench.pipe(&["publish"], some()).ok();
    for name in ["a", "b", "c"] {
        bench.run(&["checkpoint", name]).ok();
    }
    bench.run(&["verify"]).ok();
    let connection = rusqlite::Connection::open(bench.path("events.db")).unwrap();
    let kind = domain::ports::engine::SpaceKind::Audit.number();
    let change = |sql: &str| assert_eq!(connection.execute(sql, [kind]).unwrap(), 1, "{sql}");
    change(
        "UPDATE row SET value = replace(value, '\"operator\":\"', '\"operator\":\"x') WHERE space = ?1 AND key LIKE '%02'",
    );
    change("DELETE FROM row WHERE space = ?1 AND key LIKE '%04'");
    drop(connection);
    let said = bench.run(&["verify"]).exits(3);
    for part in ["the entry 2 of the audit was altered", "the entry 4 of the audit is missing"] {
        assert!(said.stdout.contains(part) || said.stderr.contains(part), "{part:?} in\n{said:?}");
    }
    // The remaining entries are listed, and new entries continue the chain.
    bench.run(&["checkpoint", "d"]).ok();
    assert_eq!(actions(&bench).len(), 4);
}

#[test]
fn verify_names_what_was_tampered_with_on_redis() {
    let Some(bench) = Bench::on_redis() else { return };
    let Some(server) = server() else { return };
    bench.pipe(&["publish"], some()).ok();
    for name in ["a", "b"] {
        bench.run(&["checkpoint", name]).ok();
    }
    let client = |args: &[&str]| {
        let port = server.port().to_string();
        let output =
            std::process::Command::new("redis-cli").args([&["-p", &port], args].concat()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    // The server also has the namespaces of other tests.
    let store = bench.run(&["config", "show", "--output", "json"]).ok().stdout;
    let namespace = store.split("namespace=").nth(1).unwrap().split(['"', '&']).next().unwrap().to_owned();
    let key = format!("{{{namespace}:0}}:r:audit");
    let third = format!("{:020}", 3);
    let entry = client(&["HGET", &key, &third]);
    assert!(entry.contains("checkpoint"), "{entry}");
    client(&["HSET", &key, &third, &entry.replace("\"checkpoint\"", "\"nothing\"")]);
    client(&["HDEL", &key, &format!("{:020}", 2)]);
    let said = bench.run(&["verify"]).exits(3);
    for part in ["the entry 3 of the audit was altered", "the entry 2 of the audit is missing"] {
        assert!(said.stdout.contains(part) || said.stderr.contains(part), "{part:?} in\n{said:?}");
    }
}
