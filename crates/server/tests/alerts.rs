//! The alert rules in `deploy/alerts`: the server exports every series that the rules name, and the rules fire
//! correctly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail, what did not run is named"
)]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::Service;
use serde_json::json;

const RULES: &str = "event-replay.rules.yml";
const TESTS: &str = "event-replay.rules.test.yml";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/alerts")
}

/// Returns the metrics that the rules name.
fn named(rules: &str) -> BTreeSet<String> {
    let expressions = rules.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words =
        expressions.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':'));
    // The name of a recorded series contains a colon.
    words.filter(|word| word.starts_with("event_replay_") && !word.contains(':')).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_series_that_a_rule_names_is_shown_before_the_first_event() {
    let service = Service::new().await;
    service.post_json("/v1/groups", json!({"name": "mail"})).await.is(201);
    let text = service.get("/metrics").await.is(200).text();
    let rules = fs::read_to_string(folder().join(RULES)).unwrap();
    let named = named(&rules);
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        let is_of =
            |line: &&str| line.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with([' ', '{']));
        assert!(text.lines().any(|line| is_of(&line)), "{name} is not shown\n{text}");
    }
    service.stop().await;
}

fn promtool(folder: &Path, args: &[&str]) -> Option<Output> {
    let output = Command::new("promtool").args(args).current_dir(folder).output();
    match output {
        Ok(output) => Some(output),
        Err(_) => {
            println!("NOT RUN: the tests of the alert rules, promtool is not installed");
            None
        }
    }
}

#[test]
fn the_rules_fire_when_they_should() {
    for args in [["check", "rules", RULES], ["test", "rules", TESTS]] {
        let Some(output) = promtool(&folder(), &args) else { return };
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}

/// A positive control: the tests detect a changed threshold in a rule.
#[test]
fn a_rule_with_another_bound_is_noticed() {
    let rules = fs::read_to_string(folder().join(RULES)).unwrap();
    for (bound, other) in [
        ("> 0.05", "> 0.07"),
        ("event_replay_store_up == 0", "event_replay_store_up == 1"),
        ("> 10\n", "> 30\n"),
        ("> 900", "> 9000"),
        ("> 0.7", "> 0.9"),
        ("> 300", "> 3000"),
        ("> 60", "> 6000"),
        ("state=\"open\"", "state=\"handled\""),
        ("== 0 and event_replay_group_pending", "> 0 and event_replay_group_pending"),
    ] {
        assert!(rules.contains(bound), "no rule has {bound:?}");
        let changed = tempfile::tempdir().unwrap();
        fs::write(changed.path().join(RULES), rules.replace(bound, other)).unwrap();
        fs::copy(folder().join(TESTS), changed.path().join(TESTS)).unwrap();
        let Some(output) = promtool(changed.path(), &["test", "rules", TESTS]) else { return };
        assert!(!output.status.success(), "{bound:?} instead of {other:?} is not noticed");
    }
}
