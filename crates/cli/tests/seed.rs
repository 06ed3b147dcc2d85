//! Every command line that users of the system before this one have in their notes, as written there but for the name
//! of the program, on events that each of them matches or narrowly misses.

mod common;

use common::{Bench, ids};
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

fn bench() -> Bench {
    let (registration, enrolment, payment) = ("user.registered", "course.enrolled", "payment.processed");
    Bench::with(
        &[
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
}

/// The words of a line, as a shell would pass them.
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

/// Replays go to consumer groups there; this version has stdout.
#[track_caller]
fn replays(bench: &Bench, line: &str, expected: &[&str]) {
    let said = run(bench, line, &["--target", "stdout"]);
    let lines = said.lines();
    assert_eq!(ids(&lines), expected, "{line}");
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

#[test]
fn replays_send_what_they_name_and_no_more() {
    let bench = bench();
    let before = bench.run(&["export"]).ok().stdout;
    replays(&bench, LAST_MONTH, &["r1", "r2", "r4"]);
    replays(&bench, WORKFLOW, &["r1", "r4"]);
    replays(&bench, "event-replay replay-correlation correlation-123", &["c1", "c2"]);
    replays(&bench, "event-replay replay-user user-123", &["r1", "r3", "c1", "event-456789"]);
    replays(&bench, USER_IN_JANUARY, &["r1", "c1", "event-456789"]);
    replays(&bench, AFTER_A_RESTART, &["r2", "r3", "r4"]);
    replays(&bench, "event-replay replay-correlation workflow-payment-123", &["event-456789", "p2"]);
    replays(&bench, BULK, &["c1"]);
    assert_eq!(bench.run(&["export"]).ok().stdout, before, "a replay stores no event");
    let counts: Vec<Value> = bench.json(&["list", "--order", "asc"])["events"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|stored| stored["replayCount"].clone())
        .collect();
    assert_eq!(counts, [4, 2, 2, 4, 1, 3, 1, 3]);
}

#[test]
fn dry_runs_count_and_change_nothing() {
    let bench = bench();
    would_replay(&bench, ENROLMENTS, 1);
    would_replay(&bench, "event-replay replay-correlation correlation-123 --dry-run", 2);
    would_replay(&bench, "event-replay replay --type user.registered --dry-run --limit 1", 1);
    let listed = bench.json(&["list", "--limit", "10"]);
    assert!(listed["events"].as_array().into_iter().flatten().all(|stored| stored["replayCount"] == 0));
}

#[test]
fn a_checkpoint_carries_its_metadata_and_counts_what_it_covers() {
    let bench = bench();
    let made = run(&bench, CHECKPOINT, &["--output", "json"]).json();
    assert_eq!(made["name"], "pre-migration-v2");
    assert_eq!(made["lastProcessedEventId"], "event-456789");
    assert_eq!(made["eventCount"], 6);
    assert_eq!(made["metadata"], json!({"version": "2.0.0", "reason": "pre-migration"}));
    replays(&bench, "event-replay recover pre-migration-v2", &["p2", "r4"]);
}

#[test]
fn lists_are_the_newest_first_within_their_limits() {
    let bench = bench();
    let all = ["r4", "p2", "event-456789", "c2", "c1", "r3", "r2", "r1"];
    lists(&bench, "event-replay list --limit 10", &all);
    lists(&bench, "event-replay list --limit 5", &all[..5]);
    lists(&bench, "event-replay list --type user.registered --limit 20", &["r4", "r3", "r2", "r1"]);
    lists(&bench, LIST_JANUARY, &["r4", "p2", "event-456789", "c1", "r2", "r1"]);
}

#[test]
fn schemas_and_health_answer() {
    let bench = bench();
    let schemas = run(&bench, "event-replay validate-schemas", &["--output", "json"]).json();
    assert_eq!(schemas.as_array().map(Vec::len), Some(16));
    run(&bench, "event-replay validate-schemas", &[]).prints("admin.user.action").prints("path.completed");
    run(&bench, "event-replay health", &[]).prints("store         pass");
}
