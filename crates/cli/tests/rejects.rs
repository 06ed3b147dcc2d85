//! `publish --rejects` and `import --rejects`: refused lines in a file that can be corrected and imported.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::fs;

use common::{Bench, registered};
use serde_json::{Value, json};

fn without_email(id: &str) -> String {
    registered(id, "u", "2024-01-15T10:30:00Z").replace(r#""email":"u@example.com","#, "")
}

fn reasons(bench: &Bench) -> Vec<Value> {
    let text = fs::read_to_string(bench.path("refused.ndjson.reasons")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn count(bench: &Bench) -> usize {
    fs::read_dir(bench.path(".")).unwrap().count()
}

/// Refused lines are kept byte for byte. Corrected, they are imported with the same command.
fn refused_lines_are_kept_and_imported(bench: &Bench) {
    let (good, bad) = (registered("e1", "u", "2024-01-15T10:30:00Z"), without_email("e2"));
    let other = registered("e1", "another", "2024-01-15T10:30:00Z");
    let input = format!("{good}\n\nno json \t\n  {bad}\r\n{other}\n");
    let said = bench.pipe(&["publish", "--rejects", "refused.ndjson", "--output", "json"], &input).exits(3);
    assert_eq!(said.json()["errors"].as_array().unwrap().len(), 3);
    said.says("3 refused lines were written to refused.ndjson").says("event-replay import refused.ndjson");
    let kept = fs::read_to_string(bench.path("refused.ndjson")).unwrap();
    assert_eq!(kept, format!("no json \t\n  {bad}\r\n{other}\n"));
    let reasons = reasons(bench);
    let places: Vec<_> = reasons.iter().map(|reason| (&reason["rejectsLine"], &reason["line"])).collect();
    assert_eq!(places, [(&json!(1), &json!(3)), (&json!(2), &json!(4)), (&json!(3), &json!(5))]);
    assert_eq!(reasons[1]["eventId"], "e2");
    assert_eq!(reasons[1]["violations"][0]["pointer"], "/data/email");
    assert_eq!(reasons[2]["violations"][0]["rule"], "conflict");

    // The same file is never written twice.
    let again = bench.pipe(&["import", "--rejects", "refused.ndjson"], &input).exits(1);
    again.says("refused.ndjson exists already; nothing was stored");
    assert_eq!(fs::read_to_string(bench.path("refused.ndjson")).unwrap(), kept);

    let corrected = registered("e2", "u", "2024-01-15T10:30:00Z");
    bench.file("refused.ndjson", format!("{corrected}\n"));
    bench.run(&["import", "refused.ndjson", "--rejects", "still-refused.ndjson"]).ok().prints("stored 1");
    assert!(
        !bench.path("still-refused.ndjson").exists() && !bench.path("still-refused.ndjson.reasons").exists()
    );
}

#[test]
fn refused_lines_are_kept_and_imported_on_a_file() {
    refused_lines_are_kept_and_imported(&Bench::new());
}

#[test]
fn refused_lines_are_kept_and_imported_on_redis() {
    let Some(bench) = Bench::on_redis() else { return };
    refused_lines_are_kept_and_imported(&bench);
}

/// The report lists the first 1,000 errors. The files have every one.
#[test]
fn every_refused_line_is_kept() {
    let bench = Bench::new();
    let line = |n: usize| match n % 2 {
        0 => registered(&format!("e{n}"), "u", "2024-01-15T10:30:00Z"),
        _ => without_email(&format!("e{n}")),
    };
    let input: Vec<String> = (0..5000).map(line).collect();
    let said = bench.pipe(&["import", "--rejects", "refused.ndjson", "--output", "json"], input.join("\n"));
    let report = said.exits(3).json();
    assert_eq!((&report["rejected"], &report["errorsTruncated"]), (&json!(2500), &json!(true)));
    let kept = fs::read_to_string(bench.path("refused.ndjson")).unwrap();
    let expected: Vec<&str> = input.iter().skip(1).step_by(2).map(String::as_str).collect();
    assert_eq!(kept.lines().collect::<Vec<_>>(), expected);
    let lines: Vec<u64> = reasons(&bench).iter().map(|reason| reason["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, Vec::from_iter((2..=5000).step_by(2)));
}

/// With a service name and with delivery options, the kept line is the line that was read.
#[test]
fn a_completed_or_delayed_event_is_kept_as_it_was_read() {
    let bench = Bench::new();
    let unnamed = without_email("e2").replace(r#""source":"user-service","#, "");
    for (name, args) in
        [("one", &["--service", "shop"][..]), ("two", &["--service", "shop", "--delay", "10m"])]
    {
        let mut all = vec!["publish", "--rejects", name];
        all.extend(args);
        bench.pipe(&all, format!("{unnamed}\n")).exits(3);
        assert_eq!(fs::read_to_string(bench.path(name)).unwrap(), format!("{unnamed}\n"));
    }
}

#[test]
fn a_line_that_is_too_long_has_a_reason_alone() {
    let bench = Bench::new();
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(2 << 20));
    let bad = without_email("e2");
    let said = bench.pipe(&["import", "--rejects", "refused.ndjson"], format!("{long}\n{bad}\n")).exits(3);
    said.says("1 refused line was written").says("1 line was too long to be read");
    assert_eq!(fs::read_to_string(bench.path("refused.ndjson")).unwrap(), format!("{bad}\n"));
    let reasons = reasons(&bench);
    assert_eq!((&reasons[0]["rejectsLine"], &reasons[0]["line"]), (&Value::Null, &json!(1)));
    assert_eq!((&reasons[1]["rejectsLine"], &reasons[1]["line"]), (&json!(1), &json!(2)));
}

#[test]
fn rejects_need_an_intake_that_stores_line_by_line() {
    let bench = Bench::new();
    let good = registered("e1", "u", "2024-01-15T10:30:00Z");
    for flag in ["--atomic", "--dry-run"] {
        bench.pipe(&["import", "--rejects", "refused.ndjson", flag], &good).exits(2);
    }
    bench.pipe(&["import", "--rejects", "none/refused.ndjson"], &good).exits(1).says("cannot be written");
    assert_eq!(count(&bench), 0, "nothing was stored and no file was made");
}
