//! Faults in the old Redis: each is reported with its reason and counted, and has no effect on other events.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::sync::Arc;

use domain::{
    Document, Entity, Limits,
    ports::{Atomicity, CheckpointStore, EventStore, ReplayStore, SystemClock},
};
use event_replay_migrate::{Difference, IndexKind, Report};
use storage_memory::MemoryEngine;
use store::Store;
use support::*;

fn memory() -> Store {
    Store::new(MemoryEngine::new(Arc::new(SystemClock)))
}

/// A plain event of a user, `second` seconds after ten o'clock.
fn event(id: &str, second: usize) -> OldEvent {
    let json = format!(
        r#"{{"id":"{id}","type":"t","version":"1","timestamp":"2024-01-15T10:00:{second:02}Z","source":"s","metadata":{{}},"userId":"u"}}"#
    );
    reference::old_event(json, 1)
}

/// Returns the problems as pairs of id and reason, sorted.
fn problems(report: &Report) -> Vec<(&str, &str)> {
    let mut told: Vec<_> = report.problems.iter().map(|told| (told.id.as_str(), told.reason)).collect();
    told.sort_unstable();
    told
}

fn difference(report: &Report, index: IndexKind) -> &Difference {
    report.differences.iter().find(|found| found.index == index).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_refused_with_its_reason_and_the_rest_is_taken() {
    let server = server().await;
    let mut reference = Reference::at(&server.url()).await;
    let good = [event("good-1", 1), event("good-2", 5)];
    let long = "x".repeat(129);
    let bad = [
        ("no-json", "{"),
        (
            "no-metadata",
            r#"{"id":"no-metadata","type":"t","version":"1","timestamp":"2024-01-15T10:00:02Z","source":"s"}"#,
        ),
        (
            "another",
            r#"{"id":"e9","type":"t","version":"1","timestamp":"2024-01-15T10:00:02Z","source":"s","metadata":{}}"#,
        ),
        (
            "no-zone",
            r#"{"id":"no-zone","type":"t","version":"1","timestamp":"2024-01-15T10:00:02","source":"s","metadata":{}}"#,
        ),
        (
            "twice",
            r#"{"id":"twice","id":"twice","type":"t","version":"1","timestamp":"2024-01-15T10:00:02Z","source":"s","metadata":{}}"#,
        ),
        (
            long.as_str(),
            &format!(
                r#"{{"id":"{long}","type":"t","version":"1","timestamp":"2024-01-15T10:00:02Z","source":"s","metadata":{{}}}}"#
            ),
        ),
    ];
    for good in &good {
        reference.store(good).await;
    }
    for (id, json) in &bad {
        reference.command(&["HSET", &reference.key(id), "event", json]);
        reference.command(&["ZADD", &reference.key("by_time"), "1705312802000", id]);
    }
    reference.send().await;
    let mut not_utf8 = redis::cmd("ZADD");
    not_utf8.arg(reference.key("by_time")).arg(5).arg(&b"\xff\xfe"[..]);
    not_utf8.exec_async(&mut reference.connection).await.unwrap();
    let mut its_hash = redis::cmd("HSET");
    its_hash.arg([reference.key("").as_bytes(), b"\xff\xfe"].concat()).arg("event").arg("{}");
    its_hash.exec_async(&mut reference.connection).await.unwrap();

    let target = memory();
    let report = run(&source(&server).await, &target).await;
    assert_eq!((report.found, report.stored, report.rejected), (9, 2, 7), "{report:?}");
    assert_eq!(ids(&all(&target).await), ["good-1", "good-2"]);
    assert!(!report.complete);
    assert!(report.problems.iter().all(|told| told.reason == "rejected" && told.what == "event"));
    let told = |id: &str| &report.problems.iter().find(|told| told.id.starts_with(id)).unwrap().detail;
    assert!(told("no-metadata").contains("/metadata"), "{}", told("no-metadata"));
    assert!(told("another").contains("e9") && told("twice").contains("twice"), "{report:?}");
    assert!(told("xxx").contains("129"), "{}", told("xxx"));
    let by_time = difference(&report, IndexKind::Time);
    assert_eq!((by_time.source, by_time.target, by_time.not_taken, by_time.beside), (9, 2, 7, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_without_an_event_are_told_and_events_without_an_index_are_taken_in_their_place() {
    let server = server().await;
    let mut reference = Reference::at(&server.url()).await;
    let listed = [event("a", 10), event("b", 20), event("c", 30)];
    for event in &listed {
        reference.store(event).await;
    }
    // The first is before the listed events, the second between them, the third has the time of another, the last is
    // after.
    let strays = [event("s-first", 1), event("s-between", 15), event("bb", 20), event("s-last", 40)];
    for stray in &strays {
        reference.hash(stray).await;
    }
    reference.command(&["ZADD", &reference.key("by_time"), "1705312811000", "gone", "1705312812000", "list"]);
    reference.command(&["ZADD", &reference.key("by_user:u"), "1705312811000", "gone"]);
    reference.command(&["RPUSH", &reference.key("list"), "x"]);
    reference.command(&["HSET", &reference.key("note"), "text", "no event"]);
    reference.command(&["ZADD", &reference.key("by_payment:p"), "1", "a"]);
    reference.send().await;

    let target = memory();
    let report = run(&source(&server).await, &target).await;
    assert_eq!((report.found, report.stored), (9, 7));
    assert_eq!((report.without_event, report.without_index), (2, 4));
    assert_eq!(ids(&all(&target).await), ["s-first", "a", "s-between", "b", "bb", "c", "s-last"]);
    let key = |rest: &str| format!("cloudmasters:events:{rest}");
    assert_eq!(
        problems(&report),
        [
            (key("by_payment:p").as_str(), "unknown-index"),
            (&key("note"), "no-event"),
            ("gone", "without-event"),
            ("list", "without-event"),
        ]
    );
    let by_time = difference(&report, IndexKind::Time);
    assert_eq!((by_time.source, by_time.target, by_time.without_event, by_time.beside), (5, 7, 2, 4));
    let by_user = difference(&report, IndexKind::User);
    assert_eq!((by_user.key.as_str(), by_user.without_event, by_user.beside), ("u", 1, 4));
    // The other indexes have all events that they list, and more.
    assert!(difference(&report, IndexKind::Type).is_only_more());
    assert!(!report.complete);
    assert!(!run(&source(&server).await, &target).await.changes_anything());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_lists_what_an_event_does_not_say_is_told() {
    let server = server().await;
    let mut reference = Reference::at(&server.url()).await;
    reference.store(&event("a", 1)).await;
    reference.command(&["ZADD", &reference.key("by_course:c"), "1", "a"]);
    reference.send().await;
    let report = run(&source(&server).await, &memory()).await;
    assert_eq!((report.total_differences, report.complete), (1, false));
    let by_course = difference(&report, IndexKind::Course);
    assert_eq!((by_course.source, by_course.target, by_course.say_otherwise), (1, 0, 1));
    assert!(by_course.reason().contains("says otherwise"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_has_or_has_erased_stays_so() {
    let server = server().await;
    let mut reference = Reference::at(&server.url()).await;
    let old = [event("same", 1), event("other", 2), event("erased", 3), event("new", 4)];
    for event in &old {
        reference.store(event).await;
    }
    reference.send().await;
    let target = memory();
    let ours =
        |json: &str| Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
    let before = [
        // The same content with other white space.
        ours(&old[0].json.replace("\"userId\"", " \"userId\"")),
        ours(&old[1].json.replace("\"u\"", "\"somebody-else\"")),
        ours(&old[2].json.replace("\"u\"", "\"who-left\"")),
        ours(&old[3].json.replace("new", "ours")),
    ];
    target.append(&before, Atomicity::Each).await.unwrap();
    target.erase(&Entity::new("user", "who-left")).await.unwrap();

    let report = run(&source(&server).await, &target).await;
    assert_eq!((report.stored, report.already_stored, report.conflicts, report.rejected), (1, 1, 1, 1));
    assert_eq!(problems(&report), [("erased", "erased"), ("other", "conflict")]);
    assert_eq!(ids(&all(&target).await), ["same", "other", "ours", "new"]);
    let by_user = difference(&report, IndexKind::User);
    // The event with other content is in the target, with another user. Our own event is not in the source's index.
    assert_eq!((by_user.source, by_user.target), (4, 3));
    assert_eq!((by_user.not_taken, by_user.say_otherwise, by_user.beside), (1, 1, 1));
    assert!(!report.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_the_target_had_besides_make_no_run_incomplete() {
    let server = server().await;
    let mut reference = Reference::at(&server.url()).await;
    reference.store(&event("a", 1)).await;
    reference.send().await;
    let target = memory();
    let ours = event("ours", 9);
    let ours = Document::parse(ours.json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
    target.append(&[ours], Atomicity::Each).await.unwrap();
    let report = run(&source(&server).await, &target).await;
    assert_eq!((report.total_differences, report.complete), (4, true), "{report:?}");
    assert!(report.differences.iter().all(|found| found.is_only_more() && found.beside == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_counts_are_brought_over_once_and_never_lowered() {
    let server = server().await;
    let mut reference = Reference::at(&server.url()).await;
    let last = |second: u32| Some(format!("2024-03-01T00:00:{second:02}.125Z"));
    let mut old = vec![event("one", 1), event("five", 2), event("three", 3), event("never", 4)];
    for (event, replays) in old.iter_mut().zip([1u32, 5, 3, 0]) {
        (event.replays, event.last_replay_at) = (replays, last(replays).filter(|_| replays > 0));
        reference.store(event).await;
    }
    reference.send().await;
    let (source, target) = (source(&server).await, memory());
    let report = run(&source, &target).await;
    assert_eq!((report.replay_counts.replayed, report.replay_counts.raised), (3, 3));
    check_equal(&all(&target).await, &old);

    // A run that was interrupted between the counts of one event, and a later replay in the target.
    let positions: Vec<_> = all(&target).await.iter().map(|stored| stored.position).collect();
    let now = "2024-05-05T00:00:00Z".parse().unwrap();
    target.record_replayed(&positions[..1], now).await.unwrap();
    reference.command(&["HSET", &reference.key("five"), "replayCount", "7"]);
    reference.command(&["HSET", &reference.key("three"), "replayCount", "minus one"]);
    reference.command(&["HSET", &reference.key("never"), "replayCount", "4000000000"]);
    reference.send().await;
    let report = run(&source, &target).await;
    assert_eq!((report.replay_counts.replayed, report.replay_counts.raised), (3, 2));
    assert_eq!(problems(&report), [("never", "replay-count"), ("three", "replay-count")]);
    let counts: Vec<u32> = all(&target).await.iter().map(|stored| stored.replay_count).collect();
    assert_eq!(counts, [2, 7, 3, 10_000]);
    assert_eq!(all(&target).await[0].last_replay_at, Some(now));
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_share_a_name_or_name_nothing_are_made_the_best_of() {
    let server = server().await;
    let mut reference = Reference::at(&server.url()).await;
    for second in 1..=9 {
        reference.store(&event(&format!("e{second}"), second)).await;
    }
    let at = |second: u32| format!("2024-01-15T10:00:{second:02}.000Z");
    reference.checkpoint("0001-old", "nightly", &at(20), "e2").await;
    reference.checkpoint("0002-new", "nightly", &at(30), "e6").await;
    reference.checkpoint("0003-gone", "lost", &at(4), "no-such-event").await;
    reference.checkpoint("0004-early", "before-all", "2023-01-01T00:00:00Z", "").await;
    reference.checkpoint("0005-nothing", "nothing", "soon", "").await;
    reference.checkpoint("0006-long", &"n".repeat(129), &at(50), "e9").await;
    reference.command(&["SET", "cloudmasters:checkpoints:text", "no checkpoint"]);
    reference.send().await;
    let (source, target) = (source(&server).await, memory());
    let report = run(&source, &target).await;
    let tally = report.checkpoints;
    assert_eq!((tally.found, tally.made, tally.already_there, tally.rejected), (6, 5, 0, 1));
    assert_eq!(
        problems(&report),
        [("0001-old", "renamed"), ("0006-long", "renamed"), ("lost", "mark"), ("nothing", "mark")]
    );
    for (name, covered) in
        [("nightly", 6), ("nightly 0001-old", 2), ("lost", 4), ("before-all", 0), ("0006-long", 9)]
    {
        let checkpoint = target.find_checkpoint(name).await.unwrap().expect(name);
        assert_eq!(checkpoint.event_count, covered, "{name}");
        assert_eq!(after(&target, Some(checkpoint.mark)).await.len() as u64, 9 - covered, "{name}");
    }
    let again = run(&source, &target).await;
    assert_eq!((again.checkpoints.already_there, again.checkpoints.rejected), (5, 1));
    assert!(!again.changes_anything());
    assert_eq!(target.list_checkpoints().await.unwrap().len(), 5);
}
