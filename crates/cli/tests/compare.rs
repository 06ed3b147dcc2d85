//! `compare`: the answers of two targets to the same events, on a file and on Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    time::{Duration, Instant},
};

use common::{Bench, registered, some};
use serde_json::{Value, json};

fn benches() -> Vec<Bench> {
    [Some(Bench::new()), Bench::on_redis()].into_iter().flatten().collect()
}

/// Prints the id of the event on its stdin, and notes it in a file.
const ID: &str = r#"id=$(sed 's/^{"event":{"id":"\([^"]*\)".*/\1/'); echo "$id" >> "given-$1""#;

/// Two versions of a handler. The new one has another total for `e3`, and fails for `e4`.
fn handlers(bench: &Bench) {
    let answer = r#"printf '{"id":"%s","total":%s,"at":"%s"}\n' "$id" "$total" "$$""#;
    bench.file("old.sh", format!("{ID}\ntotal=10\n{answer}\n"));
    let new = "total=10.0\ncase $id in e3) total=11 ;; esac";
    bench.file("new.sh", format!("{ID}\n{new}\n{answer}\ncase $id in e4) exit 7 ;; esac\n"));
}

const OLD: &str = "exec1:sh old.sh old";
const NEW: &str = "exec1:sh new.sh new";

fn given(bench: &Bench, side: &str) -> Vec<String> {
    let given = std::fs::read_to_string(bench.path(&format!("given-{side}"))).unwrap();
    given.lines().map(str::to_owned).collect()
}

#[test]
fn differing_answers_are_reported_by_event_and_counted() {
    for bench in benches() {
        bench.pipe(&["publish"], some()).ok();
        handlers(&bench);
        let compare = ["compare", OLD, NEW, "--all", "--ignore", "/body/at"];
        let report = bench.run(&[&compare[..], &["--output", "json"]].concat()).exits(3).json();
        let counts = ["compared", "equal", "different"].map(|name| report[name].as_u64().unwrap());
        assert_eq!(counts, [5, 3, 2], "{report}");
        assert_eq!(report["unanswered"], json!({"old": 0, "new": 0}));
        assert_eq!(report["ended"], "completed");
        let expected = json!([
            {
                "eventId": "e3", "eventType": "payment.processed", "position": "0:3",
                "differences": [{"pointer": "/body/total", "old": 10, "new": 11}], "totalDifferences": 1,
            },
            {
                "eventId": "e4", "eventType": "payment.processed", "position": "0:4",
                "differences": [
                    {"pointer": "/ok", "old": true, "new": false},
                    {"pointer": "/status", "old": 0, "new": 7},
                ],
                "totalDifferences": 2,
            },
        ]);
        assert_eq!(report["differences"], expected);
        assert_eq!(report["byPointer"], json!({"/body/total": 1, "/ok": 1, "/status": 1}));
        assert_eq!(report["failed"], json!({"old": 0, "new": 1}));
        let order = ["e1", "e2", "e3", "e4", "event-456789"].map(str::to_owned).to_vec();
        assert_eq!([given(&bench, "old"), given(&bench, "new")], [order.clone(), order]);
        bench
            .run(&compare)
            .exits(3)
            .prints("e3 (payment.processed) at 0:3\n  ~ /body/total: 10 → 11\n")
            .prints("compared 5 events: 3 equal, 2 different\nfailed: 0 at OLD, 1 at NEW\n")
            .prints("/status");
        // Without the ignored member every answer differs. Equal answers exit with 0.
        let all = bench.run(&["compare", OLD, OLD, "--all", "--output", "json"]).exits(3).json();
        assert_eq!(all["byPointer"], json!({"/body/at": 5}));
        bench
            .run(&["compare", OLD, OLD, "--all", "--ignore", "/body/at"])
            .ok()
            .prints("5 equal, 0 different");
        bench
            .run(&["compare", OLD, NEW, "--user-id", "user-789", "--ignore", "/*/at"])
            .ok()
            .prints("compared 1 event");
    }
}

