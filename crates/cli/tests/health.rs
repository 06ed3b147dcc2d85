//! Health of groups, and the alerts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::time::Duration;

use common::{
    Bench,
    prepared::{self, on_store},
    registered, some,
};
use domain::{
    group::{GroupSpec, Key},
    ports::{GroupStore, SegmentCommit},
    stats,
};
use serde_json::{Value, json};

/// Returns the result of one check, and the exit code of `health`.
fn check(bench: &Bench, name: &str) -> (Value, i32) {
    let said = bench.run(&["health", "--output", "json"]);
    let health = said.json();
    let found = health["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
    (found.unwrap_or_else(|| panic!("no check {name}: {health}")).clone(), said.code)
}

fn counted(samples: &[(&str, &str, u64, u64)]) -> Bench {
    let bench = Bench::with(&some());
    on_store(&bench, async |store| prepared::count(store, samples).await);
    bench
}

#[test]
fn more_than_five_percent_refused_is_unhealthy_from_twenty_samples_on() {
    let (few, code) = check(&counted(&[(stats::REJECTED, "user.registered", 10, 0)]), "validation-failures");
    assert_eq!((&few["status"], code), (&json!("pass"), 0), "{few}");
    assert!(few["message"].as_str().unwrap().contains("not enough data"), "{few}");
    let bench = counted(&[(stats::REJECTED, "user.registered", 2, 0), (stats::ADMITTED, "a", 25, 0)]);
    let (fires, code) = check(&bench, "validation-failures");
    assert_eq!((&fires["status"], code), (&json!("fail"), 4), "{fires}");
    assert_eq!(
        (&fires["observed"], &fires["threshold"], &fires["unit"]),
        (&json!(6.25), &json!(5), &json!("percent"))
    );
    assert!(fires["message"].as_str().unwrap().contains("most of type user.registered"), "{fires}");
    bench.run(&["health"]).exits(4).prints("unhealthy").prints("FAIL");
    let (quiet, code) = check(
        &counted(&[(stats::REJECTED, "a", 1, 0), (stats::ADMITTED, "a", 15, 0)]),
        "validation-failures",
    );
    assert_eq!((&quiet["status"], code), (&json!("pass"), 0), "{quiet}");
}

#[test]
fn refused_events_that_came_by_the_command_line_fire_the_alert() {
    let bench = Bench::new();
    let wrong =
        (0..20).map(|n| registered(&format!("e{n}"), "u", "2024-01-15T10:30:00Z").replace("email", "mail"));
    bench.pipe(&["publish"], wrong.collect::<Vec<_>>().join("\n")).exits(3);
    let (fires, code) = check(&bench, "validation-failures");
    assert_eq!((&fires["observed"], code), (&json!(100.0), 4));
}

#[test]
fn dead_letters_that_grow_are_unhealthy_until_they_are_closed() {
    let bench = counted(&[(stats::DEAD_LETTERED, "mail", 2, 0)]);
    on_store(&bench, async |store| {
        prepared::group(store, GroupSpec::new("mail"), true).await;
        prepared::give_up(store, "mail", &[("e1", "no"), ("e2", "no")], false).await;
    });
    let (fires, code) = check(&bench, "dead-letters");
    assert_eq!((&fires["status"], &fires["observed"], code), (&json!("fail"), &json!(2), 4), "{fires}");
    bench.run(&["dead-letters", "discard", "--all", "--reason", "test", "--yes"]).ok();
    let (quiet, code) = check(&bench, "dead-letters");
    assert_eq!((&quiet["status"], code), (&json!("pass"), 0), "{quiet}");
}

#[test]
fn appends_that_failed_and_slow_handlers_are_unhealthy() {
    let (fires, code) = check(&counted(&[(stats::APPEND_FAILED, "", 1, 0)]), "storage-failures");
    assert_eq!((&fires["status"], code), (&json!("fail"), 4));
    let slow = (stats::HANDLED, "payment.processed", 20, 20 * 10_500_000);
    let (fires, code) = check(&counted(&[slow]), "processing-time");
    assert_eq!((&fires["observed"], &fires["threshold"], code), (&json!(10.5), &json!(10), 4));
    let quick = (stats::HANDLED, "payment.processed", 20, 20 * 9_500_000);
    assert_eq!(check(&counted(&[quick]), "processing-time").1, 0);
}

#[test]
fn a_group_without_consumers_is_a_warning_once_events_are_pending() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "mail"]).ok();
    assert_eq!(check(&bench, "group-consumers").0["status"], "pass");
    bench.pipe(&["publish"], registered("new", "u", "2024-01-15T10:30:00Z")).ok();
    let (waits, code) = check(&bench, "group-consumers");
    assert_eq!((&waits["status"], &waits["observed"], code), (&json!("warn"), &json!(0), 0), "{waits}");
    assert_eq!(check(&bench, "group-lag").0["observed"], 1);
    on_store(&bench, async |store| {
        prepared::leases(store, "mail", Duration::from_secs(60)).await;
    });
    assert_eq!(check(&bench, "group-consumers").0["status"], "pass");
    on_store(&bench, async |store| store.leave("mail", prepared::CONSUMER, 7).await.unwrap());
    let forgotten = bench.env("EVENT_REPLAY_RETENTION_FORGOTTEN_AFTER", "0s");
    let (warns, _) = check(&forgotten, "group-consumers");
    assert!(warns["message"].as_str().unwrap().contains("retention stopped waiting for it"), "{warns}");
}

