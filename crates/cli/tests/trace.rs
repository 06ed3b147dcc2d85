//! `trace` and `show`: the effects of events and their state in each group, on a file and on Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::Bench;
use generator::{Generator, Settings, Validity};
use serde_json::{Value, json};

fn benches() -> Vec<Bench> {
    [Some(Bench::new()), Bench::on_redis()].into_iter().flatten().collect()
}

fn event(id: &str, event_type: &str, user: &str, correlation: Option<&str>, cause: Option<&str>) -> String {
    let mut event = json!({
        "type": event_type, "version": "1.0", "source": "s", "userId": user, "metadata": {}, "data": {},
        "timestamp": format!("2024-01-15T10:00:{:02}Z", id.len() % 60),
    });
    if let Some(correlation) = correlation {
        event["correlationId"] = json!(correlation);
    }
    if let Some(cause) = cause {
        event["causationId"] = json!(cause);
    }
    // The mailer below expects the id at the start, where most publishers write it.
    let rest = event.to_string();
    format!(r#"{{"id":"{id}",{}"#, rest.trim_start_matches('{'))
}

/// A mailer that refuses one event without retry, fails on another with retry, and handles the rest.
const MAILER: &str = r#"while read -r line; do
  id=$(printf '%s' "$line" | sed 's/^{"event":{"id":"\([^"]*\)".*/\1/')
  case "$id" in
    bad*) printf '{"id":"%s","ok":false,"error":"no such mailbox","retry":false}\n' "$id" ;;
    slow*) printf '{"id":"%s","ok":false,"error":"the server is busy"}\n' "$id" ;;
    *) printf '{"id":"%s","ok":true}\n' "$id" ;;
  esac
done
"#;

