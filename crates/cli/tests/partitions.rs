//! Every command on a store with sixteen partitions. The output equals the output with one partition, except for the
//! order of simultaneous events with different keys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Bench, ids, paid, registered};
use serde_json::{Value, json};

const USERS: usize = 30;
const EVENTS: usize = 400;

fn event(n: usize) -> String {
    let (id, user) = (format!("e{n}"), format!("user-{}", n % USERS));
    match n % 3 {
        0 => registered(&id, &user, &format!("2024-01-{:02}T10:30:00Z", 1 + n % 28)),
        _ => paid(&id, &user, &n.to_string()),
    }
}

fn lines(range: std::ops::Range<usize>) -> String {
    range.map(event).collect::<Vec<_>>().join("\n")
}

/// Returns a bench with these events in sixteen partitions.
fn divided() -> Option<Bench> {
    let bench = Bench::on_redis()?;
    bench
        .run(&["init", "--partitions", "16"])
        .ok()
        .prints("created an empty store in 16 partitions: redis://");
    let imported = bench.pipe(&["import", "--output", "json"], lines(0..EVENTS)).ok().json();
    assert_eq!(imported["stored"], EVENTS);
    Some(bench)
}

/// Returns the ids by user, in the order of the lines.
fn by_user(lines: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let event = &line["event"];
        let user = event["userId"].as_str().unwrap().to_owned();
        ids.entry(user).or_default().push(event["id"].as_str().unwrap().to_owned());
    }
    ids
}

fn expected_by_user() -> BTreeMap<String, Vec<String>> {
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for n in 0..EVENTS {
        ids.entry(format!("user-{}", n % USERS)).or_default().push(format!("e{n}"));
    }
    ids
}

/// Returns the address of a bench's store.
fn address(bench: &Bench) -> String {
    let command = bench.command(&[]);
    let mut variables = command.get_envs().filter(|(name, _)| *name == "EVENT_REPLAY_STORE");
    variables.next().unwrap().1.unwrap().to_str().unwrap().to_owned()
}

#[test]
fn the_number_of_partitions_is_said_once_and_shown() {
    let Some(bench) = Bench::on_redis() else { return };
    for wrong in ["0", "3", "128", "many"] {
        bench.run(&["init", "--partitions", wrong]).exits(2).says("1, 2, 4, 8, 16, 32 or 64");
    }
    bench.run(&["list"]).exits(1).says("there is no store");
    bench.run(&["init", "--partitions", "16"]).ok();
    bench.run(&["init"]).ok().prints("there is a store already");
    bench.run(&["init", "--partitions", "16"]).ok().prints("there is a store already");
    let other = bench.run(&["init", "--partitions", "4"]).exits(1);
    other.says("it has 16 partitions, not 4").says("event-replay migrate");
    assert_eq!(bench.json(&["init"])["partitions"], 16);
    let health = bench.json(&["health"]);
    assert!(health["checks"][0]["message"].as_str().unwrap().ends_with("in 16 partitions"), "{health}");
    assert_eq!(bench.json(&["stats"])["head"].as_array().unwrap().len(), 16);
    bench.run(&["stats"]).ok().prints("partitions");

    let by_setting = Bench::on_redis().unwrap().env("EVENT_REPLAY_REDIS_PARTITIONS", "4");
    by_setting.pipe(&["publish"], event(0)).ok();
    assert_eq!(by_setting.json(&["init"])["partitions"], 4);
    Bench::new().run(&["init", "--partitions", "2"]).exits(2).says("has one partition");
    Bench::new().run(&["init", "--partitions", "1"]).ok();
}

