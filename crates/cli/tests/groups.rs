//! Consumer groups from the command line: created at a position, shown, moved and deleted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::time::Duration;

use common::{
    Bench,
    prepared::{self, on_store},
    registered, some,
};
use domain::{
    RetentionRule,
    group::{GroupSpec, Key},
    ports::{EventStore, GroupHolds, GroupStore, SegmentCommit, TrimRequest},
};
use serde_json::json;

#[test]
fn a_group_is_made_at_the_place_that_is_named() {
    let bench = Bench::with(&some());
    bench.run(&["checkpoint", "here", "e2"]).ok();
    for (place, at) in [
        ("start", "0:0"),
        ("head", "0:5"),
        ("here", "0:2"),
        ("2h", "0:0"),
        ("now", "0:5"),
        ("2020-01-01T00:00:00Z", "0:0"),
    ] {
        let made = bench.json(&["groups", "create", &format!("at {place}"), "--at", place]);
        assert_eq!((&made["created"], &made["at"]), (&json!(true), &json!([at])), "{place}");
    }
    let made = bench.run(&["groups", "create", "by default"]).ok();
    made.prints("created group by default at 0:5: types all, ordered by event, 16 segments");
    bench
        .run(&["groups", "create", "x", "--at", "nowhere"])
        .exits(1)
        .says("--at: \"nowhere\" is not a checkpoint or a time")
        .says("a checkpoint's name (`event-replay checkpoints list`)");
}

#[test]
fn a_checkpoint_wins_over_a_time_that_is_written_alike() {
    let bench = Bench::with(&some());
    bench.run(&["checkpoint", "2h", "e3"]).ok();
    assert_eq!(bench.json(&["groups", "create", "g", "--at", "2h"])["at"], json!(["0:3"]));
    assert_eq!(bench.json(&["groups", "create", "h", "--at", "3h"])["at"], json!(["0:0"]));
}

#[test]
fn groups_are_listed_with_what_waits_for_them() {
    let bench = Bench::with(&some());
    bench
        .run(&["groups", "list"])
        .ok()
        .says("there are no groups; `event-replay groups create NAME` creates one");
    bench.run(&["groups", "create", "mail", "--type", "user.*", "--type", "payment.processed"]).ok();
    bench.run(&["groups", "create", "audit", "--at", "start", "--key", "all", "--segments", "1"]).ok();
    let list = bench.json(&["groups", "list"]);
    assert_eq!(
        (&list[0]["name"], &list[0]["lag"], &list[0]["types"]),
        (&json!("audit"), &json!(5), &json!([]))
    );
    assert_eq!((&list[1]["name"], &list[1]["lag"]), (&json!("mail"), &json!(0)));
    assert_eq!(list[1]["types"], json!(["user.*", "payment.processed"]));
    assert_eq!(list[1]["consumers"], 0);
    bench.pipe(&["publish"], registered("new", "u", "2024-01-15T10:30:00Z")).ok();
    assert_eq!(bench.json(&["groups", "list"])[1]["lag"], 1);
    bench.run(&["groups", "list"]).ok().prints("user.* payment.processed");
    let lines = bench.run(&["groups", "list", "--output", "ndjson"]).ok().lines();
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_group_that_exists_keeps_its_place_and_what_is_frozen() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "g"]).ok();
    let again = bench.json(&["groups", "create", "g", "--at", "start", "--type", "user.*"]);
    assert_eq!((&again["created"], &again["at"]), (&json!(false), &json!(["0:5"])));
    assert_eq!(again["types"], json!(["user.*"]));
    for flags in [["--key", "all"], ["--segments", "4"]] {
        bench
            .run(&[&["groups", "create", "g"], &flags[..]].concat())
            .exits(1)
            .says("frozen when a group is made")
            .says("hint:");
    }
    bench.run(&["groups", "create", "g", "--key", "user"]).exits(2).says("entity:KIND");
    bench.run(&["groups", "create", ""]).exits(2).says("1 to 128 bytes");
}