fn words<'v>(trace: &'v Value, group: &str) -> BTreeMap<&'v str, &'v str> {
    let of = |event: &'v Value| {
        let deliveries = event["deliveries"].as_array().unwrap();
        let of_group = deliveries.iter().find(|delivery| delivery["group"] == group).unwrap();
        (event["id"].as_str().unwrap(), of_group["state"].as_str().unwrap())
    };
    trace["events"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn a_trace_says_what_each_group_did_with_each_event() {
    for bench in benches() {
        bench.file("mailer.sh", MAILER);
        bench.run(&["init"]).ok();
        bench.run(&["groups", "create", "mailer", "--type", "user.*"]).ok();
        bench.run(&["groups", "create", "idle"]).ok();
        let lines = [
            event("root", "user.registered", "u1", Some("w"), None),
            event("paid", "payment.processed", "u1", Some("w"), Some("root")),
            event("bad", "user.registered", "u2", Some("w"), Some("root")),
            event("slow", "user.registered", "u3", Some("w"), Some("bad")),
            event("later", "user.registered", "u3", Some("w"), Some("slow")),
        ];
        bench.pipe(&["publish", "--no-validation"], lines.join("\n")).ok();
        let consumer =
            bench.start(&["consume", "mailer", "--target", "exec:sh mailer.sh", "--max-retries", "9"]);
        consumer.says("bad (user.registered) at 0:3 failed permanently");
        common::consumer::wait("the failing event", || {
            let trace = bench.json(&["trace", "w"]);
            match (words(&trace, "mailer")["slow"], words(&trace, "mailer")["root"]) {
                ("retrying" | "inFlight", "handled") => Ok(()),
                _ => Err(trace.to_string()),
            }
        });
        consumer.stop();
        let trace = bench.json(&["trace", "w"]);
        let expected = [
            ("bad", "deadLetter"),
            ("later", "blocked"),
            ("paid", "skipped"),
            ("root", "handled"),
            ("slow", "retrying"),
        ];
        assert_eq!(words(&trace, "mailer"), BTreeMap::from(expected), "{trace}");
        assert!(words(&trace, "idle").values().all(|word| *word == "waiting"), "{trace}");
        let of =
            |id: &str| trace["events"].as_array().unwrap().iter().find(|event| event["id"] == id).unwrap();
        let delivery = |id: &str| of(id)["deliveries"].as_array().unwrap()[1].clone();
        assert_eq!(delivery("slow")["error"], "the server is busy");
        assert_eq!(delivery("later")["behind"], of("slow")["position"]);
        assert_eq!(delivery("paid")["reason"], "type");
        let letter = &delivery("bad")["deadLetter"];
        assert_eq!((&letter["state"], &letter["error"]), (&json!("open"), &json!("no such mailbox")));

        // `show` prints the same state for one event, with its cause and its effects.
        let shown = bench.json(&["show", "bad"])["events"][0].clone();
        assert_eq!(shown["event"]["id"], "bad");
        assert_eq!(shown["deliveries"], of("bad")["deliveries"]);
        assert_eq!(shown["cause"], json!({"id": "root", "type": "user.registered"}));
        assert_eq!(shown["effects"], json!([{"id": "slow", "type": "user.registered"}]));

        // The table has a tree of events, and a column for each group.
        let text = bench.run(&["trace", "w"]).ok();
        for part in
            ["EVENT", "MAILER", "├─ paid", "└─ bad", "   └─ slow", "dead letter", "blocked behind", "skipped"]
        {
            assert!(text.stdout.contains(part), "{part:?} in\n{}", text.stdout);
        }
    }
}

#[test]
fn a_trace_names_orphans_circles_and_replays() {
    for bench in benches() {
        let lines = [
            event("w", "user.registered", "u1", None, None),
            event("lost", "user.registered", "u1", Some("w"), Some("gone")),
            event("other", "user.registered", "u1", Some("elsewhere"), None),
            event("far", "user.registered", "u1", Some("w"), Some("other")),
            event("one", "user.registered", "u1", Some("w"), Some("two")),
            event("two", "user.registered", "u1", Some("w"), Some("one")),
            event("child", "user.registered", "u1", Some("w"), Some("w")),
        ];
        bench.pipe(&["publish", "--no-validation"], lines.join("\n")).ok();
        bench.run(&["replay", "--correlation-id", "elsewhere", "--target", "stdout"]).ok();
        bench.run(&["replay", "--correlation-id", "w", "--type", "user.*", "--target", "stdout"]).ok();
        let trace = bench.json(&["trace", "w"]);
        // The event whose id equals the correlation id is the root, although it has no correlation id itself.
        assert_eq!((&trace["totalEvents"], &trace["truncated"]), (&json!(6), &json!(false)), "{trace}");
        assert_eq!(trace["orphans"], json!(["lost", "far"]));
        assert_eq!(trace["cycles"], json!(["one", "two"]));
        let of =
            |id: &str| trace["events"].as_array().unwrap().iter().find(|event| event["id"] == id).unwrap();
        assert_eq!((&of("child")["depth"], &of("two")["depth"]), (&json!(1), &json!(1)));
        assert_eq!(of("far")["causeCorrelationId"], "elsewhere");
        assert!(of("lost").get("causeCorrelationId").is_none());
        let replays = trace["replays"].as_array().unwrap();
        assert_eq!(
            (replays.len(), &replays[0]["events"], &replays[0]["state"]),
            (1, &json!(5), &json!("COMPLETED"))
        );
        assert_eq!(of("lost")["replays"], json!([{"id": replays[0]["id"], "state": "sent"}]));
        assert_eq!(of("w")["replays"], json!([]));
        bench
            .run(&["trace", "w"])
            .ok()
            .prints("(orphan)")
            .prints("(cycle)")
            .says("lost: its cause gone is not in the log");
        bench.run(&["trace", "w", "--limit", "2"]).ok().says("3 of 6 events");
        bench.run(&["trace", "nothing"]).exits(1).says("no event has the correlation id \"nothing\"");
    }
}

/// Compares the trace of the generator's workflows with the causes in the generated lines.
#[test]
fn traces_are_the_generators_trees() {
    for bench in benches() {
        let events: Vec<Value> = Generator::new(Settings::demo(3_000))
            .filter(|event| event.validity == Validity::Valid)
            .map(|event| serde_json::from_str(&event.json).unwrap())
            .collect();
        let lines: Vec<String> = events.iter().map(Value::to_string).collect();
        bench.pipe(&["import", "--no-validation", "-"], lines.join("\n")).ok();
        let mut workflows: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for event in &events {
            workflows.entry(event["correlationId"].as_str().unwrap()).or_default().push(event);
        }
        // The largest workflows have the deepest trees.
        let mut largest: Vec<_> = workflows.into_iter().collect();
        largest.sort_by_key(|(_, events)| std::cmp::Reverse(events.len()));
        assert!(largest[0].1.len() > 2, "{largest:?}");
        for (correlation, events) in largest.into_iter().take(12) {
            let trace = bench.json(&["trace", correlation]);
            let traced = trace["events"].as_array().unwrap();
            let known: BTreeSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
            let shown: BTreeSet<&str> = traced.iter().map(|event| event["id"].as_str().unwrap()).collect();
            assert_eq!(shown, known, "{correlation}");
            // The parent of an event in the tree is the last event before it with a depth of one less.
            let mut path: Vec<&str> = vec![];
            for event in traced {
                let depth = event["depth"].as_u64().unwrap() as usize;
                path.truncate(depth);
                let own = events.iter().find(|own| own["id"] == event["id"]).unwrap();
                let cause = own["causationId"].as_str().filter(|cause| known.contains(cause));
                assert_eq!(path.last().copied(), cause, "{correlation}: {event}");
                path.push(event["id"].as_str().unwrap());
            }
            let orphans = events
                .iter()
                .filter(|event| event["causationId"].as_str().is_some_and(|cause| !known.contains(cause)));
            assert_eq!(trace["orphans"].as_array().unwrap().len(), orphans.count(), "{correlation}");
        }
    }
}
