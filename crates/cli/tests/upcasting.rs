//! Upcasters from a folder: consumers, replays, plans and schema checks, on a file and on Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Bench, some};
use serde_json::{Value, json};

const FILE: &str = "upcasters/user.registered@1.0-to-2.0.json";

/// Moves the address of a registration.
const MOVES: &str = r#"[{"op":"move","from":"/data/email","path":"/data/contact"}]"#;

/// Moves the address of one user, and fails for the two other users.
const MOVES_ONE: &str = r#"[{"op":"test","path":"/userId","value":"user-123"},{"op":"move","from":"/data/email","path":"/data/contact"}]"#;

/// Returns benches with three registrations, two payments and an upcaster of registrations.
fn benches(patch: &str) -> Vec<Bench> {
    let benches = [Some(Bench::new()), Bench::on_redis()].into_iter().flatten();
    benches
        .map(|bench| {
            bench.pipe(&["publish"], some()).ok();
            std::fs::create_dir(bench.path("upcasters")).unwrap();
            bench.file(FILE, patch);
            bench.env("EVENT_REPLAY_UPCASTERS", "upcasters")
        })
        .collect()
}

/// Checks that each registration has version 2.0 and the moved address, and that payments are unchanged.
fn are_upcast(lines: &[Value]) {
    for line in lines {
        let event = &line["event"];
        let is_registration = event["type"] == "user.registered";
        assert_eq!(event["version"], if is_registration { "2.0" } else { "1.0" }, "{event}");
        assert_eq!(event["data"]["contact"].is_string(), is_registration, "{event}");
        assert!(event["data"]["email"].is_null(), "{event}");
    }
}

#[test]
fn consumers_and_replays_get_upcast_events_and_the_store_keeps_the_others() {
    for bench in benches(MOVES) {
        let consumed = bench.run(&["consume", "mail", "--at", "start", "--until-idle", "500ms"]).ok();
        assert_eq!(consumed.lines().len(), 5);
        are_upcast(&consumed.lines());
        let replayed = bench.run(&["replay", "--all", "--target", "stdout"]).ok();
        assert_eq!(replayed.lines().len(), 5);
        are_upcast(&replayed.lines());
        let stored = bench.json(&["show", "e1"])["events"][0]["event"].clone();
        assert_eq!(
            (&stored["version"], &stored["data"]["email"]),
            (&json!("1.0"), &json!("user-123@example.com"))
        );
        for line in bench.run(&["list", "--output", "ndjson"]).ok().lines() {
            assert_eq!(line["event"]["version"], "1.0", "{line}");
        }
        bench.run(&["verify"]).ok();
    }
}

#[test]
fn a_replay_into_a_group_is_upcast_by_its_consumer() {
    for bench in benches(MOVES) {
        let consumer = bench.consume(&["mail"]);
        bench.run(&["replay", "--type", "user.*", "--group", "mail"]).ok();
        consumer.prints_lines(3);
        are_upcast(&consumer.stop().ok().lines());
    }
}

#[test]
fn plans_count_the_events_that_need_upcasting_and_those_that_fail() {
    for bench in benches(MOVES_ONE) {
        let plan = bench.json(&["replay", "--all", "--dry-run"]);
        let upcasts = &plan["upcasts"];
        assert_eq!((&upcasts["events"], &upcasts["failed"]), (&json!(3), &json!(2)));
        let count =
            json!({"eventType": "user.registered", "from": "1.0", "to": "2.0", "events": 3, "failed": 2});
        assert_eq!(upcasts["byVersion"], json!([count]));
        assert_eq!(upcasts["failures"][0]["eventId"], "e2");
        // The schema requires the address at its old place. Only one event was upcast and then checked.
        assert_eq!(plan["invalid"], 1);
        let said = bench.run(&["replay", "--all", "--dry-run"]).ok();
        let said = said.prints("3 events to a later version, of which 2 will fail").prints("user.registered");
        said.says("event \"e2\" (user.registered 1.0): upcasting user.registered 1.0 to 2.0 failed");
        let kept = bench.json(&["replay", "--type", "user.*", "--target", "stdout", "--plan"]);
        assert_eq!(kept["upcasts"], *upcasts);
        let bench = bench.without("EVENT_REPLAY_UPCASTERS");
        assert!(bench.json(&["replay", "--all", "--dry-run"])["upcasts"].is_null());
    }
}

