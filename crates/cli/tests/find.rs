//! `list`, `show`, `tail`, `stats`, `export`: their output, its order, and the pages.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io::{BufRead, BufReader},
    time::Duration,
};

use common::{Bench, ids, registered, some};
use serde_json::{Value, json};

fn listed(bench: &Bench, args: &[&str]) -> Vec<String> {
    let mut all = vec!["list"];
    all.extend(args);
    let answer = bench.json(&all);
    ids(answer["events"].as_array().unwrap()).into_iter().map(str::to_owned).collect()
}

#[test]
fn list_shows_the_newest_first_unless_turned() {
    let bench = Bench::with(&some());
    assert_eq!(listed(&bench, &[]), ["event-456789", "e4", "e3", "e2", "e1"]);
    assert_eq!(listed(&bench, &["--order", "asc", "--limit", "2"]), ["e1", "e2"]);
    let lines = bench.run(&["list", "--output", "ndjson", "--limit", "1"]).ok().lines();
    let stored = &lines[0];
    assert_eq!(stored["position"], "0:5");
    assert_eq!(stored["replayCount"], 0);
    assert!(stored["storedAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(stored["event"]["userId"], "user-789");
    bench.run(&["list"]).ok().prints("POSITION").prints("user=user-123");
}

#[test]
fn pages_go_on_by_cursor_in_both_orders() {
    let bench = Bench::with(&some());
    for order in ["asc", "desc"] {
        let (mut seen, mut after) = (vec![], None::<String>);
        loop {
            let mut args = vec!["list", "--order", order, "--limit", "2"];
            if let Some(after) = &after {
                args.extend(["--after", after]);
            }
            let answer = bench.json(&args);
            seen.extend(ids(answer["events"].as_array().unwrap()).into_iter().map(str::to_owned));
            match answer["nextCursor"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => break,
            }
        }
        seen.sort();
        assert_eq!(seen, ["e1", "e2", "e3", "e4", "event-456789"], "{order}");
    }
}

#[test]
fn filters_are_anded_and_repeated_flags_ored() {
    let bench = Bench::with(&some());
    let user: &[&str] = &["--user-id", "user-123"];
    assert_eq!(listed(&bench, user), ["e3", "e1"]);
    assert_eq!(listed(&bench, &["--user-id", "user-123", "--type", "payment.*"]), ["e3"]);
    assert_eq!(
        listed(&bench, &["--user-id", "user-123", "--user-id", "user-456", "--source", "user-service"]),
        ["e2", "e1"]
    );
    assert_eq!(listed(&bench, &["--entity", "payment=pay-e4"]), ["e4"]);
    assert_eq!(listed(&bench, &["--correlation-id", "c-user-456"]), ["e2"]);
    assert_eq!(listed(&bench, &["--where", "data.amount > 100"]), ["e4"]);
    assert_eq!(listed(&bench, &["--where", "data.amount > 10", "--where", "data.amount < 100"]), ["e3"]);
    assert_eq!(
        listed(&bench, &["--from", "2024-01-16T10:30:00Z", "--to", "2024-01-20T08:00:00Z"]),
        ["e4", "e3", "e2"]
    );
    bench.file("ids.txt", "e1\r\ne4\n\nnowhere\n");
    assert_eq!(listed(&bench, &["--ids", "ids.txt", "--event-id", "e2"]), ["e4", "e2", "e1"]);
    assert_eq!(listed(&bench, &["--course-id", "none"]), Vec::<String>::new());
    bench.run(&["list", "--course-id", "none"]).ok().says("no event matches");
    assert_eq!(
        bench.run(&["list", "--course-id", "none", "--output", "json"]).stdout,
        "{\"events\":[],\"nextCursor\":null}\n"
    );
}

#[test]
fn show_gives_single_events_in_full_with_their_numbers_untouched() {
    let wide = registered("wide", "u", "2024-01-15T10:30:00Z").replace(
        "\"metadata\":{}",
        "\"metadata\":{\"n\":123456789012345678901234567890,\"m\":9007199254740993}",
    );
    let bench = Bench::with(&wide);
    bench
        .run(&["show", "wide"])
        .ok()
        .prints("      \"n\": 123456789012345678901234567890,")
        .prints("\"position\": \"0:1\"");
    assert!(bench.run(&["export"]).stdout.contains("9007199254740993"));
    let answer = bench.json(&["show", "wide"]);
    assert_eq!(answer["events"][0]["event"]["id"], "wide");
    bench.run(&["show", "wide", "nowhere"]).exits(1).says("no event has the id \"nowhere\"").prints("wide");
}

#[test]
fn tail_shows_the_last_events_the_oldest_first() {
    let bench = Bench::with(&some());
    let lines = bench.run(&["tail", "--lines", "2", "--output", "ndjson"]).ok().lines();
    assert_eq!(ids(&lines), ["e4", "event-456789"]);
}

#[test]
fn stats_counts_what_is_stored() {
    let bench = Bench::with(&some());
    let stats = bench.json(&["stats"]);
    assert_eq!(stats["events"], 5);
    assert_eq!(stats["byType"], json!({"payment.processed": 2, "user.registered": 3}));
    assert_eq!(stats["bySource"], json!({"payment-service": 2, "user-service": 3}));
    assert_eq!(stats["oldest"], "2024-01-15T10:30:00Z");
    assert_eq!(stats["newest"], "2024-02-01T00:00:00Z");
    assert_eq!(stats["head"], json!(["0:5"]));
    assert_eq!(stats["bytes"].as_u64().unwrap() as usize, some().len() - 4);
    assert_eq!(bench.json(&["stats", "--type", "payment.*"])["events"], 2);
}

#[test]
fn export_writes_a_new_file_and_no_other() {
    let bench = Bench::with(&some());
    bench.run(&["export", "--output-file", "out.ndjson", "--limit", "2"]).ok().says("exported 2 events");
    let written = std::fs::read_to_string(bench.path("out.ndjson")).unwrap();
    assert_eq!(written.lines().count(), 2);
    bench.run(&["export", "--output-file", "out.ndjson"]).exits(1).says("exists already");
    assert_eq!(std::fs::read_to_string(bench.path("out.ndjson")).unwrap(), written);
}

/// A file exists under its name only if it is complete.
#[cfg(unix)]
#[test]
fn an_export_that_is_interrupted_leaves_no_file() {
    let bench = Bench::new();
    let events = (0..20_000).map(|n| registered(&format!("e{n}"), "u", "2024-01-15T10:30:00Z"));
    bench.pipe(&["import"], events.collect::<Vec<_>>().join("\n")).ok();
    let files = || -> Vec<String> {
        let found = std::fs::read_dir(bench.path(".")).unwrap();
        let names = found.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("out.ndjson")).collect()
    };
    // If the export ends before the signal, the test exports again.
    for _ in 0..20 {
        let mut command = bench.command(&["export", "--output-file", "out.ndjson"]);
        let export = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        while files().is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let signal =
            std::process::Command::new("kill").args(["-s", "INT", &export.id().to_string()]).status();
        assert!(signal.unwrap().success());
        let ended = export.wait_with_output().unwrap();
        if ended.status.success() {
            std::fs::remove_file(bench.path("out.ndjson")).unwrap();
            continue;
        }
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains("interrupted after ") && said.contains("out.ndjson was not made"), "{said}");
        assert_eq!((ended.status.code(), files()), (Some(1), Vec::new()));
        return;
    }
    panic!("no export was interrupted");
}

