//! `state` and `diff`: the state of an entity at a moment, and its changes; on a file and on Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::collections::BTreeMap;

use common::Bench;
use generator::{Generator, Settings, Validity};
use serde_json::{Map, Value, json};

fn benches() -> Vec<Bench> {
    [Some(Bench::new()), Bench::on_redis()].into_iter().flatten().collect()
}

/// An event about the order `o-7`.
fn event(id: &str, event_type: &str, time: &str, data: &str) -> String {
    format!(
        r#"{{"id":"{id}","type":"{event_type}","version":"1.0","timestamp":"2024-01-15T{time}Z","source":"shop","orderId":"o-7","userId":"u1","metadata":{{}},"data":{data}}}"#
    )
}

/// Five events of an order. The event `late` was stored after younger events.
fn publish(bench: &Bench) {
    let events = [
        event(
            "placed",
            "order.placed",
            "10:00:00",
            r#"{"items":["a","b"],"to":{"city":"Bonn","zip":"53111"},"total":10}"#,
        ),
        event("paid", "payment.processed", "11:00:00", r#"{"paid":123456789012345678901234567890.50}"#),
        event(
            "moved",
            "order.changed",
            "12:00:00",
            r#"{"to":{"city":"Köln","zip":null},"items":["a"],"total":10.0}"#,
        ),
        event("late", "order.noted", "10:30:00", r#"{"note":"ring twice"}"#),
        event("sent", "order.sent", "13:00:00", r#"{"note":null,"sent":true}"#),
    ];
    bench.pipe(&["publish", "--no-validation"], events.join("\n")).ok();
}

fn state(bench: &Bench, args: &[&str]) -> Value {
    bench.json(&[&["state", "order=o-7"], args].concat())
}

#[test]
fn a_state_is_the_merge_of_the_events_up_to_a_moment() {
    for bench in benches() {
        publish(&bench);
        let now = bench.run(&["state", "order=o-7", "--output", "json"]).ok();
        // The number keeps all its digits.
        let now = now.prints(r#""paid":123456789012345678901234567890.50"#);
        let now = now.json();
        let last = json!({
            "id": "sent", "type": "order.sent", "timestamp": "2024-01-15T13:00:00Z", "position": "0:5",
        });
        assert_eq!(
            (&now["entity"], &now["at"], &now["events"]),
            (&json!("order=o-7"), &Value::Null, &json!(5))
        );
        assert_eq!((&now["last"], &now["corrupt"], &now["incomplete"]), (&last, &json!(0), &json!(false)));
        assert_eq!(
            (&now["state"]["items"], &now["state"]["to"], &now["state"]["sent"], now["state"].get("note")),
            (&json!(["a"]), &json!({"city": "Köln"}), &json!(true), None)
        );
        // The moment is inclusive. An event that was stored late counts for its own timestamp.
        let then = state(&bench, &["--at", "2024-01-15T10:30:00Z"]);
        let expected = json!({
            "items": ["a", "b"], "to": {"city": "Bonn", "zip": "53111"}, "total": 10, "note": "ring twice",
        });
        assert_eq!(
            (&then["state"], &then["events"], &then["last"]["id"]),
            (&expected, &json!(2), &json!("late"))
        );
        let first = state(&bench, &["--at", "2024-01-15T10:29:59Z"]);
        assert_eq!((&first["events"], &first["at"]), (&json!(1), &json!("2024-01-15T10:29:59Z")));
        let typed = state(&bench, &["--type", "order.sent", "--type", "order.n*"]);
        assert_eq!((&typed["state"], &typed["events"]), (&json!({"sent": true}), &json!(2)));
        // Every entity of an event has it.
        assert_eq!(bench.json(&["state", "user=u1"])["state"], now["state"]);
        let jq = bench.run(&["state", "order=o-7", "--jq", ".state.to.city"]).ok();
        assert_eq!(jq.stdout, "Köln\n");
    }
}

#[test]
fn people_see_the_document_and_the_last_event() {
    let bench = Bench::new();
    publish(&bench);
    let said = bench.run(&["state", "order=o-7", "--at", "2024-01-15T10:29:00Z"]).ok();
    assert_eq!(
        said.stdout,
        "{\n  \"items\": [\n    \"a\",\n    \"b\"\n  ],\n  \"to\": {\n    \"city\": \"Bonn\",\n    \"zip\": \"53111\"\n  },\n  \"total\": 10\n}\n"
    );
    said.says("1 event of order=o-7; the last is placed (order.placed) at 2024-01-15T10:00:00Z");
}

#[test]
fn a_command_folds_what_it_gets() {
    for bench in benches() {
        publish(&bench);
        bench.file(
            "fold.sh",
            "n=$(tee given | wc -l); echo \"{\\\"lines\\\": $((n)), \\\"by\\\": \\\"$1\\\"}\"\n",
        );
        let counted = state(&bench, &["--fold", "sh fold.sh 'the shell'", "--at", "2024-01-15T12:00:00Z"]);
        assert_eq!(counted["state"], json!({"lines": 4, "by": "the shell"}));
        assert_eq!((&counted["events"], &counted["last"]["id"]), (&json!(4), &json!("late")));
        // The lines are those of an export, in log order.
        let given = std::fs::read_to_string(bench.path("given")).unwrap();
        let exported = bench.run(&["export", "--to", "2024-01-15T12:00:00Z"]).ok().stdout;
        assert_eq!(given, exported);
        let diff = ["diff", "order=o-7", "--from", "2024-01-15T10:00:00Z", "--fold", "sh fold.sh x"];
        let diff = bench.run(&[&diff[..], &["--output", "json"]].concat()).exits(3).json();
        assert_eq!(diff["patch"], json!([{"op": "replace", "path": "/lines", "value": 5}]));
        assert_eq!(diff["changes"], json!([{"pointer": "/lines", "old": 1, "new": 5}]));
    }
}

#[test]
fn a_command_that_fails_is_an_error_with_its_reason() {
    let bench = Bench::new();
    publish(&bench);
    let fold = |command: &str| bench.run(&["state", "order=o-7", "--fold", command]);
    fold("sh -c 'echo the field is missing >&2; exit 4'")
        .exits(1)
        .says("--fold: the command failed: exit status: 4; its stderr ends with: the field is missing");
    fold("sh -c 'kill -9 $$'").exits(1).says("signal: 9");
    fold("echo done").exits(1).says("the command wrote no JSON document to its stdout");
    fold("true").exits(1).says("no JSON document");
    fold("echo '{} {}'").exits(1).says("no JSON document");
    fold("/no/such/program").exits(1).says("cannot start \"/no/such/program\": No such file");
    fold("sh -c 'open").exits(2).says("--fold: the command's quotes do not match");
    // A command need not read its input.
    assert_eq!(state(&bench, &["--fold", "echo []"])["state"], json!([]));
}

#[test]
fn an_entity_without_events_is_an_error() {
    for bench in benches() {
        publish(&bench);
        bench
            .run(&["state", "order=o-8"])
            .exits(1)
            .says("no event names order=o-8")
            .says("`event-replay list --entity order=o-8`");
        bench
            .run(&["state", "order=o-7", "--at", "2024-01-14"])
            .exits(1)
            .says("no event up to 2024-01-14T23:59:59");
        bench.run(&["diff", "order=o-8", "--from", "2024-01-14"]).exits(1).says("no event names order=o-8");
        bench.run(&["state", "order"]).exits(2).says("write KIND=ID");
        bench.run(&["state", "order=o-7", "--at", "soon"]).exits(2);
        bench
            .run(&["diff", "order=o-7", "--from", "2024-01-16", "--to", "2024-01-15"])
            .exits(2)
            .says("the second time is before the first");
    }
}

#[test]
fn a_diff_names_the_changed_members_and_the_events_that_changed_them() {
    for bench in benches() {
        publish(&bench);
        let args = ["diff", "order=o-7", "--from", "2024-01-15T10:30:00Z", "--to", "2024-01-15T13:00:00Z"];
        let diff = bench.run(&[&args[..], &["--output", "json"]].concat()).exits(3).json();
        let change = |pointer: &str| {
            let changes = diff["changes"].as_array().unwrap();
            changes.iter().find(|change| change["pointer"] == pointer).cloned().unwrap_or_default()
        };
        let pointers: Vec<&str> = diff["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| change["pointer"].as_str().unwrap())
            .collect();
        // The total 10 and 10.0 is the same number.
        assert_eq!(pointers, ["/items/1", "/note", "/paid", "/sent", "/to/city", "/to/zip"]);
        let cause = |pointer: &str| change(pointer)["event"]["id"].clone();
        assert_eq!(
            ["/items/1", "/note", "/paid", "/to/zip"].map(cause),
            ["moved", "sent", "paid", "moved"].map(Value::from)
        );
        let city = change("/to/city");
        assert_eq!((&city["old"], &city["new"]), (&json!("Bonn"), &json!("Köln")));
        assert!(change("/note").get("new").is_none() && change("/sent").get("old").is_none());
        assert_eq!(
            (&diff["equal"], &diff["eventsBefore"], &diff["eventsBetween"]),
            (&json!(false), &json!(2), &json!(3))
        );
        assert_eq!(diff["last"]["id"], "sent");
        bench
            .run(&args)
            .exits(3)
            .prints("~ /to/city: \"Bonn\" → \"Köln\"  by moved (order.changed) at 2024-01-15T12:00:00Z\n")
            .prints("- /note: \"ring twice\"  by sent")
            .prints("+ /sent: true")
            .says(
                "6 members differ; 3 events between; the last is sent (order.sent) at 2024-01-15T13:00:00Z",
            );
        let coloured = bench.run(&[&args[..], &["--color", "always"]].concat()).exits(3);
        assert!(coloured.stdout.contains("\u{1b}["), "{}", coloured.stdout);
        let same = ["diff", "order=o-7", "--from", "2024-01-15T13:00:00Z"];
        let equal = bench.json(&same);
        assert_eq!(
            (&equal["equal"], &equal["patch"], &equal["to"]),
            (&json!(true), &json!([]), &Value::Null)
        );
        bench.run(&same).ok().says("the states are equal; 0 events between");
    }
}

#[test]
fn a_state_changes_nothing_in_the_store() {
    let bench = Bench::new();
    publish(&bench);
    let before = std::fs::read(bench.path("events.db")).unwrap();
    state(&bench, &[]);
    bench.run(&["diff", "order=o-7", "--from", "2024-01-15"]).exits(3);
    assert_eq!(std::fs::read(bench.path("events.db")).unwrap(), before);
    assert_eq!(bench.run(&["audit", "list", "--output", "ndjson"]).ok().stdout, "");
}

#[test]
fn a_state_after_retention_says_that_it_may_lack_events() {
    let bench = Bench::new();
    publish(&bench);
    bench.run(&["trim", "--max-events", "3", "--yes"]).ok();
    let now = bench
        .run(&["state", "order=o-7", "--output", "json"])
        .ok()
        .says("retention has removed events")
        .json();
    assert_eq!((&now["incomplete"], &now["events"]), (&json!(true), &json!(3)));
}

/// The merge of RFC 7396, written apart from the program: it builds a new document for each patch.
fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let own = target.as_object().cloned().unwrap_or_default();
    let kept = own.iter().filter(|(name, _)| !changes.contains_key(*name));
    let changed = changes.iter().filter(|(_, change)| !change.is_null());
    let changed =
        changed.map(|(name, change)| (name.clone(), merged(own.get(name).unwrap_or(&Value::Null), change)));
    kept.map(|(name, value)| (name.clone(), value.clone())).chain(changed).collect::<Map<_, _>>().into()
}

/// Returns the state of an entity at a moment, from the published lines alone.
fn expected(events: &[Value], member: &str, id: &str, until: Option<&str>) -> (u64, Value) {
    let names = |event: &&Value| event[member] == id;
    let until = until.map(|text| text.parse::<jiff::Timestamp>().unwrap());
    let is_before = |event: &&Value| {
        let own: jiff::Timestamp = event["timestamp"].as_str().unwrap().parse().unwrap();
        until.is_none_or(|until| own <= until)
    };
    let chosen: Vec<&Value> = events.iter().filter(names).filter(is_before).collect();
    let data = chosen.iter().map(|event| &event["data"]).filter(|data| !data.is_null());
    let state = data.fold(json!({}), |state, data| merged(&state, data));
    (chosen.len() as u64, state)
}

/// Compares states and differences with an independent fold of the generator's lines.
#[test]
fn states_and_differences_are_those_of_the_published_lines() {
    let events: Vec<Value> = Generator::new(Settings::demo(600))
        .filter(|event| event.validity == Validity::Valid)
        .map(|event| serde_json::from_str(&event.json).unwrap())
        .collect();
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    let mut busiest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for event in &events {
        for member in ["userId", "courseId", "labId"] {
            if let Some(id) = event[member].as_str() {
                *busiest.entry((member, id)).or_default() += 1;
            }
        }
    }
    let mut busiest: Vec<_> = busiest.into_iter().collect();
    busiest.sort_by_key(|(_, events)| std::cmp::Reverse(*events));
    assert!(busiest[0].1 > 10, "{busiest:?}");
    let middle = events[events.len() / 2]["timestamp"].as_str().unwrap();
    for bench in benches() {
        bench.pipe(&["import", "--no-validation", "-"], lines.join("\n")).ok();
        for ((member, id), _) in busiest.iter().take(5) {
            let entity = format!("{}={id}", member.trim_end_matches("Id"));
            let [(before, old), (all, new)] =
                [Some(middle), None].map(|until| expected(&events, member, id, until));
            let now = bench.json(&["state", &entity]);
            assert_eq!((&now["state"], &now["events"]), (&new, &json!(all)), "{entity}");
            if before == 0 {
                continue;
            }
            let then = bench.json(&["state", &entity, "--at", middle]);
            assert_eq!((&then["state"], &then["events"]), (&old, &json!(before)), "{entity} at {middle}");
            let code = if old == new { 0 } else { 3 };
            let diff = ["diff", &entity, "--from", middle, "--output", "json"];
            let diff = bench.run(&diff).exits(code).json();
            assert_eq!((&diff["eventsBetween"], &diff["equal"]), (&json!(all - before), &json!(old == new)));
            assert_eq!(patched(&old, diff["patch"].as_array().unwrap()), new, "{entity}: {diff}");
        }
    }
}

/// Applies the operations of a JSON Patch that `diff` writes.
fn patched(document: &Value, patch: &[Value]) -> Value {
    let mut document = document.clone();
    for operation in patch {
        let path = operation["path"].as_str().unwrap();
        let Some((parent, name)) = path.rsplit_once('/') else {
            document = operation["value"].clone();
            continue;
        };
        let name = name.replace("~1", "/").replace("~0", "~");
        match document.pointer_mut(parent).unwrap() {
            Value::Object(members) if operation["op"] == "remove" => drop(members.remove(&name).unwrap()),
            Value::Object(members) => drop(members.insert(name, operation["value"].clone())),
            Value::Array(elements) => {
                let index: usize = name.parse().unwrap();
                match operation["op"].as_str().unwrap() {
                    "remove" => drop(elements.remove(index)),
                    "add" => elements.insert(index, operation["value"].clone()),
                    _ => elements[index] = operation["value"].clone(),
                }
            }
            other => panic!("{path} in {other}"),
        }
    }
    document
}
