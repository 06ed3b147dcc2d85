//! `publish` and `import`: their reports, their exit codes, and all kinds of input.

mod common;

use std::io::{BufRead, BufReader, Write};

use common::{Bench, registered, some};
use serde_json::json;

#[test]
fn the_report_adds_up_and_names_every_bad_line() {
    let bench = Bench::new();
    let bad = registered("e3", "u", "2024-01-15T10:30:00Z").replace(r#""email":"u@example.com","#, "");
    let other = registered("e1", "somebody-else", "2024-01-15T10:30:00Z");
    let one = registered("e1", "u", "2024-01-15T10:30:00Z");
    let input = format!("{one}\n\n   \n{one}\nnot json\n{bad}\n{other}\n");
    let said = bench.pipe(&["publish", "--output", "json"], input).exits(3);
    let report = said.json();
    assert_eq!(
        [&report["stored"], &report["alreadyStored"], &report["rejected"], &report["conflicts"]],
        [&json!(1), &json!(1), &json!(2), &json!(1)]
    );
    let errors = report["errors"].as_array().unwrap();
    let lines: Vec<_> = errors.iter().map(|error| error["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [5, 6, 7]);
    assert_eq!(errors[0]["eventId"], json!(null));
    assert_eq!(errors[1]["eventId"], "e3");
    assert_eq!(errors[1]["type"], "user.registered");
    assert_eq!(errors[1]["violations"][0]["pointer"], "/data/email");
    assert_eq!(errors[1]["violations"][0]["rule"], "required");
    assert_eq!(errors[2]["violations"][0]["rule"], "conflict");
    assert_eq!(report["errorsTruncated"], false);
    assert!(report.get("notStored").is_none() && errors[0].get("file").is_none());
}

#[test]
fn publishing_again_stores_nothing_twice() {
    let bench = Bench::with(&some());
    bench.pipe(&["publish"], some()).ok().prints("stored 0, already stored 5, rejected 0, conflicts 0");
    // The same content with other spelling.
    let respelt = registered("e1", "user-123", "2024-01-15T10:30:00Z")
        .replace("\"version\":\"1.0\",", "")
        .replace("\"source\"", "\"version\" : \"1.0\", \"source\"");
    bench.pipe(&["publish"], respelt).ok().prints("already stored 1");
}

#[test]
fn an_atomic_intake_is_all_or_nothing() {
    let bench = Bench::new();
    let input = format!("{}\nbad\n", some());
    let report = bench.pipe(&["import", "--atomic", "--output", "json"], &input).exits(3).json();
    assert_eq!(report["stored"], 0);
    assert_eq!(report["rejected"], 1);
    assert_eq!(report["notStored"], 5);
    assert_eq!(bench.json(&["stats"])["events"], 0);
    bench.pipe(&["import", "--atomic"], some()).ok().prints("stored 5");
}

/// An atomic request that exceeds the limit of the store is no failure of the store, and raises no alert.
#[test]
fn an_atomic_intake_that_is_too_large_is_no_failure_of_the_store() {
    let Some(bench) = Bench::on_redis() else { return };
    bench.run(&["init"]).ok();
    let lines = (0..201).map(|n| registered(&format!("e{n}"), "u", "2024-01-15T10:30:00Z"));
    let said = bench.pipe(&["import", "--atomic"], lines.collect::<Vec<_>>().join("\n"));
    said.exits(1).says("at most 200 events");
    let health = bench.json(&["health"]);
    let storage =
        health["checks"].as_array().unwrap().iter().find(|check| check["name"] == "storage-failures");
    assert_eq!(storage.unwrap()["status"], "pass", "{storage:?}");
}

#[test]
fn an_export_comes_back_plain_with_meta_and_packed() {
    let source = Bench::with(&some());
    let plain = source.run(&["export"]).ok().stdout;
    assert_eq!(plain, format!("{}\n", some()), "an export is what was published, byte for byte");
    let with_meta = source.run(&["export", "--with-meta"]).ok().stdout;
    assert!(with_meta.starts_with(r#"{"event":{"id":"e1""#), "{with_meta}");
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    gzip.write_all(plain.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(with_meta.as_bytes(), 3).unwrap();
    for packed in [plain.into_bytes(), with_meta.into_bytes(), gzip, zstd] {
        let target = Bench::new();
        let file = target.file("events", &packed);
        target.run(&["import", file.to_str().unwrap()]).ok().prints("stored 5");
        assert_eq!(target.run(&["export"]).stdout, format!("{}\n", some()));
    }
}

#[test]
fn a_packed_file_that_was_cut_stores_what_it_can_and_fails() {
    let bench = Bench::new();
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    gzip.write_all(some().as_bytes()).unwrap();
    let mut packed = gzip.finish().unwrap();
    packed.truncate(packed.len() - 6);
    let file = bench.file("cut.gz", packed);
    bench.run(&["import", file.to_str().unwrap()]).exits(1).says("cannot be read after line");
    bench.run(&["import", "--atomic", file.to_str().unwrap()]).exits(1).says("cannot be read");
}

#[test]
fn several_files_tell_their_lines_apart() {
    let bench = Bench::new();
    let (one, two) = (bench.file("one", "bad\n"), bench.file("two", format!("{}\n\nworse", some())));
    let said =
        bench.run(&["import", "--output", "json", one.to_str().unwrap(), two.to_str().unwrap()]).exits(3);
    let report = said.json();
    assert_eq!(report["stored"], 5);
    let places: Vec<_> = report["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["file"].as_str().unwrap().ends_with("two"), error["line"].as_u64().unwrap()))
        .collect();
    assert_eq!(places, [(false, 1), (true, 7)]);
}

#[test]
fn a_file_that_is_not_there_makes_no_store() {
    let bench = Bench::new();
    bench.run(&["import", "nowhere.ndjson"]).exits(1).says("there is no such file; nothing was changed");
    assert!(!bench.path("events.db").exists());
}

#[test]
fn json_over_several_lines_is_refused_with_advice() {
    let bench = Bench::new();
    let pretty = "{\n  \"id\": \"e1\",\n  \"type\": \"x\"\n}\n";
    bench.pipe(&["publish"], pretty).exits(1).says("events are read one a line").says("jq -c .");
    bench.pipe(&["publish"], "[\n  {\"id\": \"e1\"}\n]").exits(1).says("jq -c '.[]'");
    // A broken first line is only one bad line.
    bench.pipe(&["publish"], format!("{{\n{}", some())).exits(3).prints("stored 5");
}

#[test]
fn unknown_types_are_refused_or_accepted_as_asked() {
    let bench = Bench::new();
    let custom = registered("x", "u", "2024-01-15T10:30:00Z").replace("user.registered", "custom.event");
    bench.pipe(&["publish"], &custom).exits(3).prints("No schema found for event type: custom.event");
    bench.pipe(&["publish", "--unknown-types", "maybe"], &custom).exits(2).says("`refuse` or `accept`");
    bench.pipe(&["publish", "--unknown-types", "accept"], &custom).ok();
}

#[test]
fn without_validation_envelope_and_limits_are_still_checked() {
    let bench = Bench::new().env("ENABLE_EVENT_VALIDATION", "false");
    let odd = registered("x", "u", "2024-01-15T10:30:00Z").replace("\"email\"", "\"mail\"");
    bench.pipe(&["publish"], odd).ok();
    let long = registered(&"x".repeat(129), "u", "2024-01-15T10:30:00Z");
    bench.pipe(&["publish"], long).exits(3).prints("has 129 bytes; the limit is 128");
}

#[test]
fn an_event_without_a_source_gets_the_services() {
    let bench = Bench::new();
    let sourceless = registered("x", "u", "2024-01-15T10:30:00Z").replace("\"source\":\"user-service\",", "");
    bench.pipe(&["publish"], &sourceless).exits(3).prints("/source");
    bench.pipe(&["publish", "--service", "sign-up"], &sourceless).ok();
    bench.pipe(&["publish", "--service", "sign-up"], &sourceless).ok().prints("already stored 1");
    assert_eq!(bench.json(&["list"])["events"][0]["event"]["source"], "sign-up");
}

#[test]
fn a_slow_pipe_is_stored_as_it_comes_and_tail_follows_it() {
    let bench = Bench::new();
    bench.run(&["init"]).ok();
    let mut tail = bench.command(&["tail", "-f", "--lines", "0", "--output", "ndjson"]).spawn().unwrap();
    let mut publish = bench.command(&["publish"]).spawn().unwrap();
    let mut pipe = publish.stdin.take().unwrap();
    let mut seen = BufReader::new(tail.stdout.take().unwrap()).lines();
    // `tail` may start after the first lines are stored, so lines are sent until one arrives.
    let feeder = std::thread::spawn(move || {
        for n in 0..600 {
            let line = registered(&format!("slow-{n}"), "u", "2024-01-15T10:30:00Z");
            if writeln!(pipe, "{line}").is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    });
    let line = seen.next().unwrap().unwrap();
    assert!(line.contains(r#""id":"slow-"#), "{line}");
    tail.kill().unwrap();
    publish.kill().unwrap();
    tail.wait().unwrap();
    publish.wait().unwrap();
    drop(feeder);
}

/// The report covers the events that were stored before the interruption. The user can import the same input again.
#[cfg(unix)]
#[test]
fn an_import_that_is_interrupted_says_what_it_stored() {
    use std::io::Write as _;

    let bench = Bench::new();
    let mut command = bench.command(&["import", "--output", "json"]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut import = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut input = import.stdin.take().unwrap();
    input.write_all(some().as_bytes()).unwrap();
    input.write_all(b"\n").unwrap();
    let is_stored = || {
        let said = bench.run(&["stats", "--output", "json"]);
        said.code == 0 && said.stdout.contains("\"events\":5")
    };
    while !is_stored() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let signal = std::process::Command::new("kill").args(["-s", "INT", &import.id().to_string()]).status();
    assert!(signal.unwrap().success());
    let ended = import.wait_with_output().unwrap();
    drop(input);
    let (said, report) = (String::from_utf8(ended.stderr).unwrap(), String::from_utf8(ended.stdout).unwrap());
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("error: interrupted") && said.contains("no event is stored twice"), "{said}");
    assert!(report.contains("\"stored\":5"), "{report}");
}

#[test]
fn events_that_are_stored_are_reported_so_although_retention_fails_after_them() {
    let bench = Bench::new().env("EVENT_REPLAY_RETENTION_MAX_EVENTS", "1");
    bench.pipe(&["publish"], registered("e1", "u", "2024-01-15T10:30:00Z")).ok();
    let file = rusqlite::Connection::open(bench.path("events.db")).unwrap();
    let refuse = "CREATE TRIGGER no_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'not now'); END";
    file.execute_batch(refuse).unwrap();
    drop(file);
    let said =
        bench.pipe(&["publish"], registered("e2", "u", "2024-01-15T10:30:00Z")).ok().prints("stored 1");
    said.says("warning: retention was not applied: store sqlite:events.db: ").says("not now");
    // For a command with retention as its only work, the fault is an error that names the store.
    let said = bench.run(&["trim", "--max-events", "1", "--yes"]).exits(1);
    said.says("error: store sqlite:events.db: ").says("not now");
}