#[test]
fn a_group_is_shown_with_its_segments_consumers_and_blocked_keys() {
    let bench = Bench::with(&some());
    on_store(&bench, async |store| {
        prepared::group(store, GroupSpec { segments: 4, ..GroupSpec::new("g") }, true).await;
        let leases = prepared::leases(store, "g", Duration::from_secs(60)).await;
        let mut commit = SegmentCommit::new(leases[&2].clone(), 3, 4);
        commit.blocked = vec![
            prepared::blocked(
                Key::new("user", "u\u{1b}[2J"),
                1,
                3,
                Some("2030-01-01T00:00:00Z"),
                "no\u{7}t yet",
            ),
            prepared::blocked(Key::new("payment", "p"), 3, 3, None, "gave up"),
        ];
        store.commit(&[commit]).await.unwrap();
    });
    let shown = bench.json(&["groups", "show", "g"]);
    assert_eq!((&shown["lag"], &shown["key"], &shown["holds"]), (&json!(5), &json!("event"), &json!(true)));
    assert_eq!(shown["consumers"][0]["name"], prepared::CONSUMER);
    assert_eq!(shown["segments"][2]["cursor"], 3);
    assert_eq!(shown["blocked"], 2);
    let keys = &shown["blockedKeys"];
    assert_eq!(
        (&keys[0]["position"], &keys[0]["attempts"], &keys[0]["segment"]),
        (&json!("0:1"), &json!(2), &json!(2))
    );
    assert_eq!((&keys[0]["parked"], &keys[1]["parked"]), (&json!(false), &json!(true)));
    let said = bench.run(&["groups", "show", "g"]).ok();
    assert!(!said.stdout.contains('\u{1b}') && !said.stdout.contains('\u{7}'), "{said:?}");
    said.prints("user=u\\u{1b}[2J").prints("no\\u{7}t yet").prints("parked").prints(prepared::CONSUMER);
    bench.run(&["groups", "show", "gg"]).exits(1).says("there is no group \"gg\"").says("did you mean g?");
}

#[test]
fn a_group_is_moved_and_says_from_where_to_where() {
    let bench = Bench::with(&some());
    bench.run(&["checkpoint", "here", "e2"]).ok();
    bench.run(&["groups", "create", "g"]).ok();
    bench
        .run(&["groups", "reset", "g", "--at", "here", "--dry-run"])
        .ok()
        .prints("would move group g from 0:5 to 0:2: 3 events after it");
    assert_eq!(bench.json(&["groups", "list"])[0]["lag"], 0, "a dry run moves nothing");
    let moved = bench.json(&["groups", "reset", "g", "--at", "here"]);
    assert_eq!((&moved["from"], &moved["to"], &moved["lag"]), (&json!(["0:5"]), &json!(["0:2"]), &json!(3)));
    assert_eq!(bench.json(&["groups", "list"])[0]["lag"], 3);
    on_store(&bench, async |store| {
        let leases = prepared::leases(store, "g", Duration::from_secs(60)).await;
        let mut commit = SegmentCommit::new(leases[&2].clone(), 3, 4);
        commit.blocked = vec![prepared::blocked(Key::new("user", "u"), 3, 3, None, "gave up")];
        store.commit(&[commit]).await.unwrap();
    });
    let said = bench.run(&["groups", "reset", "g", "--at", "start"]).ok();
    said.prints("moved group g from 0:2 to 0:0: 5 events after it, 1 blocked key released");
    assert_eq!(bench.json(&["groups", "list"])[0]["blocked"], 0);
    bench.run(&["groups", "reset", "nobody", "--at", "head"]).exits(1).says("no group \"nobody\"");
    bench.run(&["groups", "reset", "g"]).exits(2).says("--at");
}

#[test]
fn deleting_a_group_wants_a_yes() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "g", "--at", "start"]).ok();
    bench
        .run(&["groups", "delete", "g"])
        .exits(2)
        .says("this would delete group g at 0:0, with its progress, which cannot be undone")
        .says("add --yes");
    bench.run(&["groups", "delete", "g", "--yes"]).ok().prints("deleted group g (5 events pending)");
    bench.run(&["groups", "delete", "g", "--yes"]).exits(1).says("there is no group");
    assert_eq!(bench.json(&["groups", "list"]), json!([]));
}