#[test]
fn no_event_can_steer_a_terminal() {
    let nasty = registered("e\\u001b[2J\\u009b\\u202e", "u", "2024-01-15T10:30:00Z");
    let raw = registered("raw\u{9b}\u{202e}\u{7f}", "u", "2024-01-15T10:30:00Z");
    let bench = Bench::with(&format!("{nasty}\n{raw}"));
    for args in [
        &["list"][..],
        &["list", "--output", "json"],
        &["export"],
        &["export", "--with-meta"],
        &["tail"],
        &["replay", "--all", "--target", "stdout"],
        &["show", "raw\u{9b}\u{202e}\u{7f}"],
        &["show", "e\u{1b}[2J"],
    ] {
        let said = bench.run(args);
        let shown = format!("{}{}", said.stdout, said.stderr);
        let steering = shown.chars().find(|&c| c != '\n' && (c.is_control() || c == '\u{202e}'));
        assert_eq!(steering, None, "{args:?}: {shown}");
    }
    bench.run(&["list"]).prints("e\\u{1b}[2J");
    // The store keeps these characters as data.
    assert_eq!(listed(&bench, &["--event-id", "raw\u{9b}\u{202e}\u{7f}"]), ["raw\u{9b}\u{202e}\u{7f}"]);
}

#[test]
fn odd_ids_are_told_apart() {
    let odd = [
        "a:b",
        "{x}",
        "*",
        "?",
        "[",
        "a\\\\b",
        "A1B2C3D4-0000-4000-8000-000000000000",
        "a1b2c3d4-0000-4000-8000-000000000000",
    ];
    let input: Vec<String> = odd.iter().map(|id| registered(id, id, "2024-01-15T10:30:00Z")).collect();
    let bench = Bench::with(&input.join("\n"));
    assert_eq!(bench.json(&["stats"])["events"], odd.len());
    for id in odd {
        let id = id.replace("\\\\", "\\");
        assert_eq!(listed(&bench, &["--event-id", &id]), std::slice::from_ref(&id));
        assert_eq!(listed(&bench, &["--user-id", &id]), std::slice::from_ref(&id));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let many: Vec<String> =
        (0..3000).map(|n| registered(&format!("e{n}"), "u", "2024-01-15T10:30:00Z")).collect();
    let bench = Bench::with(&many.join("\n"));
    for args in [&["export"][..], &["list", "--limit", "3000"], &["replay", "--all", "--target", "stdout"]] {
        let mut child = bench.command(args).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("error"), "{args:?}");
    }
}

