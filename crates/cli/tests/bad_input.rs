//! Bad input: each command prints a clear error, exits with the right code, and changes nothing.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, registered, some};

fn event() -> String {
    registered("bad-1", "u", "2024-01-15T10:30:00Z")
}

/// Publishes one line, and returns its first violation.
fn refused(input: impl AsRef<[u8]>) -> (String, String, String) {
    let bench = Bench::new();
    let report = bench.pipe(&["publish", "--output", "json"], input).exits(3).json();
    assert_eq!((&report["stored"], &report["rejected"]), (&0.into(), &1.into()), "{report}");
    let violation = &report["errors"][0]["violations"][0];
    let text = |name: &str| violation[name].as_str().unwrap().to_owned();
    (text("pointer"), text("rule"), text("message"))
}

#[track_caller]
fn is_refused(input: impl AsRef<[u8]>, pointer: &str, rule: &str, message: &str) {
    let said = refused(input);
    assert_eq!((said.0.as_str(), said.1.as_str()), (pointer, rule), "{said:?}");
    assert!(said.2.contains(message), "{said:?} lacks {message:?}");
}

#[test]
fn bad_json_is_named() {
    let with = |from: &str, to: &str| event().replacen(from, to, 1);
    is_refused(with("{\"id\"", "{\"id\":\"first\",\"id\""), "", "json", "\"id\" occurs twice");
    is_refused(
        with("\"email\"", "\"em\\u0061il\":\"x\",\"email\""),
        "/data",
        "json",
        "\"email\" occurs twice",
    );
    is_refused(with("\"metadata\":{}", "\"metadata\":{\"n\":NaN}"), "", "json", "not JSON");
    is_refused(with("\"metadata\":{}", "\"metadata\":{\"n\":Infinity}"), "", "json", "not JSON");
    is_refused(with("\"metadata\":{}", "\"metadata\":{\"n\":1e999}"), "/metadata", "json", "out of range");
    is_refused(
        with("\"metadata\":{}", "\"metadata\":{},\"count\":18446744073709551616"),
        "/count",
        "limit",
        "64 bits",
    );
    is_refused(format!("\u{feff}{}", event()), "", "json", "byte order mark");
    is_refused(format!("{} x", event()), "", "json", "trailing");
    is_refused(b"{\"id\":\"\xff\"}", "", "json", "not UTF-8");
    is_refused("[]", "", "type", "expected an event, which is a JSON object, and found an array");
    is_refused("17", "", "type", "found a number");
    is_refused(format!("[{},\"0:1\"]", event()), "", "type", "found an array");
    is_refused("{\"id\":", "", "json", "ends too early");
    let deep = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    is_refused(
        with("\"metadata\":{}", &format!("\"metadata\":{{}},\"deep\":{deep}")),
        "/deep",
        "json",
        "nested too deep",
    );
}

#[test]
fn bad_ids_and_names_are_named() {
    let with = |from: &str, to: &str| event().replacen(from, to, 1);
    is_refused(with("bad-1", ""), "/id", "limit", "is empty");
    is_refused(with("bad-1", &"é".repeat(65)), "/id", "limit", "130 bytes; the limit is 128");
    is_refused(with("bad-1", "a\\u0000b"), "/id", "limit", "NUL");
    is_refused(with("\"bad-1\"", "17"), "/id", "type", "must be a string");
    is_refused(with("\"id\":\"bad-1\",", ""), "/id", "required", "is required");
    is_refused(with("user-service", ""), "/source", "limit", "is empty");
    is_refused(with("\"c-u\"", "\"\""), "/correlationId", "limit", "is empty");
    is_refused(with("\"userId\":\"u\"", "\"userId\":\"\""), "/userId", "limit", "is empty");
    is_refused(with("\"metadata\":{}", "\"metadata\":[]"), "/metadata", "type", "must be an object");
}

#[test]
fn bad_times_are_named() {
    for (time, message) in [
        ("2024-01-15T23:59:60Z", "leap seconds"),
        ("2024-01-15T24:00:00Z", "hours go from 00 to 23"),
        ("2024-02-30T00:00:00Z", "no such day"),
        ("0000-01-01T00:00:00Z", "years go from 0001"),
        ("2024-01-15T10:30:00", "needs a zone"),
        ("yesterday", "a timestamp looks like"),
    ] {
        is_refused(registered("t", "u", time), "/timestamp", "date-time", message);
        if time != "yesterday" {
            Bench::with(&some()).run(&["list", "--from", time]).exits(2).says(message);
        }
    }
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(25);
    is_refused(registered("t", "u", &ahead.to_string()), "/timestamp", "limit", "ahead");
    let bench = Bench::new().env("EVENT_REPLAY_LIMITS_MAX_AHEAD", "48h");
    bench.pipe(&["publish"], registered("t", "u", &ahead.to_string())).ok();
}