#[test]
fn a_comparison_stores_and_counts_nothing() {
    let bench = Bench::with(&some());
    handlers(&bench);
    let before = std::fs::read(bench.path("events.db")).unwrap();
    bench.run(&["compare", OLD, NEW, "--all"]).exits(3);
    assert_eq!(std::fs::read(bench.path("events.db")).unwrap(), before);
    assert_eq!(bench.json(&["replays", "list"]), json!([]));
    assert_eq!(bench.run(&["audit", "list", "--output", "ndjson"]).ok().stdout, "");
    let events = bench.json(&["list"])["events"].clone();
    assert!(events.as_array().unwrap().iter().all(|stored| stored["replayCount"] == 0), "{events}");
}

#[test]
fn a_comparison_has_bounds_and_a_pace() {
    let bench = Bench::with(&some());
    handlers(&bench);
    let run =
        |args: &[&str]| bench.run(&[&["compare", OLD, OLD, "--all", "--output", "json"], args].concat());
    let report = run(&["--limit", "2"]).exits(3).json();
    assert_eq!((&report["compared"], &report["differencesTruncated"]), (&json!(2), &json!(false)));
    let report = run(&["--max-differences", "1"]).exits(3).json();
    assert_eq!(report["differences"].as_array().unwrap().len(), 1);
    assert_eq!((&report["different"], &report["differencesTruncated"]), (&json!(5), &json!(true)));
    bench
        .run(&["compare", OLD, OLD, "--all", "--max-differences", "1"])
        .exits(3)
        .says("1 differing event of 5 listed; --max-differences N lists more");
    let begun = Instant::now();
    run(&["--rate", "5", "--ignore", "/body"]).ok();
    assert!(begun.elapsed() >= Duration::from_millis(800), "{:?}", begun.elapsed());
}

