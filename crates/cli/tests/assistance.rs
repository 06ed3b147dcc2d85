//! Commands that help the user: help topics, explanations, versions, validation, reports, contexts, suggestions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{
    Bench, ids, paid,
    prepared::{group, on_store},
    registered, some,
};
use domain::group::GroupSpec;

#[test]
fn help_explains_commands_and_topics() {
    let bench = Bench::new();
    let overview = bench.run(&["help"]).ok();
    for topic in ["filters", "times", "targets", "exit-codes", "environment"] {
        assert!(overview.stdout.contains(&format!("  {topic} ")), "{overview:#?}");
        bench.run(&["help", topic]).ok().prints("Examples:").prints("event-replay ");
    }
    bench
        .run(&["help", "groups", "list"])
        .ok()
        .prints("Usage: event-replay groups list")
        .prints("PENDING counts");
    bench
        .run(&["help", "nothing"])
        .exits(2)
        .says("there is no command and no topic \"nothing\"")
        .says("exit-codes");
}

#[test]
fn every_check_of_health_and_every_exit_code_is_explained() {
    let bench = Bench::with(&some());
    on_store(&bench, async |store| group(store, GroupSpec::new("mail"), true).await);
    let health = bench.json(&["health"]);
    for check in health["checks"].as_array().unwrap() {
        bench.run(&["explain", check["name"].as_str().unwrap()]).ok().prints("action");
    }
    for code in ["0", "1", "2", "3", "4"] {
        assert_eq!(bench.json(&["explain", code])["kind"], "exitCode");
    }
    bench.run(&["explain"]).ok().prints("group-pending").prints("conflict");
    bench.run(&["explain", "grup-lag"]).exits(1).says("did you mean group-lag?");
}

