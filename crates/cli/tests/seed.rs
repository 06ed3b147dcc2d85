//! The command lines that users of the predecessor system have in their notes.
//!
//! Only the name of the program is changed. The events match each line or narrowly miss it. As in the old system,
//! replays go to a group with a consumer in a separate process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Bench, consumer::Running, ids};
use serde_json::{Value, json};

fn event(id: &str, event_type: &str, user: &str, correlation: &str, timestamp: &str) -> String {
    let service = event_type.split('.').next().unwrap_or_default();
    let (entity, data) = match event_type {
        "course.enrolled" => (
            json!({"courseId": "course-1"}),
            json!({"enrollmentType": "paid", "enrolledAt": timestamp, "progress": 0}),
        ),
        "payment.processed" => (
            json!({"paymentId": format!("pay-{id}")}),
            json!({"amount": 49.5, "currency": "EUR", "status": "completed", "paymentMethod": "card",
                   "processedAt": timestamp}),
        ),
        _ => (json!({}), json!({"email": "x@example.com", "registrationMethod": "email"})),
    };
    let mut event = json!({
        "id": id, "type": event_type, "version": "1.0", "timestamp": timestamp,
        "source": format!("{service}-service"), "correlationId": correlation, "userId": user, "metadata": {},
        "data": data,
    });
    for (name, value) in entity.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    event.to_string()
}

/// Publishes the events to a store that does not exist yet.
fn filled(bench: Bench) -> Bench {
    let (registration, enrolment, payment) = ("user.registered", "course.enrolled", "payment.processed");
    bench
        .pipe(
            &["publish"],
            [
                event("r1", registration, "user-123", "workflow-abc-123", "2024-01-05T12:00:00Z"),
                event("r2", registration, "user-456", "other", "2024-01-31T23:59:59Z"),
                event("r3", registration, "user-123", "other", "2024-02-01T00:00:00Z"),
                event("c1", enrolment, "user-123", "correlation-123", "2024-01-10T00:00:00Z"),
                event("c2", enrolment, "user-456", "correlation-123", "2023-12-31T23:59:59Z"),
                event("event-456789", payment, "user-123", "workflow-payment-123", "2024-01-20T08:00:00Z"),
                event("p2", payment, "user-456", "workflow-payment-123", "2024-01-20T08:00:00Z"),
                event("r4", registration, "user-789", "workflow-abc-123", "2024-01-15T10:30:00Z"),
            ]
            .join("\n"),
        )
        .ok();
    bench
}

/// Splits a line into words as a shell does.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (vec![], None::<String>, None);
    for c in line.replace("\\\n", " ").chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    assert_eq!(words.first().map(String::as_str), Some("event-replay"), "{line}");
    words.split_off(1)
}

fn run(bench: &Bench, line: &str, more: &[&str]) -> common::Said {
    let words = words(line);
    let args: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
    bench.run(&args).ok()
}

/// A group with a consumer that prints its events, and the number of lines that the test has read.
struct Service {
    consumer: Running,
    seen: usize,
}

impl Service {
    /// Starts a consumer, and waits until it has handled all published events.
    fn of(bench: &Bench) -> Self {
        let all = bench.run(&["export"]).ok().stdout.lines().count();
        let consumer = bench.consume(&["service", "--at", "start"]);
        consumer.prints_lines(all);
        Self { consumer, seen: all }
    }

    /// Returns the new lines, sorted by id, because different keys have no common order.
    fn news(&mut self, number: usize) -> Vec<(String, Value)> {
        self.consumer.prints_lines(self.seen + number);
        let text = self.consumer.stdout();
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let mut news: Vec<(String, Value)> = text
            .lines()
            .skip(self.seen)
            .map(line)
            .map(|line| (line["event"]["id"].as_str().unwrap().to_owned(), line["replay"].clone()))
            .collect();
        news.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        self.seen += news.len();
        news
    }
}

/// Runs a line as written. Checks that the group receives these events as replays, and that the report agrees.
#[track_caller]
fn replays(bench: &Bench, service: &mut Service, line: &str, expected: &[&str]) {
    let report = run(bench, line, &["--output", "json"]).json();
    let news = service.news(expected.len());
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(news.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), expected, "{line}");
    for (id, replay) in &news {
        assert_eq!((&replay["isReplay"], &replay["replayId"]), (&json!(true), &report["replayId"]), "{id}");
    }
    let count = expected.len();
    assert_eq!(
        [
            &report["totalEvents"],
            &report["successfulReplays"],
            &report["failedReplays"],
            &report["skippedEvents"]
        ],
        [count, count, 0, 0],
        "{line}"
    );
    let groups = json!([{"name": "service", "handled": count, "failed": 0, "skipped": 0}]);
    assert_eq!((&report["status"], &report["groups"]), (&json!("COMPLETED"), &groups), "{line}");
}