/// Serves answers on a free port, and returns its URL. `answer` gets the id of the event.
fn serve(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, answer) = (stream.unwrap(), std::sync::Arc::clone(&answer));
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let mut reader = BufReader::new(stream);
                loop {
                    let (mut length, mut id) = (0, String::new());
                    loop {
                        let mut line = String::new();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                        let line = line.trim().to_ascii_lowercase();
                        match line.split_once(": ") {
                            Some(("content-length", value)) => length = value.parse().unwrap(),
                            Some(("event-id", value)) => id = value.to_owned(),
                            _ if line.is_empty() => break,
                            _ => {}
                        }
                    }
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).unwrap();
                    let (status, body) = answer(&id);
                    let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n", body.len());
                    if writer.write_all(format!("{head}{body}").as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// A command for all events, which answers each with a line.
const LINES: &str = r#"while read -r line; do
  id=$(printf '%s' "$line" | sed 's/^{"event":{"id":"\([^"]*\)".*/\1/')
  printf '{"id":"%s","ok":true}\n' "$id"
done
"#;

#[test]
fn commands_and_endpoints_can_be_compared_with_each_other() {
    for bench in benches() {
        bench.pipe(&["publish"], some()).ok();
        bench.file("lines.sh", LINES);
        let url = serve(|id| match id {
            "e2" => (500, "{}".to_owned()),
            "e3" => (201, r#"{"ok":true, "id":"e3"}"#.to_owned()),
            id => (200, format!(r#"{{"id":"{id}","ok":true}}"#)),
        });
        let compare = ["compare", "exec:sh lines.sh", &url, "--all", "--output", "json"];
        let report = bench.run(&compare).exits(3).json();
        assert_eq!((&report["compared"], &report["equal"]), (&json!(5), &json!(4)), "{report}");
        assert_eq!(report["differences"][0]["eventId"], "e2");
        assert_eq!(report["byPointer"], json!({"/body/id": 1, "/body/ok": 1, "/ok": 1}));
        // Two endpoints also have statuses.
        let other = serve(|id| (200, format!(r#"{{"id":"{id}","ok":true}}"#)));
        let compare = ["compare", &url, &other, "--all", "--type", "user.*", "--type", "payment.*"];
        let report = bench.run(&[&compare[..], &["--output", "json"]].concat()).exits(3).json();
        assert_eq!(
            report["byPointer"],
            json!({"/body/id": 1, "/body/ok": 1, "/ok": 1, "/status": 2}),
            "{report}"
        );
    }
}

#[test]
fn an_answer_that_does_not_come_is_a_difference() {
    let bench = Bench::with(&some()).env("EVENT_REPLAY_TIMEOUT", "2000");
    let slow = "exec1:sh -c 'grep -q event-456789 && exec sleep 60; echo same'";
    let report = bench.run(&["compare", slow, slow, "--all", "--output", "json"]).exits(3).json();
    assert_eq!((&report["equal"], &report["different"]), (&json!(4), &json!(1)));
    assert_eq!(report["unanswered"], json!({"old": 1, "new": 1}));
    let missing = &report["differences"][0]["differences"][0];
    assert_eq!(missing["pointer"], "/error");
    assert!(missing["old"].as_str().unwrap().contains("did not end within 2s"), "{missing}");
    bench
        .run(&["compare", slow, "exec1:echo same", "--all"])
        .exits(3)
        .prints("without an answer: 1 by OLD, 0 by NEW");
}

#[test]
fn a_target_that_cannot_be_reached_ends_the_comparison_with_a_report() {
    let bench = Bench::with(&some());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}/?key=hidden", listener.local_addr().unwrap());
    drop(listener);
    let said = bench.run(&["compare", "exec1:true", &closed, "--all", "--output", "json"]).exits(1);
    assert!(!said.stderr.contains("hidden"), "{said:?}");
    let said = said.says("NEW: http://127.0.0.1").says("cannot be reached").says("compared 0 events before");
    assert_eq!((&said.json()["ended"], &said.json()["compared"]), (&json!("newUnreachable"), &json!(0)));
}

#[test]
fn wrong_targets_and_flags_are_refused_before_anything_is_sent() {
    let bench = Bench::with(&some());
    let compare = |args: &[&str]| bench.run(&[&["compare"], args].concat());
    compare(&["exec1:true"]).exits(2).says("NEW");
    compare(&["exec1:touch sent", "stdout", "--all"])
        .exits(2)
        .says("NEW: stdout gives no answers to compare");
    compare(&["groups", "exec1:touch sent", "--all"]).exits(2).says("OLD: groups gives no answers");
    compare(&["exec1:touch sent", "exec1:sh -c 'open", "--all"])
        .exits(2)
        .says("NEW exec1: the command's quotes");
    compare(&["exec1:touch sent", "env:NOT_SET", "--all"])
        .exits(2)
        .says("NEW: the environment variable NOT_SET");
    compare(&["exec1:touch sent", "exec1:true"]).exits(2).says("add --all");
    compare(&["exec1:touch sent", "exec1:true", "--all", "--ignore", "at"]).exits(2).says("begins with /");
    compare(&["exec1:touch sent", "exec1:true", "--all", "--rate", "0"]).exits(2);
    compare(&["exec1:touch sent", "exec1:true", "--all", "--max-differences", "-1"]).exits(2);
    compare(&["exec1:touch sent", "exec1:/no/such/program", "--all"]).exits(1).says("NEW: cannot start");
    assert!(!bench.path("sent").exists());
    compare(&["exec1:true", "http://me:secret@127.0.0.1:9/", "--event-id", "none"])
        .ok()
        .says("NEW: a password on the command line can be read by every user")
        .prints("compared 0 events");
}

#[test]
fn an_interrupted_comparison_prints_what_it_has() {
    let bench = Bench::new();
    let events: Vec<String> =
        (0..200).map(|n| registered(&format!("e{n}"), "u1", "2024-01-15T10:30:00Z")).collect();
    bench.pipe(&["publish"], events.join("\n")).ok();
    handlers(&bench);
    let running = bench
        .start(&["compare", OLD, OLD, "--all", "--rate", "4", "--ignore", "/body/at", "--output", "json"]);
    common::consumer::wait("the first events", || match std::fs::read_to_string(bench.path("given-old")) {
        Ok(given) if given.lines().count() >= 4 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let said = running.stop().exits(1).says("the comparison was interrupted after");
    let report: Value = said.json();
    assert_eq!(report["ended"], "interrupted");
    let compared = report["compared"].as_u64().unwrap();
    assert!((1..200).contains(&compared) && report["equal"] == compared, "{report}");
}