#[test]
fn an_event_that_cannot_be_upcast_is_given_up_on_and_a_better_patch_redrives_it() {
    for bench in benches(MOVES_ONE) {
        let said = bench.run(&["consume", "mail", "--at", "start", "--until-idle", "500ms"]).exits(3);
        assert_eq!(said.lines().len(), 3);
        let said = said.says("upcasting user.registered 1.0 to 2.0 failed: ");
        said.says("handled 3 events, 2 failed attempts, 2 given up");
        let letters = bench.json(&["dead-letters", "list"])["deadLetters"].clone();
        assert_eq!(letters.as_array().unwrap().len(), 2, "{letters}");
        for letter in letters.as_array().unwrap() {
            assert_eq!((&letter["attempts"], &letter["event"]["version"]), (&json!(1), &json!("1.0")));
        }
        let replayed = bench.run(&["replay", "--all", "--target", "stdout"]).exits(3);
        assert_eq!(replayed.lines().len(), 3);
        replayed.says("2 failed");
        bench.file(FILE, MOVES);
        let consumer = bench.consume(&["mail"]);
        bench.run(&["dead-letters", "redrive", "--group", "mail"]).ok().prints("2 succeeded");
        consumer.prints_lines(2);
        are_upcast(&consumer.stop().ok().lines());
    }
}

#[test]
fn a_schema_is_checked_against_upcast_events() {
    for bench in benches(MOVES) {
        bench.file("next.json", r#"{"type":"object","required":["contact"]}"#);
        let check = ["schemas", "check", "user.registered", "next.json", "--data"];
        let report = bench.json(&check);
        assert_eq!((&report["checked"], &report["valid"]), (&json!(3), &json!(3)));
        bench.file(FILE, MOVES_ONE);
        bench.run(&check).exits(3).prints("1 valid, 2 would be refused").prints("upcasting user.registered");
        let bench = bench.without("EVENT_REPLAY_UPCASTERS");
        bench.run(&check).exits(3).prints("0 valid, 3 would be refused");
    }
}

#[test]
fn a_broken_upcaster_is_refused_with_its_path_and_the_reason() {
    let commands: [&[&str]; 4] = [
        &["consume", "mail", "--until-idle", "500ms"],
        &["replay", "--all", "--target", "stdout"],
        &["replay", "--all", "--dry-run"],
        &["serve", "--check"],
    ];
    for bench in benches("{}") {
        for args in commands {
            let said = bench.run(args).exits(2).says(FILE).says("it is not a JSON Patch");
            assert_eq!(said.stdout, "");
        }
        // Nothing was created, and commands that deliver no event work.
        bench.run(&["groups", "show", "mail"]).exits(1);
        bench.run(&["list"]).ok();
        bench.file(FILE, r#"[{"op":"replace","path":"/id","value":"e9"}]"#);
        bench.run(commands[0]).exits(2).says(FILE).says("operation 0 changes /id");
        bench.file(FILE, "[]");
        bench.file("upcasters/user.registered@2.0-to-1.0.json", "[]");
        bench.run(commands[0]).exits(2).says("lead in a circle: 1.0 to 2.0 to 1.0");
        std::fs::remove_file(bench.path("upcasters/user.registered@2.0-to-1.0.json")).unwrap();
        bench.file("upcasters/user.registered.json", "[]");
        bench.run(commands[0]).exits(2).says("upcasters/user.registered.json").says("TYPE@FROM-to-TO.json");
        std::fs::remove_dir_all(bench.path("upcasters")).unwrap();
        bench.run(commands[0]).exits(2).says("upcasters cannot be read");
    }
}

#[test]
fn the_settings_file_names_the_folder_beside_it() {
    for bench in benches(MOVES) {
        let bench = bench.without("EVENT_REPLAY_UPCASTERS");
        std::fs::create_dir(bench.path("config")).unwrap();
        std::fs::rename(bench.path("upcasters"), bench.path("config/upcasters")).unwrap();
        bench.file("config/event-replay.toml", "upcasters = \"upcasters\"\n");
        let args = ["replay", "--all", "--target", "stdout", "--config", "config/event-replay.toml"];
        let replayed = bench.run(&args).ok();
        assert_eq!(replayed.lines().len(), 5);
        are_upcast(&replayed.lines());
    }
}