#[test]
fn the_version_says_of_which_build_it_is() {
    let bench = Bench::new();
    let version = format!("event-replay {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(bench.run(&["--version"]).ok().stdout, version);
    assert_eq!(bench.run(&["version"]).ok().stdout, version);
    for args in [&["--version", "--verbose"][..], &["version", "--verbose"]] {
        let said = bench.run(args).ok();
        for part in ["commit", "date", "rustc", "features"] {
            assert!(said.stdout.contains(part), "{said:#?}");
        }
    }
    let json = bench.json(&["version"]);
    assert!(json["rustc"].as_str().unwrap().starts_with("rustc "), "{json}");
}

#[test]
fn validate_checks_events_and_stores_nothing() {
    let bench = Bench::new();
    let bad = paid("e2", "user-1", "49.50").replace("\"currency\":\"EUR\",", "");
    let file = format!("{}\n{bad}\n", registered("e1", "user-1", "2024-01-15T10:30:00Z"));
    bench.file("events.ndjson", &file);
    let said = bench.run(&["validate", "events.ndjson"]).exits(3).prints("2 events: 1 not valid");
    said.prints("/data/currency");
    let json = bench.run(&["validate", "events.ndjson", "-o", "json"]).exits(3).json();
    assert_eq!(
        (&json["valid"], &json["invalid"], &json["errors"][0]["line"]),
        (&1.into(), &1.into(), &2.into())
    );
    bench.pipe(&["validate"], some()).ok().prints("5 events: all valid");
    assert!(!bench.path("events.db").exists(), "no store is made");
}

#[test]
fn a_dry_run_of_publish_says_what_would_be_stored() {
    let bench = Bench::with(&some());
    let changed = paid("e3", "user-123", "50.00");
    let input = [
        registered("e6", "user-6", "2024-02-02T00:00:00Z"),
        registered("e1", "user-123", "2024-01-15T10:30:00Z"),
        changed,
    ]
    .join("\n");
    let said = bench.pipe(&["publish", "--dry-run"], &input).exits(3);
    let said = said.prints("dry run: would be stored 1, already stored 1, rejected 0, conflicts 1");
    said.prints("other content is stored under this id, at 0:3");
    let json = bench.pipe(&["import", "--dry-run", "-o", "json"], &input).exits(3).json();
    assert_eq!((&json["dryRun"], &json["stored"], &json["conflicts"]), (&true.into(), &1.into(), &1.into()));
    assert_eq!(bench.json(&["stats"])["events"], 5);
    let real = bench.pipe(&["publish", "-o", "json"], &input).exits(3).json();
    for count in ["stored", "alreadyStored", "rejected", "conflicts"] {
        assert_eq!(real[count], json[count], "{count}: the dry run said so");
    }
    assert!(real["dryRun"].is_null());
}

#[test]
fn a_report_for_support_has_no_payloads_and_no_secrets() {
    let bench = Bench::with(&some()).env("REDIS_PASSWORD", "hunter2-secret");
    on_store(&bench, async |store| group(store, GroupSpec::new("mail"), true).await);
    bench.run(&["diagnose", "report.json"]).ok().prints("wrote report.json");
    let text = std::fs::read_to_string(bench.path("report.json")).unwrap();
    for secret in ["hunter2-secret", "user-123", "49.50", "@example.com"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["store"]["stats"]["events"], 5);
    assert_eq!(report["store"]["groups"][0]["name"], "mail");
    assert!(report["health"]["checks"].as_array().unwrap().len() > 5);
    assert!(report["settings"].as_array().unwrap().iter().any(|setting| setting["key"] == "redis.password"));
    assert!(report["build"]["commit"].is_string());
    bench.run(&["diagnose", "report.json"]).exits(1).says("exists already");
    let broken = Bench::new();
    broken.run(&["diagnose", "report.json"]).ok();
    let text = std::fs::read_to_string(broken.path("report.json")).unwrap();
    assert!(text.contains("\"storeError\": \"there is no store"), "{text}");
}

#[test]
fn a_bare_date_is_a_time() {
    let bench = Bench::with(&some());
    let found = bench.run(&["list", "--from", "2024-01-16", "--to", "2024-01-20", "-o", "ndjson"]).ok();
    assert_eq!(ids(&found.lines()), ["e4", "e3", "e2"]);
    bench.run(&["list", "--from", "2024-02-30"]).exits(2).says("is not a date of the calendar");
}

#[test]
fn names_that_are_nearly_right_are_suggested() {
    let bench = Bench::with(&some());
    on_store(&bench, async |store| group(store, GroupSpec::new("mailer"), true).await);
    bench.run(&["checkpoint", "before-migration"]).ok();
    bench.run(&["groups", "show", "mialer"]).exits(1).says("did you mean mailer?");
    bench.run(&["groups", "show", "audit"]).exits(1).says("there are: mailer");
    bench.run(&["checkpoints", "show", "befor-migration"]).exits(1).says("did you mean before-migration?");
    bench.run(&["recover", "befor-migration"]).exits(1).says("did you mean before-migration?");
    bench
        .run(&["groups", "reset", "mailer", "--at", "befor-migration"])
        .exits(1)
        .says("did you mean before-migration?");
    bench
        .run(&["trim", "--to-checkpoint", "befor-migration", "--dry-run"])
        .exits(1)
        .says("did you mean before-migration?");
    bench.run(&["list", "--type", "user.registred"]).ok().says("did you mean --type user.registered?");
    bench.run(&["tail", "--type", "user.registred"]).ok().says("did you mean --type user.registered?");
}

#[test]
fn contexts_name_stores() {
    let bench = Bench::new().without("EVENT_REPLAY_STORE");
    bench.run(&["context", "list"]).ok().says("there are no contexts");
    bench.run(&["context", "add", "local", "sqlite:events.db"]).ok().prints("added context local");
    bench.run(&["context", "add", "other", "sqlite:other.db"]).ok();
    bench.run(&["context", "use", "local"]).ok().prints("using context local: sqlite:/");
    bench.pipe(&["publish"], some()).ok();
    assert!(bench.path("events.db").exists());
    bench.run(&["--context", "other", "stats"]).exits(1).says("other.db");
    bench.run(&["context", "use", "other"]).ok();
    bench.run(&["context", "use", "-"]).ok().prints("using context local");
    bench.run(&["context", "-"]).ok().prints("using context other");
    bench.run(&["context", "-"]).ok().prints("using context local");
    let rows = bench.json(&["context", "list"]);
    assert_eq!(
        (&rows[0]["name"], &rows[0]["current"], &rows[1]["current"]),
        (&"local".into(), &true.into(), &false.into())
    );
    let said = bench.run(&["trim", "--max-events", "1"]).exits(2).says("(context local)");
    said.says("stdin is not a terminal, so nothing was changed");
    bench.run(&["stats", "--store", "sqlite:events.db"]).ok();
    bench.run(&["context", "use", "locl"]).exits(2).says("did you mean local?");
    bench.run(&["context", "add", "bad", "redis://me:secret@host"]).exits(2).says("does not keep passwords");
    bench.run(&["config", "show"]).ok().prints("context local");
    bench.run(&["context", "remove", "local"]).ok();
    let bench = bench.env("EVENT_REPLAY_STORE", "sqlite:events.db");
    bench.run(&["context", "use", "other"]).ok().says("EVENT_REPLAY_STORE is set and wins over the context");
}

#[test]
fn wrong_settings_do_not_keep_help_away() {
    let bench = Bench::new().env("EVENT_REPLAY_STORE", "nonsense");
    bench.run(&["list"]).exits(2);
    bench.run(&["help", "environment"]).ok();
    bench.run(&["explain", "2"]).ok();
    bench.run(&["version"]).ok();
    bench.run(&["context", "list"]).ok();
}

#[test]
fn a_person_is_asked_with_the_name_of_the_context() {
    let bench = Bench::new().without("EVENT_REPLAY_STORE");
    bench.run(&["context", "add", "prod", "sqlite:events.db"]).ok();
    bench.run(&["context", "use", "prod"]).ok();
    bench.pipe(&["publish"], some()).ok();
    let mut terminal =
        bench.terminal(120, env!("CARGO_BIN_EXE_event-replay"), &["trim", "--max-events", "1"]);
    terminal.shows("the question", |screen| screen.contains("(context prod), which cannot be undone"));
    terminal.types("no\r");
    assert_eq!(terminal.ends().code, 1);
}