#[test]
fn an_event_may_have_a_mebibyte_and_not_a_byte_more() {
    let padded = |bytes: usize| {
        let event = event();
        let pad = "x".repeat(bytes - event.len() - "\"pad\":\"\",".len());
        event.replacen('{', &format!("{{\"pad\":\"{pad}\","), 1)
    };
    Bench::new().pipe(&["publish"], padded(1024 * 1024)).ok();
    is_refused(padded(1024 * 1024 + 1), "", "limit", "1048577 bytes; the limit is 1048576");
}

#[test]
fn an_endless_line_is_passed_over_and_the_rest_stored() {
    let mut input = vec![b'x'; 40 * 1024 * 1024];
    input.push(b'\n');
    input.extend_from_slice(some().as_bytes());
    let said = Bench::new().pipe(&["publish", "--output", "json"], input).exits(3);
    let report = said.json();
    assert_eq!((&report["stored"], &report["rejected"]), (&5.into(), &1.into()));
    let message = report["errors"][0]["violations"][0]["message"].as_str().unwrap();
    assert!(message.contains("41943040 bytes"), "{message}");
}

#[test]
fn bad_flags_are_usage_errors_that_teach() {
    let bench = Bench::with(&some());
    for (args, message) in [
        (&["list", "--limit", "0"][..], "a limit is a whole number from 1"),
        (&["list", "--limit", "-1"], "a limit is a whole number from 1"),
        (&["list", "--limit", "9223372036854775808"], "a limit is a whole number from 1"),
        (&["list", "--limit", "NaN"], "a limit is a whole number from 1"),
        (&["replay", "--all", "--target", "stdout", "--rate", "0"], "a rate is a number of events a second"),
        (
            &["replay", "--all", "--target", "stdout", "--rate", "NaN"],
            "a rate is a number of events a second",
        ),
        (&["replay", "--all", "--target", "stdout", "--delay", "-5"], "a delay is a number of milliseconds"),
        (
            &["replay", "--all", "--target", "stdout", "--batch-size", "0"],
            "a batch size is a whole number from 1",
        ),
        (&["replay", "--all", "--target", "stdout", "--max-retries", "x"], "a number of retries"),
        (
            &["list", "--from", "2024-02-01T00:00:00Z", "--to", "2024-01-01T00:00:00Z"],
            "the time range is empty",
        ),
        (&["list", "--from", "soon"], "a time is RFC 3339"),
        (&["list", "--entity", "user"], "write KIND=ID"),
        (&["list", "--type", ""], "it is empty"),
        (&["list", "--where", "data.amount >"], "line 1, column 14: unexpected end"),
        (&["list", "--where", "startswith(type, 'x')"], "did you mean startsWith, as in type.startsWith(…)?"),
        (&["trim", "--max-age", "-1d"], "a duration is a number with a unit"),
        (&["trim", "--max-events", "-1"], "a number of events is a whole number from 0"),
        (&["trim", "--max-bytes", "NaN"], "a size is a number of bytes"),
        (&["tail", "--lines", "-1"], "a number of lines is a whole number from 0"),
        (&["replay", "--all", "--target", "stdout", "--batch-size", "10001"], "from 1 to 10000"),
        (
            &["replay", "--all", "--target", "stdout", "--rate", "1e400"],
            "a rate is a number of events a second",
        ),
        (&["list", "--from", "2024-01-32"], "is not a date of the calendar"),
        (&["list", "--after", "0:3"], "not a cursor"),
        (&["checkpoint", "c", "e1", "--metadata", "{"], "and this ends too early"),
        (&["list", "--after", "AfoG9RU1kBFqAQGhAvNnXl1"], "not a cursor"),
        (&["replay", "--target", "stdout"], "this would replay every event"),
        (&["replay", "--dry-run"], "add --all"),
        (
            &["replay", "--type", "user.*", "--target", "file.ndjson"],
            "a target is groups, stdout, exec:COMMAND",
        ),
        (&["replay-user", "u", "--user-id", "v", "--target", "stdout"], "names its user already"),
        (&["erase"], "erase needs an entity"),
        (&["erase", "user=user-123"], "add --yes"),
        (&["trim"], "no retention rules"),
        (&["trim", "--max-events", "1"], "add --yes"),
        (&["checkpoint", "c", "e1", "--metadata", "[]"], "metadata is a JSON object"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["list", "--store", "events.db"], "write sqlite:events.db"),
        (&["list", "--store", "redis://:secret@host"], "a password on the command line"),
        (&["list", "--config", "nowhere.toml"], "there is no such file"),
    ] {
        let said = bench.run(args);
        assert_eq!(said.code, 2, "{args:?}: {said:#?}");
        assert!(said.stderr.contains(message), "{args:?}: {said:#?}");
        assert!(said.stdout.is_empty() && !said.stderr.contains("secret"), "{args:?}: {said:#?}");
    }
    assert_eq!(bench.json(&["stats"])["events"], 5);
}