/// Returns the peak memory of a running process, in KiB.
fn peak_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// Returns the peak memory of `tail` after its first event, and every id that it writes.
fn tail(bench: &Bench, lines: &str) -> (u64, Vec<String>) {
    let mut child = bench.command(&["tail", "-n", lines, "--output", "ndjson"]).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    // By now the command waits for its reader, or has ended.
    std::thread::sleep(Duration::from_millis(300));
    let peak = peak_kib(child.id());
    let id = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["event"]["id"].as_str().unwrap().to_owned()
    };
    let mut ids = vec![id(&line)];
    ids.extend(reader.lines().map(|line| id(&line.unwrap())));
    assert!(child.wait().unwrap().success());
    (peak, ids)
}

#[test]
fn the_last_events_take_no_more_memory_the_more_they_are() {
    let padding = "x".repeat(6000);
    let event = |n: usize| {
        registered(&format!("e{n}"), &format!("u{n}"), "2024-01-15T10:30:00Z")
            .replace("\"metadata\":{}", &format!("\"metadata\":{{\"padding\":\"{padding}\"}}"))
    };
    let bench = Bench::with(&(0..8000).map(event).collect::<Vec<_>>().join("\n"));
    let (few, ids) = tail(&bench, "300");
    assert_eq!(ids, (7700..8000).map(|n| format!("e{n}")).collect::<Vec<_>>());
    let (many, ids) = tail(&bench, "7000");
    assert_eq!(ids, (1000..8000).map(|n| format!("e{n}")).collect::<Vec<_>>());
    let (all, ids) = tail(&bench, "1000000");
    assert_eq!(ids.len(), 8000);
    let most = few + 40 * 1024;
    assert!(many < most && all < most, "300 events: {few} KiB, 7000: {many} KiB, all: {all} KiB");
}