#[test]
fn reading_finds_everything_in_one_order() {
    let Some(bench) = divided() else { return };
    let all = bench.run(&["export", "--with-meta"]).ok().lines();
    assert_eq!(all.len(), EVENTS);
    assert_eq!(by_user(&all), expected_by_user());
    let partitions: BTreeSet<&str> =
        all.iter().map(|line| line["position"].as_str().unwrap().split_once(':').unwrap().0).collect();
    assert!(partitions.len() > 8, "{partitions:?}");
    let exported: Vec<&str> = ids(&all);

    // Pages from newest to oldest give the same order, reversed.
    let (mut listed, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut args = vec!["list", "--limit", "37"];
        args.extend(after.as_deref().into_iter().flat_map(|after| ["--after", after]));
        let page = bench.json(&args);
        listed.extend(ids(page["events"].as_array().unwrap()).into_iter().map(str::to_owned));
        match page["nextCursor"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    listed.reverse();
    assert_eq!(listed, exported);

    let of_user = bench.json(&["list", "--user-id", "user-7", "--order", "asc", "--limit", "1000"]);
    assert_eq!(ids(of_user["events"].as_array().unwrap()), expected_by_user()["user-7"]);
    let paid = bench.json(&["stats", "--type", "payment.*"]);
    assert_eq!(paid["events"], (0..EVENTS).filter(|n| n % 3 != 0).count());
    bench.run(&["show", "e17"]).ok().prints("e17");
    let verified = bench.json(&["verify"]);
    assert_eq!((&verified["events"], &verified["totalFindings"]), (&json!(EVENTS), &json!(0)), "{verified}");
}

#[test]
fn replays_plan_run_and_resume_in_one_order() {
    let Some(bench) = divided() else { return };
    let plan = ["replay", "--all", "--dry-run"];
    let (one, again) = (bench.json(&plan), bench.json(&plan));
    assert_eq!((&one["totalEvents"], &one["planHash"]), (&json!(EVENTS), &again["planHash"]));
    let run = bench.run(&["replay", "--all", "--target", "stdout"]).ok();
    let replayed = run.lines();
    assert_eq!(by_user(&replayed), expected_by_user());
    let exported = bench.run(&["export", "--with-meta"]).ok().lines();
    assert_eq!(ids(&replayed), ids(&exported));
    assert!(exported.iter().all(|line| line["replayCount"] == 1));

    bench.run(&["checkpoint", "here"]).ok();
    bench.pipe(&["import"], lines(EVENTS..EVENTS + 50)).ok();
    let recovered = bench.run(&["recover", "here", "--target", "stdout"]).ok().lines();
    let mut found: Vec<&str> = ids(&recovered);
    found.sort_unstable();
    let mut expected: Vec<String> = (EVENTS..EVENTS + 50).map(|n| format!("e{n}")).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    bench.run(&["trim", "--max-events", "100", "--yes"]).ok();
    assert_eq!(bench.json(&["stats"])["events"], 100);
    bench.run(&["recover", "here", "--dry-run"]).ok().prints("50 events");
    bench.run(&["trim", "--max-events", "0", "--yes"]).ok();
    bench.run(&["recover", "here", "--dry-run"]).exits(1);
}

#[test]
fn groups_consume_give_up_and_are_replayed_to() {
    let Some(bench) = divided() else { return };
    let script = r#"while IFS= read -r line; do
             id=${line#*'"id":"'}; id=${id%%'"'*}; ok='"ok":true'
             case $id in e1?) [ -e well ] || ok='"ok":false,"giveUp":true,"error":"no"';; esac
             printf '{"id":"%s",%s}\n' "$id" "$ok"
           done"#;
    bench.file("answer.sh", script);
    let consume =
        ["consume", "mail", "--at", "start", "--target", "exec:sh answer.sh", "--until-idle", "300ms"];
    bench.run(&consume).exits(3).says("16 of 16 segments");
    let letters = bench.json(&["dead-letters", "list", "--group", "mail", "--limit", "100"]);
    let letters = letters["deadLetters"].as_array().unwrap();
    let dead: BTreeSet<&str> = letters.iter().map(|letter| letter["event"]["id"].as_str().unwrap()).collect();
    let expected: BTreeSet<String> = (10..20).map(|n| format!("e{n}")).collect();
    assert_eq!(dead, expected.iter().map(String::as_str).collect());
    let shown = bench.json(&["groups", "show", "mail"]);
    let segments = shown["segments"].as_array().unwrap();
    assert_eq!(segments.len(), 16);

    bench.file("well", "");
    bench.run(&["dead-letters", "redrive", "--group", "mail", "--all", "--detach"]).ok();
    bench.run(&consume).ok();
    assert_eq!(bench.json(&["stats"])["deadLetters"]["handled"], 10, "{}", bench.json(&["stats"]));

    let replay =
        bench.run(&["replay", "--user-id", "user-3", "--group", "mail", "--detach", "--output", "json"]);
    let id = replay.ok().json()["replayId"].as_str().unwrap().to_owned();
    bench.run(&consume).ok();
    let shown = bench.json(&["replays", "show", &id]);
    let total = (0..EVENTS).filter(|n| n % USERS == 3).count();
    assert_eq!((&shown["state"], &shown["successful"]), (&json!("COMPLETED"), &json!(total)), "{shown}");
    bench.run(&["groups", "create", "ordered", "--key", "correlation"]).exits(1).says("16 partitions");
    bench.run(&["groups", "reset", "mail", "--at", "start"]).ok();
    bench.run(&["groups", "delete", "mail", "--yes"]).ok();
    assert_eq!(bench.json(&["verify"])["totalFindings"], 0);
}

#[test]
fn erasing_and_scheduling_reach_every_partition() {
    let Some(bench) = divided() else { return };
    let erased = bench.run(&["erase", "--user-id", "user-11", "--yes", "--output", "json"]).ok().json();
    assert_eq!(erased["erased"], (0..EVENTS).filter(|n| n % USERS == 11).count(), "{erased}");
    assert_eq!(
        bench.json(&["stats"])["byEntityKind"]["user"],
        EVENTS - (0..EVENTS).filter(|n| n % USERS == 11).count()
    );
    assert_eq!(bench.json(&["verify"])["totalFindings"], 0);
}

#[test]
fn a_store_moves_to_other_numbers_of_partitions_and_back() {
    let (Some(one), Some(many)) = (Bench::on_redis(), Bench::on_redis()) else { return };
    one.pipe(&["import"], lines(0..EVENTS)).ok();
    one.run(&["checkpoint", "half", "e200"]).ok();
    let from = address(&one);
    many.run(&["init", "--partitions", "16"]).ok();
    many.run(&["migrate", "--from", &from]).ok().prints(&format!("stored {EVENTS}"));
    many.run(&["migrate", "--from", &from]).ok().prints("stored 0");
    assert_eq!(by_user(&many.run(&["export", "--with-meta"]).ok().lines()), expected_by_user());
    assert_eq!(many.json(&["init"])["partitions"], 16);
    // Every event behind the mark is replayed. Events before the mark may be replayed too.
    let recovered = many.run(&["recover", "half", "--target", "stdout"]).ok().lines();
    let recovered: BTreeSet<&str> = ids(&recovered).into_iter().collect();
    assert!((201..EVENTS).all(|n| recovered.contains(format!("e{n}").as_str())), "{}", recovered.len());

    let file = Bench::new();
    let from = address(&many);
    file.run(&["migrate", "--from", &from]).ok().prints(&format!("stored {EVENTS}"));
    assert_eq!(by_user(&file.run(&["export", "--with-meta"]).ok().lines()), expected_by_user());
}
