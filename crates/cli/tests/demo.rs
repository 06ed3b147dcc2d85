//! The demo as a new user runs it, and with planted faults.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        // The program prints the canonical path.
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// Returns a command that runs in this folder, without the settings of the machine.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let home = self.folder.path();
        command.current_dir(home).env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_event-replay")).args(args).output().unwrap()
    }

    /// Runs the demo, and reads its summary, which it prints also after a failure.
    fn summary(&self, args: &[&str]) -> (Value, Output) {
        let output = self.run(&[&["demo", "--output", "json"], args].concat());
        let summary = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
        (summary, output)
    }
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n--- stdout\n{}\n--- stderr\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

#[test]
fn the_demo_tells_its_story_and_exits_with_0() {
    let place = Place::new();
    let output = place.run(&["demo", "--events", "1000", "--path", "demo.db"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let story = stdout(&output);
    for number in 1..=11 {
        assert!(story.contains(&format!("\n{number}. ")), "step {number} of\n{story}");
    }
    assert_eq!(story.matches("   recovered: ").count(), 4, "{story}");
    assert!(!story.contains("NOT") && story.contains("All is as the generator says"), "{story}");
    assert!(story.lines().all(|line| line.chars().count() < 120), "{story}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn its_figures_add_up_and_are_those_of_the_exported_events() {
    let place = Place::new();
    let (summary, output) = place.summary(&["--events", "3000", "--path", "demo.db"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(summary["ok"], true);
    let (stored, refused) = (count(&summary["stored"]), count(&summary["refused"]));
    assert_eq!(stored + refused, 3000);
    assert!((30..100).contains(&refused), "{refused}");
    assert_eq!(count(&summary["refusedAsPlanned"]), refused);
    assert_eq!(summary["storedByReplays"], 0);

    let recoveries = summary["recoveries"].as_array().unwrap();
    let half = count(&summary["checkpoint"]["eventCount"]);
    assert_eq!(recoveries.len(), 2);
    for (recovery, events) in recoveries.iter().zip([stored - half, stored]) {
        assert_eq!(count(&recovery["plannedEvents"]), events);
        assert_eq!(count(&recovery["replayedEvents"]), events);
        assert_eq!(count(&recovery["differingFigures"]), 0);
        assert!(count(&recovery["lostFigures"]) > 100 && count(&recovery["figures"]) > 100, "{recovery}");
    }
    assert_eq!(count(&summary["replayCounts"]["2"]), half);
    assert_eq!(count(&summary["replayCounts"]["3"]), stored - half);

    let group = &summary["group"];
    let letters = count(&group["deadLetters"]);
    assert!(letters > 0 && count(&group["lostFigures"]) > 0, "{group}");
    assert_eq!(count(&group["handled"]) + letters, stored);
    assert_eq!((&group["expectedDeadLetters"], &group["redriven"]), (&letters.into(), &letters.into()));
    assert_eq!((count(&group["replayedEvents"]), count(&group["differingFigures"])), (stored, 0));
    let of_type =
        stdout(&place.run(&["export", "--store", "sqlite:demo.db", "--type", "path.completed"])).to_owned();
    assert_eq!(
        of_type.lines().count() as u64,
        letters,
        "dead letters are exactly the events that always failed"
    );
    let closed = [
        "dead-letters",
        "list",
        "--state",
        "all",
        "--limit",
        "100000",
        "--store",
        "sqlite:demo.db",
        "--output",
        "ndjson",
    ];
    let closed = stdout(&place.run(&closed)).to_owned();
    let states: Vec<Value> =
        closed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].clone()).collect();
    assert_eq!((states.len() as u64, states.iter().all(|state| state == "handled")), (letters, true));

    // The test reads the same events from a file, without code of this project.
    let exported = stdout(&place.run(&["demo", "--events", "3000", "--export", "-"])).to_owned();
    assert_eq!(exported.lines().count(), 3000);
    let ids: BTreeSet<String> = exported
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|event| event["id"].as_str().map(str::to_owned))
        .collect();
    let listed = place.run(&["export", "--store", "sqlite:demo.db"]);
    let in_store: Vec<Value> =
        stdout(&listed).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(in_store.len() as u64, stored);
    assert!(in_store.iter().all(|event| ids.contains(event["id"].as_str().unwrap())));
}

#[test]
fn the_queries_it_shows_find_the_same_when_typed() {
    let place = Place::new();
    let (summary, _) = place.summary(&["--path", "demo.db"]);
    let program = env!("CARGO_BIN_EXE_event-replay");
    let queries = summary["queries"].as_array().unwrap();
    assert_eq!(queries.len(), 3);
    for query in queries {
        let flags = query["flags"].as_str().unwrap();
        let line = format!("{program} list --store sqlite:demo.db --limit 100000 --output ndjson {flags}");
        let output = place.command("sh").args(["-c", &line]).output().unwrap();
        assert_eq!(
            stdout(&output).lines().count() as u64,
            count(&query["expected"]),
            "{flags}: {}",
            told(&output)
        );
        assert!(count(&query["found"]) >= 3, "{query}");
    }
}

#[test]
fn a_replay_that_loses_one_event_is_noticed_and_named() {
    let place = Place::new();
    for (seed, events) in [("1", "200"), ("2", "1000"), ("20240115", "5000")] {
        let args = ["--events", events, "--seed", seed, "--path", "demo.db", "--break", "skip-one"];
        let (summary, output) = place.summary(&args);
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert_eq!(summary["ok"], false);
        assert!(count(&summary["recoveries"][0]["differingFigures"]) >= 3, "{summary}");
        let problem = summary["problems"][0].as_str().unwrap();
        assert!(problem.contains(": expected ") && problem.contains(", found "), "{problem}");
        assert!(stderr(&output).contains(problem), "{}", told(&output));
        // The target reported success for every event.
        let recovery = &summary["recoveries"][0];
        assert_eq!(recovery["replayedEvents"], recovery["plannedEvents"]);
    }
    let output = place.run(&["demo", "--events", "500", "--path", "demo.db", "--break", "skip-one"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("   NOT recovered: "), "{}", told(&output));
    assert!(
        stderr(&output).starts_with("error: not as the generator says it must be: "),
        "{}",
        told(&output)
    );
}

#[test]
fn a_service_that_loses_a_replayed_event_is_noticed_and_named() {
    let place = Place::new();
    for (seed, events) in [("1", "200"), ("20240115", "2000")] {
        let args = ["--events", events, "--seed", seed, "--path", "demo.db", "--break", "skip-in-group"];
        let (summary, output) = place.summary(&args);
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert!(count(&summary["group"]["differingFigures"]) >= 3, "{summary}");
        // The service reported success for every event, and the earlier recoveries succeeded.
        assert_eq!(summary["group"]["replayedEvents"], summary["stored"]);
        assert!(
            summary["recoveries"].as_array().unwrap().iter().all(|one| one["differingFigures"] == 0),
            "{summary}"
        );
        let problem = summary["problems"][0].as_str().unwrap();
        assert!(stderr(&output).contains(problem), "{}", told(&output));
    }
}

#[test]
fn the_commands_it_prints_run_as_printed() {
    let place = Place::new();
    fs::create_dir(place.file("a folder's name")).unwrap();
    let output = place.run(&["demo", "--path", "a folder's name/demo.db"]);
    let story = stdout(&output);
    let printed: Vec<&str> = story.lines().skip_while(|line| !line.starts_with("Now you")).skip(1).collect();
    let (store, commands) = printed.split_first().unwrap();
    assert_eq!(commands.len(), 6, "{story}");
    for command in commands {
        let script = format!("{}\n{}", store.trim(), command.trim());
        let ran = place.command("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(ran.status.code(), Some(0), "{command}: {}", told(&ran));
        assert!(ran.stdout.len() > 100, "{command}: {}", told(&ran));
    }
    let (summary, _) = place.summary(&["--path", "a folder's name/demo.db"]);
    let next: Vec<&str> =
        summary["next"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(next, printed.iter().map(|line| line.trim()).collect::<Vec<_>>());
}

#[test]
fn a_second_demo_replaces_the_first() {
    let place = Place::new();
    place.run(&["demo", "--events", "1000", "--path", "demo.db"]);
    for _ in 0..2 {
        let (summary, output) = place.summary(&["--events", "400", "--seed", "9", "--path", "demo.db"]);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        assert_eq!(count(&summary["stored"]) + count(&summary["refused"]), 400);
    }
    let exported = place.run(&["export", "--store", "sqlite:demo.db"]);
    assert!(stdout(&exported).lines().count() <= 400, "{}", told(&exported));
    let leftovers: Vec<_> =
        fs::read_dir(place.file("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(leftovers.len() <= 3, "{leftovers:?}");
}

#[test]
fn the_store_is_in_the_data_folder_unless_told_otherwise() {
    let place = Place::new();
    let (summary, output) = place.summary(&["--events", "200"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let store = summary["store"].as_str().unwrap();
    let file = Path::new(store.strip_prefix("sqlite:").unwrap());
    assert!(
        file.starts_with(place.file("")) && file.ends_with("event-replay/demo.db") && file.is_file(),
        "{store}"
    );
}

#[test]
fn what_no_demo_made_is_never_touched() {
    let place = Place::new();
    let import = place.file("events.ndjson");
    place.run(&["demo", "--events", "300", "--export", import.to_str().unwrap()]);
    place.run(&["import", "events.ndjson", "--store", "sqlite:own.db"]);
    place.run(&["init", "--store", "sqlite:empty.db"]);
    // The last process that closes a store writes its write-ahead log into the file. This happens here, so that the
    // test can compare bytes.
    for store in ["sqlite:own.db", "sqlite:empty.db"] {
        place.run(&["stats", "--store", store]);
    }
    fs::write(place.file("text.db"), "minutes of the meeting").unwrap();
    fs::write(place.file("nothing.db"), "").unwrap();
    fs::create_dir(place.file("folder.db")).unwrap();
    std::os::unix::fs::symlink(place.file("own.db"), place.file("link.db")).unwrap();
    for name in ["own.db", "empty.db", "text.db", "nothing.db", "link.db", "folder.db"] {
        let before = fs::read(place.file(name)).ok();
        let output = place.run(&["demo", "--events", "200", "--path", name]);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", told(&output));
        assert!(stderr(&output).contains("no demo made it; it was not touched"), "{name}: {}", told(&output));
        assert_eq!(stdout(&output), "", "{name}");
        assert!(fs::read(place.file(name)).ok() == before, "{name}");
    }
    assert!(place.file("folder.db").is_dir() && place.file("link.db").is_symlink());
}

#[test]
fn a_demo_that_was_killed_is_replaced() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_event-replay");
    let mut killed =
        place.command(program).args(["demo", "--events", "2000000", "--path", "demo.db"]).spawn().unwrap();
    // The demo has stored many events when its log has grown.
    let log = place.file("").join("demo.db-wal");
    while fs::metadata(&log).map_or(0, |log| log.len()) < 1_000_000 {
        assert!(killed.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let output = place.run(&["demo", "--events", "300", "--path", "demo.db"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

#[test]
fn an_export_is_the_same_every_time_and_another_for_another_seed() {
    let place = Place::new();
    let export = |args: &[&str]| {
        let output = place.run(&[&["demo", "--events", "500", "--export"], args].concat());
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        output.stdout
    };
    let first = export(&["-"]);
    assert_eq!(export(&["-"]), first);
    assert_eq!(export(&["file.ndjson"]), b"");
    assert_eq!(fs::read(place.file("file.ndjson")).unwrap(), first);
    assert_ne!(export(&["-", "--seed", "3"]), first);
    let lines = String::from_utf8(first).unwrap();
    assert_eq!(lines.lines().count(), 500);
    let not_json = lines.lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).count();
    assert!(not_json <= 10, "{not_json}");

    let again = place.run(&["demo", "--export", "file.ndjson"]);
    assert_eq!(again.status.code(), Some(1), "{}", told(&again));
    assert!(stderr(&again).contains("exists already; nothing was written"), "{}", told(&again));
    let made: Vec<_> =
        fs::read_dir(place.file("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(made, ["file.ndjson"], "an export makes no store");
}

#[test]
fn an_import_of_an_export_stores_what_the_demo_stores() {
    let place = Place::new();
    let (summary, _) = place.summary(&["--events", "2000", "--path", "demo.db"]);
    place.run(&["demo", "--events", "2000", "--export", "events.ndjson"]);
    let output = place.run(&["import", "events.ndjson", "--store", "sqlite:own.db", "--output", "json"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["stored"], &report["rejected"]), (&summary["stored"], &summary["refused"]));
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let place = Place::new();
    for (args, what) in [
        (&["--events", "0"][..], "a number of events is a whole number"),
        (&["--events", "199"], "at least 200 events"),
        (&["--events", "-5"], "a number of events is a whole number"),
        (&["--break", "everything"], "skip-one"),
        (&["--export", "-", "--path", "x.db"], "cannot be used with"),
        (&["--export", "-", "--break", "skip-one"], "cannot be used with"),
        (&["--store", "sqlite:x.db"], "a store of its own"),
        (&["--seed", "one"], "invalid"),
    ] {
        let output = place.run(&[&["demo"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", told(&output));
        assert!(stderr(&output).contains(what), "{args:?}: {}", told(&output));
    }
    assert_eq!(fs::read_dir(place.file("")).unwrap().count(), 0);
}

#[test]
fn the_environment_names_no_store_for_a_demo() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_event-replay");
    let output = place
        .command(program)
        .env("REDIS_URL", "redis://localhost:1")
        .env("EVENT_REPLAY_STORE", "sqlite:theirs.db")
        .args(["demo", "--events", "200", "--path", "demo.db"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(!place.file("theirs.db").exists());
}