#[test]
fn an_empty_list_of_ids_is_not_every_event() {
    let bench = Bench::with(&some());
    bench.file("ids.txt", "\n\n");
    bench.run(&["list", "--ids", "ids.txt"]).exits(2).says("the file lists no ids");
}

#[test]
fn a_cursor_of_another_store_is_refused() {
    let (one, other) = (Bench::with(&some()), Bench::with(&some()));
    let cursor = one.json(&["list", "--limit", "1"])["nextCursor"].as_str().unwrap().to_owned();
    other.run(&["list", "--after", &cursor]).exits(2).says("belongs to another store");
}

#[test]
fn an_edited_cursor_is_refused_wherever_it_was_edited() {
    let bench = Bench::with(&some());
    let cursor = bench.json(&["list", "--limit", "1"])["nextCursor"].as_str().unwrap().to_owned();
    for at in 0..cursor.len() {
        let mut edited = cursor.clone().into_bytes();
        edited[at] = if edited[at] == b'A' { b'B' } else { b'A' };
        let edited = String::from_utf8(edited).unwrap();
        bench.run(&["list", "--after", &edited]).exits(2).says("this is not a cursor");
    }
}

#[test]
fn a_cursor_of_a_lost_place_is_not_taken_for_another() {
    let bench = Bench::with(&some());
    bench.run(&["backup", "copy.db"]).ok();
    bench.pipe(&["publish"], registered("later", "u", "2024-01-15T10:30:00Z")).ok();
    let cursor = bench.json(&["list", "--limit", "1"])["nextCursor"].as_str().unwrap().to_owned();
    bench.run(&["restore", "copy.db", "--replace", "--yes"]).ok();
    bench.run(&["list", "--after", &cursor]).exits(1).says("points past data that this log has lost");
}

#[test]
fn files_that_are_no_events_are_named_for_what_they_are() {
    let bench = Bench::with(&some());
    bench.run(&["backup", "copy.db"]).ok();
    bench.file("cut.gz", b"\x1f\x8bgarbage");
    bench.file("cut.zst", b"\x28\xb5\x2f\xfdgarbage");
    bench.file("array.json", "[{\"id\":\"a\"},\n{\"id\":\"b\"}]");
    bench.file("latin.txt", b"caf\xe9\n");
    for (args, message) in [
        (&["import", "copy.db"][..], "this is a database, as stores and backups are"),
        (&["import", "cut.gz"], "its gzip data are damaged or cut short"),
        (&["import", "cut.zst"], "its zstd data are damaged or cut short"),
        (&["import", "--atomic", "cut.gz"], "nothing was stored, because --atomic stores all or nothing"),
        (&["import", "array.json"], "jq -c '.[]'"),
        (&["import", "."], "this is a folder; name a file in it"),
        (&["schemas", "add", "x", "nowhere.json"], "there is no such file; nothing was changed"),
        (&["schemas", "check", "x", "."], "this is a folder"),
        (&["list", "--ids", "nowhere.txt"], "--ids nowhere.txt: there is no such file"),
        (&["list", "--ids", "latin.txt"], "the file is not UTF-8 text"),
        (&["list", "--ids", "/dev/zero"], "line 1 has 1024 bytes or more, and ids have 1 to 128"),
        (&["import", "/dev/zero"], "bytes and no end"),
        (&["validate", "cut.gz"], "this command stores nothing"),
        (&["init", "--store", "sqlite:."], "sqlite:. is a folder, and a store is a file"),
        (&["checkpoint", "c", "nowhere"], "no event with the id \"nowhere\" is stored"),
    ] {
        let said = bench.run(args).exits(1).says(message);
        assert!(said.stdout.is_empty(), "{said:?}");
    }
    assert_eq!(bench.json(&["stats"])["events"], 5);
}

#[test]
fn a_path_that_is_no_store_is_left_as_it_is() {
    let bench = Bench::new();
    for args in [
        &["list"][..],
        &["show", "e1"],
        &["tail"],
        &["stats"],
        &["export"],
        &["verify"],
        &["checkpoints", "list"],
        &["checkpoint", "c"],
        &["replay", "--all", "--target", "stdout"],
        &["replay-user", "u", "--dry-run"],
        &["recover", "c", "--dry-run"],
        &["erase", "user=u", "--yes"],
        &["trim", "--max-events", "1", "--yes"],
        &["backup", "copy.db"],
        &["schemas", "remove", "x"],
    ] {
        bench.run(args).exits(1).says("there is no store at sqlite:events.db (from EVENT_REPLAY_STORE)");
        assert!(!bench.path("events.db").exists(), "{args:?} made a store");
    }
    bench.file(
        "events.db",
        "this is a letter to my grandmother, not a database, and it is long enough to have a header",
    );
    let before = std::fs::read(bench.path("events.db")).unwrap();
    for args in [&["list"][..], &["init"], &["publish"]] {
        bench.run(args).exits(1).says("sqlite:events.db");
    }
    assert_eq!(std::fs::read(bench.path("events.db")).unwrap(), before);
}