#[test]
fn what_a_group_has_not_passed_is_kept_from_trim_and_named() {
    let bench = Bench::with(&some());
    bench.run(&["groups", "create", "slow", "--at", "start"]).ok();
    let report = bench.json(&["trim", "--max-events", "0", "--yes"]);
    assert_eq!(report["events"], 0);
    assert!(report["heldBy"][0].as_str().unwrap().contains("slow"), "{report}");
    let free = bench.env("EVENT_REPLAY_RETENTION_MAX_HOLD", "0s");
    let said = free.run(&["trim", "--max-events", "3", "--yes"]).ok();
    said.prints("dropped 2 events");
    let shown = free.json(&["groups", "show", "slow"]);
    assert_eq!((&shown["gaps"][0]["from"], &shown["gaps"][0]["to"]), (&json!(1), &json!(2)));
    free.run(&["groups", "show", "slow"]).ok().prints("0:1").says("retention removed these positions");
}

#[test]
fn the_start_of_a_trimmed_log_is_where_its_oldest_event_is() {
    let bench = Bench::with(&some());
    on_store(&bench, async |store| {
        let request = TrimRequest {
            rule: RetentionRule { max_events: Some(2), ..RetentionRule::default() },
            holds: vec![],
            limit: 100,
            dry_run: false,
            groups: GroupHolds::default(),
        };
        store.trim(&request).await.unwrap();
    });
    assert_eq!(bench.json(&["groups", "create", "g", "--at", "start"])["at"], json!(["0:3"]));
    assert_eq!(bench.json(&["groups", "create", "h", "--at", "3d"])["at"], json!(["0:3"]));
    assert_eq!(bench.json(&["groups", "list"])[0]["lag"], 2);
}

/// A store with 12 events of three users. A group has passed all events and handled none. Each user's first event waits
/// for a retry, and the other events wait behind it.
fn passed_and_not_handled() -> Bench {
    let event = |n: usize| registered(&format!("e{n}"), &format!("u{}", n % 3), "2024-01-15T10:30:00Z");
    let bench = Bench::with(&(0..12).map(event).collect::<Vec<_>>().join("\n"));
    on_store(&bench, async |store| {
        prepared::group(store, GroupSpec { segments: 1, ..GroupSpec::new("mail") }, true).await;
        let lease = prepared::leases(store, "mail", Duration::from_secs(60)).await[&0].clone();
        let mut commit = SegmentCommit::new(lease, 12, 12);
        let row = |n: u64| {
            let key = Key::new("user", format!("u{n}"));
            prepared::blocked(key, n + 1, n + 10, Some("2030-01-01T00:00:00Z"), "no")
        };
        commit.blocked = (0..3).map(row).collect();
        store.commit(&[commit]).await.unwrap();
    });
    bench
}

#[test]
fn what_waits_behind_failing_handlers_is_pending_although_the_cursor_has_passed_it() {
    let bench = passed_and_not_handled();
    let oldest = bench.json(&["list", "--order", "asc", "--limit", "1"]);
    let stored_at = oldest["events"][0]["storedAt"].clone();
    let list = bench.json(&["groups", "list"]);
    let row = &list[0];
    assert_eq!(
        (&row["lag"], &row["pending"], &row["pendingIsExact"], &row["oldestPending"]),
        (&json!(0), &json!(12), &json!(true), &stored_at)
    );
    let shown = bench.json(&["groups", "show", "mail"]);
    assert_eq!(
        (&shown["pending"], &shown["pendingIsExact"], &shown["oldestPending"]),
        (&json!(12), &json!(true), &stored_at)
    );
    bench.run(&["groups", "list"]).ok().prints("PENDING").prints("OLDEST PENDING");
    bench.run(&["groups", "show", "mail"]).ok().prints("12 events, the oldest stored at");
    let stats = bench.json(&["stats"]);
    let of_group = &stats["groups"][0];
    assert_eq!(
        (&of_group["name"], &of_group["pending"], &of_group["oldestPending"]),
        (&json!("mail"), &json!(12), &stored_at)
    );
    bench.run(&["stats"]).ok().prints("mail");
}