/// Does the same with stdout as the target, which needs no group.
#[track_caller]
fn prints(bench: &Bench, line: &str, expected: &[&str]) {
    let said = run(bench, line, &["--target", "stdout"]);
    assert_eq!(ids(&said.lines()), expected, "{line}");
    let count = expected.len();
    let events = if count == 1 { "1 event".to_owned() } else { format!("{count} events") };
    said.says(&format!("completed: {count} of {events} replayed, 0 failed, 0 skipped"));
}

#[track_caller]
fn would_replay(bench: &Bench, line: &str, expected: u64) {
    let plan = run(bench, line, &["--output", "json"]).json();
    assert_eq!((&plan["dryRun"], &plan["totalEvents"]), (&json!(true), &json!(expected)), "{line}");
}

#[track_caller]
fn lists(bench: &Bench, line: &str, expected: &[&str]) {
    let answer: Value = run(bench, line, &["--output", "json"]).json();
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    assert_eq!(ids(&events), expected, "{line}");
    run(bench, line, &[]).prints(expected[0]);
}

const LAST_MONTH: &str = "event-replay replay \\
  --type user.registered \\
  --from 2024-01-01T00:00:00Z \\
  --to 2024-01-31T23:59:59Z \\
  --batch-size 25 \\
  --delay 500";
const ENROLMENTS: &str = "event-replay replay \\
  --type course.enrolled \\
  --user-id user-123 \\
  --dry-run";
const WORKFLOW: &str = "event-replay replay \\
  --correlation-id workflow-abc-123 \\
  --max-retries 5";
const USER_IN_JANUARY: &str = "event-replay replay-user user-123 \\
  --from 2024-01-01T00:00:00Z \\
  --to 2024-01-31T23:59:59Z";
const AFTER_A_RESTART: &str = "event-replay replay \\
  --from 2024-01-15T10:30:00Z \\
  --source user-service \\
  --limit 1000";
const BULK: &str = "event-replay replay \\
  --type course.enrolled \\
  --from 2024-01-01T00:00:00Z \\
  --batch-size 10 \\
  --delay 2000 \\
  --max-retries 5";
const CHECKPOINT: &str = "event-replay checkpoint \\
  \"pre-migration-v2\" \\
  \"event-456789\" \\
  --metadata '{\"version\": \"2.0.0\", \"reason\": \"pre-migration\"}'";
const LIST_JANUARY: &str = "event-replay list \\
  --from 2024-01-01T00:00:00Z \\
  --to 2024-01-31T23:59:59Z \\
  --limit 50";

const REPLAYS: [(&str, &[&str]); 8] = [
    (LAST_MONTH, &["r1", "r2", "r4"]),
    (WORKFLOW, &["r1", "r4"]),
    ("event-replay replay-correlation correlation-123", &["c1", "c2"]),
    ("event-replay replay-user user-123", &["r1", "r3", "c1", "event-456789"]),
    (USER_IN_JANUARY, &["r1", "c1", "event-456789"]),
    (AFTER_A_RESTART, &["r2", "r3", "r4"]),
    ("event-replay replay-correlation workflow-payment-123", &["event-456789", "p2"]),
    (BULK, &["c1"]),
];
/// The replay count of each event after all lines, in log order.
const COUNTS: [u64; 8] = [4, 2, 2, 4, 1, 3, 1, 3];

fn replay_counts(bench: &Bench) -> Vec<u64> {
    let listed = bench.json(&["list", "--order", "asc"]);
    let events = listed["events"].as_array().cloned().unwrap_or_default();
    events.iter().map(|stored| stored["replayCount"].as_u64().unwrap()).collect()
}

fn replays_send_what_they_name_to_the_groups_and_no_more(bench: Bench) {
    let bench = filled(bench);
    let before = bench.run(&["export"]).ok().stdout;
    let mut service = Service::of(&bench);
    for (line, expected) in REPLAYS {
        replays(&bench, &mut service, line, expected);
    }
    assert_eq!(bench.run(&["export"]).ok().stdout, before, "a replay stores no event");
    assert_eq!(replay_counts(&bench), COUNTS);
    let said = service.consumer.stop().ok();
    assert_eq!(said.lines().len(), service.seen, "nothing came but what was asked for");
}