#[test]
fn a_segment_that_can_take_no_more_blocked_keys_is_named() {
    let bench = Bench::with(&some());
    let block = |segment: u16, count: u64| {
        on_store(&bench, async |store| {
            prepared::group(store, GroupSpec { segments: 4, ..GroupSpec::new("mail") }, true).await;
            let leases = prepared::leases(store, "mail", Duration::from_secs(60)).await;
            let mut commit = SegmentCommit::new(leases[&segment].clone(), 5, 5);
            let row = |n: u64| {
                prepared::blocked(Key::new("user", format!("u{n}")), 1, 5, Some("2030-01-01T00:00:00Z"), "no")
            };
            commit.blocked = (0..count).map(row).collect();
            store.commit(&[commit]).await.unwrap();
        });
    };
    block(1, 6_999);
    assert_eq!(check(&bench, "group-blocked-keys").0["status"], "pass");
    block(1, 7_000);
    assert_eq!(check(&bench, "group-blocked-keys").0["status"], "warn");
    block(1, 10_000);
    let (full, code) = check(&bench, "group-blocked-keys");
    assert_eq!(
        (&full["status"], &full["observed"], &full["threshold"], code),
        (&json!("fail"), &json!(10_000), &json!(10_000), 4)
    );
    let message = full["message"].as_str().unwrap();
    assert!(
        message.contains("group mail: segment 1 has as many blocked keys as a segment may have"),
        "{message}"
    );
}

#[test]
fn a_group_that_holds_for_long_and_one_with_gaps_are_warnings() {
    let bench = Bench::with(&some()).env("EVENT_REPLAY_RETENTION_MAX_HOLD", "1s");
    bench.run(&["groups", "create", "slow", "--at", "start"]).ok();
    std::thread::sleep(Duration::from_millis(1100));
    let (holds, code) = check(&bench, "group-hold");
    assert_eq!((&holds["status"], &holds["threshold"], code), (&json!("warn"), &json!(70), 0), "{holds}");
    bench.run(&["trim", "--max-events", "1", "--yes"]).ok().prints("dropped 4 events");
    let (gaps, code) = check(&bench, "group-gaps");
    assert_eq!((&gaps["status"], &gaps["observed"], code), (&json!("warn"), &json!(1), 0), "{gaps}");
    assert!(gaps["message"].as_str().unwrap().contains("4 positions"), "{gaps}");
    bench.run(&["groups", "reset", "slow", "--at", "start"]).ok();
    let health = bench.json(&["health"]);
    assert!(
        health["checks"].as_array().unwrap().iter().all(|check| check["name"] != "group-gaps"),
        "{health}"
    );
}

#[test]
fn events_that_are_lost_to_a_group_make_it_unhealthy() {
    let bench = Bench::with(&some()).env("ENABLE_DEAD_LETTER_QUEUE", "false").env("MAX_EVENT_RETRIES", "0");
    bench.file(
        "fail.sh",
        "while read -r line; do id=${line#*'\"id\":\"'}; id=${id%%'\"'*}; \
        printf '{\"id\":\"%s\",\"ok\":false,\"error\":\"no\"}\\n' \"$id\"; done",
    );
    let target = ["consume", "mail", "--at", "start", "--target", "exec:sh fail.sh", "--until-idle", "200ms"];
    bench.run(&target).exits(3);
    // This command runs with other settings than the consumer.
    let bench = bench.without("ENABLE_DEAD_LETTER_QUEUE");
    let (lost, code) = check(&bench, "dropped-deliveries");
    assert_eq!((&lost["status"], &lost["observed"], code), (&json!("fail"), &json!(5), 4), "{lost}");
}

#[test]
fn dead_letters_that_stand_are_a_warning_until_they_are_closed() {
    let bench = Bench::with(&some());
    on_store(&bench, async |store| {
        prepared::group(store, GroupSpec::new("mail"), true).await;
        prepared::give_up(store, "mail", &[("e1", "no"), ("e2", "no")], false).await;
    });
    let (stands, code) = check(&bench, "open-dead-letters");
    assert_eq!((&stands["status"], &stands["observed"], code), (&json!("warn"), &json!(2), 0), "{stands}");
    bench.run(&["dead-letters", "discard", "--all", "--reason", "test", "--yes"]).ok();
    assert_eq!(check(&bench, "open-dead-letters").0["status"], "pass");
}

#[test]
fn handlers_that_fail_most_of_the_time_are_unhealthy_before_anything_is_given_up() {
    let failed = (stats::FAILED_ATTEMPTS, "payment.processed", 15, 0);
    let (fires, code) =
        check(&counted(&[failed, (stats::HANDLED, "payment.processed", 5, 0)]), "failing-attempts");
    assert_eq!((&fires["status"], &fires["observed"], code), (&json!("fail"), &json!(75.0), 4), "{fires}");
}

#[test]
fn the_oldest_pending_event_is_told_with_its_age() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "mail", "--at", "start"]).ok();
    let (pending, _) = check(&bench, "group-pending");
    assert_eq!((&pending["status"], &pending["threshold"]), (&json!("pass"), &json!(900)), "{pending}");
    assert!(
        pending["message"].as_str().unwrap().contains("group mail: 5 events pending, the oldest stored at")
    );
}