#[test]
fn bad_schemas_are_refused_and_not_added() {
    let bench = Bench::new();
    for (schema, message) in [
        ("{", "not JSON"),
        ("[]", "a schema is an object"),
        (r##"{"$ref":"#/definitions/Nowhere"}"##, "leads to nothing"),
        (r#"{"$ref":"https://example.com/s.json"}"#, "network"),
        (r##"{"$ref":"#"}"##, "leads back to itself"),
        (r#"{"type":"strnig"}"#, "is not valid"),
        (r#"{"properties":{"a":{"pattern":"("}}}"#, "pattern"),
    ] {
        bench.file("s.json", schema);
        bench.run(&["schemas", "add", "x", "s.json"]).exits(1).says(message);
        assert!(!bench.path("events.db").exists(), "{schema}");
    }
    bench.file("s.json", "{\"definitions\":{}}");
    bench
        .run(&["schemas", "add", "x", "s.json", "--pointer", "/definitions/X"])
        .exits(1)
        .says("leads to nothing");
}

#[test]
fn a_pattern_that_explodes_elsewhere_answers_here() {
    let bench = Bench::new();
    bench.file("s.json", r#"{"properties":{"text":{"type":"string","pattern":"^(a+)+$"}}}"#);
    bench.run(&["schemas", "add", "x", "s.json", "--data"]).ok();
    let text = format!("{}b", "a".repeat(100_000));
    let event = event()
        .replace("user.registered", "x")
        .replace("\"data\":{", &format!("\"data\":{{\"text\":\"{text}\","));
    let said = bench.pipe(&["publish"], event).exits(3).prints("/data/text");
    assert!(said.stdout.len() < 2_000, "the sentence quotes an excerpt: {}", said.stdout.len());
}

#[test]
fn arguments_never_steer_the_terminal() {
    let bench = Bench::with(&some());
    for text in ["a\rb", "a\u{9b}2Jb", "a\u{202e}b", "a\u{1b}[31mb"] {
        for args in [
            &["no-such-command", text][..],
            &[text],
            &["list", "--limit", text],
            &["list", "--order", text],
            &["list", &format!("--{text}")],
            &["consume", "mail", "--target", text],
            &["consume", "mail", "--target", &format!("env:{text}")],
            &["consume", "mail", "--target", &format!("file:{text}")],
            &["consume", "mail", "--target", &format!("exec:{text}")],
            &["replays", "show", text],
            &["groups", "show", text],
            &["checkpoint", "c", text],
            &["recover", text],
            &["list", "--store", text],
            &["list", "--config", text],
        ] {
            let said = bench.run(args);
            assert_ne!(said.code, 0, "{args:?}");
            let raw = said.stderr.chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
            assert_eq!(raw, None, "{args:?}: {:?}", said.stderr);
        }
    }
}

#[test]
fn a_target_may_be_kept_from_the_command_line() {
    let bench = Bench::with(&some()).env("MAIL_TARGET", "ftp://me:secret@host/");
    bench.file("target", "ftp://me:secret@host/\n");
    bench.file("empty", "\n");
    for (target, code, says) in [
        ("env:MAIL_TARGET", 2, "only http and https"),
        ("file:target", 2, "only http and https"),
        ("env:NO_SUCH", 2, "the environment variable NO_SUCH is not set"),
        ("file:no-such", 1, "the file no-such cannot be read"),
        ("file:empty", 2, "the file empty is empty"),
    ] {
        for command in [&["consume", "mail"][..], &["replay", "--all"]] {
            let said = bench.run(&[command, &["--target", target]].concat()).exits(code).says(says);
            assert!(!said.stderr.contains("secret"), "{said:#?}");
        }
    }
    let open = ["replay", "--type", "none", "--target", "http://me:secret@127.0.0.1:9/"];
    let warned = bench.run(&open).says("a password on the command line can be read by every user");
    assert!(!warned.stderr.contains("secret"), "{warned:#?}");
}

#[test]
fn a_depth_that_cannot_be_read_is_refused() {
    for depth in ["129", "0", "1e3"] {
        let bench = Bench::new().env("EVENT_REPLAY_LIMITS_MAX_DEPTH", depth);
        bench.run(&["config", "show"]).exits(2).says("it is a whole number from 1 to 128");
    }
    Bench::new().env("EVENT_REPLAY_LIMITS_MAX_DEPTH", "128").run(&["config", "show"]).ok().prints("128");
}