fn the_same_lines_print_the_same_events_in_log_order_without_a_group(bench: Bench) {
    let bench = filled(bench);
    for (line, expected) in REPLAYS {
        prints(&bench, line, expected);
    }
    assert_eq!(replay_counts(&bench), COUNTS);
}

fn where_nothing_consumes_yet_the_lines_show_their_plans(bench: Bench) {
    let bench = filled(bench);
    run(&bench, CHECKPOINT, &[]);
    for (line, expected) in
        REPLAYS.into_iter().chain([("event-replay recover pre-migration-v2", &["", ""][..])])
    {
        would_replay(&bench, line, expected.len() as u64);
        run(&bench, line, &[]).says("nothing was replayed: the store has no consumer group yet");
    }
    assert_eq!(replay_counts(&bench), [0; 8]);
    assert_eq!(bench.json(&["replays", "list"]), json!([]));
}

fn dry_runs_count_and_change_nothing(bench: Bench) {
    let bench = filled(bench);
    would_replay(&bench, ENROLMENTS, 1);
    would_replay(&bench, "event-replay replay-correlation correlation-123 --dry-run", 2);
    would_replay(&bench, "event-replay replay --type user.registered --dry-run --limit 1", 1);
    let listed = bench.json(&["list", "--limit", "10"]);
    assert!(listed["events"].as_array().into_iter().flatten().all(|stored| stored["replayCount"] == 0));
}

fn a_checkpoint_carries_its_metadata_and_counts_what_it_covers(bench: Bench) {
    let bench = filled(bench);
    let made = run(&bench, CHECKPOINT, &["--output", "json"]).json();
    assert_eq!(made["name"], "pre-migration-v2");
    assert_eq!(made["lastProcessedEventId"], "event-456789");
    assert_eq!(made["eventCount"], 6);
    assert_eq!(made["metadata"], json!({"version": "2.0.0", "reason": "pre-migration"}));
    let recover = "event-replay recover pre-migration-v2";
    prints(&bench, recover, &["p2", "r4"]);
    let mut service = Service::of(&bench);
    replays(&bench, &mut service, recover, &["p2", "r4"]);
    service.consumer.stop().ok();
}

fn lists_are_the_newest_first_within_their_limits(bench: Bench) {
    let bench = filled(bench);
    let all = ["r4", "p2", "event-456789", "c2", "c1", "r3", "r2", "r1"];
    lists(&bench, "event-replay list --limit 10", &all);
    lists(&bench, "event-replay list --limit 5", &all[..5]);
    lists(&bench, "event-replay list --type user.registered --limit 20", &["r4", "r3", "r2", "r1"]);
    lists(&bench, LIST_JANUARY, &["r4", "p2", "event-456789", "c1", "r2", "r1"]);
}

fn schemas_and_health_answer(bench: Bench) {
    let bench = filled(bench);
    let schemas = run(&bench, "event-replay validate-schemas", &["--output", "json"]).json();
    assert_eq!(schemas.as_array().map(Vec::len), Some(16));
    run(&bench, "event-replay validate-schemas", &[]).prints("admin.user.action").prints("path.completed");
    run(&bench, "event-replay health", &[]).prints("store                pass");
}

/// Defines every test for each kind of store, and for each server program that may be installed.
macro_rules! on_each_store {
    ($($law:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[test]
            fn $law() {
                super::$law(super::Bench::new());
            })*
        }

        on_each_store! { @server on_redis_7 "redis" 7 $($law)* }
        on_each_store! { @server on_redis_8 "redis" 8 $($law)* }
        on_each_store! { @server on_valkey_9 "valkey" 9 $($law)* }
    };
    (@server $module:ident $name:literal $major:literal $($law:ident)*) => {
        mod $module {
            $(#[test]
            fn $law() {
                if let Some(bench) = super::Bench::on($name, $major) {
                    super::$law(bench);
                }
            })*
        }
    };
}

on_each_store!(
    replays_send_what_they_name_to_the_groups_and_no_more,
    the_same_lines_print_the_same_events_in_log_order_without_a_group,
    where_nothing_consumes_yet_the_lines_show_their_plans,
    dry_runs_count_and_change_nothing,
    a_checkpoint_carries_its_metadata_and_counts_what_it_covers,
    lists_are_the_newest_first_within_their_limits,
    schemas_and_health_answer,
);
