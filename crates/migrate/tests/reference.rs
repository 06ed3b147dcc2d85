//! Migrates the data of the old system from a real Redis into a store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use domain::ports::{EventStore, EventValidator, SchemaSummary, SystemClock, Verdict};
use event_replay_migrate::{
    IndexKind, Layout, MigrateError, Options, Phase, Report, Source, SourceError, migrate,
};
use storage_memory::MemoryEngine;
use store::Store;
use support::*;

/// Checks that the recovery of each checkpoint returns exactly the ids of the later events.
async fn check_checkpoints(target: &dyn domain::ports::Stores, old: &[OldEvent]) {
    let ordered = in_time_order(old);
    let quarter = |part: usize| ordered.len() * part / 4;
    let time = ordered[quarter(3)].millisecond;
    let until_time = ordered.iter().filter(|event| event.millisecond <= time).count();
    for (name, covered) in [("quarter", quarter(1) + 1), ("half", quarter(2) + 1), ("by-time", until_time)] {
        let checkpoint = target.find_checkpoint(name).await.unwrap().unwrap();
        assert_eq!(checkpoint.event_count, covered as u64, "{name}");
        assert_eq!(checkpoint.metadata["reason"], "deploy");
        let recovered = after(target, Some(checkpoint.mark)).await;
        let expected: Vec<&str> = ordered[covered..].iter().map(|event| event.id.as_str()).collect();
        assert_eq!(ids(&recovered), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_taken_every_count_is_equal_and_a_second_run_takes_nothing() {
    let old = events(wanted(3000));
    let server = server().await;
    write(&mut Reference::at(&server.url()).await, &old).await;
    let (folder, source) = (tempfile::tempdir().unwrap(), source(&server).await);
    let target = sqlite(&folder).await;

    let begun = Instant::now();
    let report = run(&source, &target).await;
    println!("{} events in {:?}", old.len(), begun.elapsed());
    let replayed = old.iter().filter(|event| event.replays > 0).count() as u64;
    assert_eq!((report.found, report.stored), (old.len() as u64, old.len() as u64));
    assert_eq!((report.replay_counts.replayed, report.replay_counts.raised), (replayed, replayed));
    assert_eq!((report.checkpoints.found, report.checkpoints.made), (3, 3));
    assert_eq!((report.total_problems, report.total_differences, report.complete), (0, 0, true));
    for tally in &report.indexes {
        assert!(tally.keys > 0 && tally.equal == tally.keys, "{tally:?}");
    }
    assert_eq!(report.indexes.len(), 7);
    check_equal(&all(&target).await, &old);
    check_checkpoints(&target, &old).await;

    let (before, begun) = (target.info().await.unwrap(), Instant::now());
    let again = run(&source, &target).await;
    println!("again in {:?}", begun.elapsed());
    assert!(!again.changes_anything(), "{again:?}");
    assert_eq!((again.already_stored, again.checkpoints.already_there), (old.len() as u64, 3));
    assert_eq!((again.replay_counts.replayed, again.complete), (replayed, true));
    let now = target.info().await.unwrap();
    assert_eq!((now.head, now.events, now.bytes), (before.head, before.events, before.bytes));
    check_equal(&all(&target).await, &old);
    assert_eq!(target.verify(None).await.unwrap().total_findings, 0);
}

/// The run is aborted at any place and repeated until it is complete. The target then equals that of an undisturbed
/// run.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_ended_anywhere_goes_on() {
    let old = events(2000);
    let server = server().await;
    write(&mut Reference::at(&server.url()).await, &old).await;
    let (folder, source) = (tempfile::tempdir().unwrap(), source(&server).await);
    let target = sqlite(&folder).await;
    let (mut aborted, mut stored) = (0, 0);
    for round in 0..8 {
        let patience = Duration::from_millis(fastrand::u64(5..(40 << round)));
        let reached = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn({
            let (source, target, reached) = (source.clone(), target.clone(), Arc::clone(&reached));
            async move {
                let told = |phase, done, _| {
                    if phase == Phase::Events {
                        reached.store(done, Ordering::Relaxed);
                    }
                };
                migrate(&source, &target, &Options::default(), &told).await.unwrap()
            }
        });
        tokio::time::sleep(patience).await;
        task.abort();
        aborted += u64::from(task.await.is_err());
        println!("after {patience:?}: {} events", reached.load(Ordering::Relaxed));
        let now = target.info().await.unwrap().events;
        assert!(now >= stored, "nothing that was taken goes");
        stored = now;
    }
    assert!(aborted > 0, "no run was ended early");
    let report = run(&source, &target).await;
    assert!(report.complete, "{report:?}");
    check_equal(&all(&target).await, &old);
    check_checkpoints(&target, &old).await;
    assert!(!run(&source, &target).await.changes_anything());
}

const READER: &str = "reader on >secret ~* -@all +@read +ping";

#[tokio::test(flavor = "multi_thread")]
async fn the_source_is_only_read() {
    let old = events(500);
    let config = servers::Config { users: vec![READER.to_owned()], ..servers::Config::default() };
    let server = servers::Server::start(&servers::Binary::default(), &config).await.unwrap();
    let mut reference = Reference::at(&server.url()).await;
    write(&mut reference, &old).await;
    reference.command(&["ZADD", &reference.key("by_type:gone"), "1", "gone"]);
    reference.command(&["ZADD", &reference.key("by_time"), "1", "gone"]);
    reference.send().await;
    let before = reference.dump().await;
    let url = server.url_with("reader", "secret");
    // A control of the test: this user has no permission to write.
    let mut as_reader = Reference::at(&url).await;
    let refused =
        redis::cmd("SET").arg("a").arg("b").exec_async(&mut as_reader.connection).await.unwrap_err();
    assert_eq!(refused.code(), Some("NOPERM"));

    let source = Source::connect(&url, Layout::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = sqlite(&folder).await;
    let report = run(&source, &target).await;
    assert_eq!((report.stored, report.without_event), (old.len() as u64, 1));
    assert_eq!(reference.dump().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_the_right_to_read_is_told_so_and_nothing_counts_as_missing() {
    let half = "half on >secret ~* -@all +scan +type +zscore +zcard +zrangebyscore +ping".to_owned();
    let config = servers::Config { users: vec![half], ..servers::Config::default() };
    let server = servers::Server::start(&servers::Binary::default(), &config).await.unwrap();
    write(&mut Reference::at(&server.url()).await, &events(200)).await;
    let target = Store::new(MemoryEngine::new(Arc::new(SystemClock)));
    let source = Source::connect(&server.url_with("half", "secret"), Layout::default()).await.unwrap();
    let refused = migrate(&source, &target, &Options::default(), &|_, _, _| {}).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Source(SourceError::Denied(_))), "{refused:?}");
    let wrong = Source::connect(&server.url_with("half", "wrong"), Layout::default()).await.unwrap_err();
    assert!(matches!(wrong, SourceError::Denied(_)), "{wrong:?}");
    assert!(!wrong.to_string().contains("wrong@"), "{wrong}");
}

fn odd(id: &str, value: &str) -> OldEvent {
    let json = serde_json::json!({
        "id": id, "type": format!("t{value}"), "version": "1", "timestamp": "2024-01-15T10:30:00.000Z",
        "source": format!("s{value}"), "correlationId": format!("c{value}"), "userId": value, "courseId": value,
        "labId": value, "metadata": {}, "data": {"text": value, "number": 1},
    });
    reference::old_event(json.to_string(), 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_ids_and_values_come_unchanged_and_never_collide() {
    let values = [
        "a:b",
        "{x}",
        "{",
        "}",
        "*",
        "?",
        "[a-z]",
        "\\",
        "\\*",
        "a b",
        "\"quoted\"",
        "\r\n",
        "\u{1b}[2J",
        "\u{9b}",
        "\u{202e}x",
        "Zoë 東京 🎓",
        "by_time",
        "by_type:x",
        "by_user:",
        ":",
        "::",
        "'; DROP",
        "\u{1}",
    ];
    let old: Vec<OldEvent> = values
        .iter()
        .enumerate()
        // No id is the name of an index, because the old system could not store such an event either.
        .map(|(at, value)| odd(&format!("{at}{value}"), value))
        .chain([odd("by_type:x", "plain"), odd("*", "star"), odd(":", "colon"), odd("by_times", "near")])
        .collect();
    let server = server().await;
    // The prefix looks like a pattern. The other prefix has keys that this pattern would match.
    let mut reference = Reference::below(&server.url(), "shop[1]*?\\").await;
    let mut beside = Reference::below(&server.url(), "shop1xy\\").await;
    beside.store(&odd("not-mine", "other")).await;
    beside.send().await;
    for event in &old {
        reference.store(event).await;
    }
    reference.send().await;
    let source = Source::connect(&server.url(), Layout::below("shop[1]*?\\:events")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = sqlite(&folder).await;
    let report = run(&source, &target).await;
    assert_eq!((report.stored, report.total_problems), (old.len() as u64, 0), "{report:?}");
    // A type with a star also counts other types that it matches. Its count is higher, never lower.
    assert!(report.complete, "{:?}", report.differences);
    assert!(report.differences.iter().all(|difference| difference.index == IndexKind::Type));
    let mut old = old;
    for event in &mut old {
        (event.replays, event.last_replay_at) = (0, None);
    }
    check_equal(&all(&target).await, &old);
}

/// More events of one millisecond than a page has, with a time order that differs from the order of ids.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_instant_are_each_taken_once_with_any_page_size() {
    let event = |id: String, at: &str| {
        let json = format!(
            r#"{{"id":"{id}","type":"t","version":"1","timestamp":"{at}","source":"s","metadata":{{}}}}"#
        );
        reference::old_event(json, 1)
    };
    let mut old: Vec<OldEvent> =
        (0..2500).map(|n| event(format!("same-{n}"), "2024-01-15T10:30:00.500Z")).collect();
    old.extend((0..1500).map(|n| event(format!("a-{n}"), &format!("2024-01-15T10:31:{:02}Z", n % 60))));
    old.push(event("zz-first".to_owned(), "1969-12-31T23:59:59.999Z"));
    let server = server().await;
    let mut reference = Reference::at(&server.url()).await;
    for event in &old {
        reference.store(event).await;
    }
    reference.send().await;
    let target = Store::new(MemoryEngine::new(Arc::new(SystemClock)));
    let report = run(&source(&server).await, &target).await;
    assert_eq!((report.found, report.stored, report.complete), (4001, 4001, true));
    check_equal(&all(&target).await, &old);
}

/// A page of large events is more than a store accepts in one step.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_too_large_for_the_target_are_split() {
    let server = server().await;
    let mut reference = Reference::at(&server.url()).await;
    let old: Vec<OldEvent> = (0..60)
        .map(|n| {
            let json = serde_json::json!({
                "id": format!("large-{n:02}"), "type": "t", "version": "1", "source": "s", "metadata": {},
                "timestamp": "2024-01-15T10:30:00Z", "data": "x".repeat(1_000_000),
            });
            reference::old_event(json.to_string(), 1)
        })
        .collect();
    for event in &old {
        reference.store(event).await;
        reference.send().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let target = sqlite(&folder).await;
    let report = run(&source(&server).await, &target).await;
    assert_eq!((report.stored, report.complete), (60, true), "{report:?}");
    check_equal(&all(&target).await, &old);
}

#[derive(Debug)]
struct ByCourse;

impl EventValidator for ByCourse {
    fn validate(&self, _: &serde_json::Value) -> Verdict {
        Verdict::NoSchema
    }

    fn ordering_member(&self, _: &str, _: &str) -> Option<&str> {
        Some("courseId")
    }

    fn schemas(&self) -> Vec<SchemaSummary> {
        Vec::new()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ordering_keys_are_those_that_a_publisher_would_have_settled() {
    let server = server().await;
    let mut reference = Reference::at(&server.url()).await;
    reference.store(&odd("e", "v")).await;
    reference.send().await;
    let source = source(&server).await;
    for (schemas, kind) in [(None, "user"), (Some(Arc::new(ByCourse) as Arc<dyn EventValidator>), "course")] {
        let target = Store::new(MemoryEngine::new(Arc::new(SystemClock)));
        run_with(&source, &target, &Options { schemas, ..Options::default() }).await;
        assert_eq!(all(&target).await[0].event.ordering_key().kind, kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let old = events(800);
    let server = server().await;
    let mut reference = Reference::at(&server.url()).await;
    write(&mut reference, &old).await;
    reference.command(&["HSET", &reference.key("bad"), "event", "{}", "replayCount", "3"]);
    reference.send().await;
    let (source, target) = (source(&server).await, Store::new(MemoryEngine::new(Arc::new(SystemClock))));
    let dry = Options { dry_run: true, ..Options::default() };
    let would = run_with(&source, &target, &dry).await;
    assert_eq!(all(&target).await.len(), 0);
    let did = run(&source, &target).await;
    let without_comparison = |report: &Report| Report {
        dry_run: false,
        indexes: Vec::new(),
        differences: Vec::new(),
        total_differences: 0,
        ..report.clone()
    };
    assert_eq!(without_comparison(&would), without_comparison(&did));
    assert_eq!((would.stored, would.rejected), (800, 1));
    let after = run_with(&source, &target, &dry).await;
    assert!(!after.changes_anything(), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_there_is_an_error_and_not_an_empty_success() {
    let server = server().await;
    let target = Store::new(MemoryEngine::new(Arc::new(SystemClock)));
    let nothing = migrate(&source(&server).await, &target, &Options::default(), &|_, _, _| {}).await;
    assert_eq!(nothing, Err(MigrateError::NothingThere("cloudmasters:events".to_owned())));
    let absent = Source::connect("redis://127.0.0.1:1", Layout::default()).await.unwrap_err();
    assert!(matches!(absent, SourceError::Unavailable(_)), "{absent:?}");
    let address = Source::connect("http://:pw@x", Layout::default()).await.unwrap_err();
    assert!(matches!(address, SourceError::Address(_)) && !address.to_string().contains("pw"), "{address}");
}
