//! `migrate` on a real Redis: its output, its exit code, and its continuation after a kill.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod common;
// The keys of the old system, as the tests of the library write them.
#[path = "../../migrate/tests/support/reference.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several test programs, none of which uses all of it")]
mod reference;

use std::time::{Duration, Instant};

use common::{Bench, ids, some};
use reference::{OldEvent, Reference, events, in_time_order, write};
use serde_json::{Value, json};
use servers::{Binary, Certificates, ClientCertificates, Config, Server};
use tokio::runtime::Runtime;

/// A server with the keys of the old system. The runtime drives the server and its connections.
struct Old {
    runtime: Runtime,
    server: Server,
    events: Vec<OldEvent>,
}

fn old(count: u64, config: &Config) -> Old {
    let runtime = Runtime::new().unwrap();
    let events = events(count);
    let server = runtime.block_on(async {
        let server = Server::start(&Binary::default(), config).await.unwrap();
        write(&mut Reference::at(&server.url()).await, &events).await;
        server
    });
    Old { runtime, server, events }
}

impl Old {
    fn command(&self, words: &[&str]) {
        self.runtime.block_on(async {
            let mut reference = Reference::at(&self.server.url()).await;
            reference.command(words);
            reference.send().await;
        });
    }

    #[track_caller]
    fn check_equal(&self, bench: &Bench) {
        let exported = bench.run(&["export", "--with-meta"]).ok();
        let lines = exported.lines();
        let ordered = in_time_order(&self.events);
        assert_eq!(ids(&lines), ordered.iter().map(|event| event.id.as_str()).collect::<Vec<_>>());
        for (line, old) in lines.iter().zip(ordered) {
            assert_eq!(line["replayCount"], old.replays, "{}", old.id);
            assert_eq!(line["event"], serde_json::from_str::<Value>(&old.json).unwrap());
        }
    }
}

#[test]
fn everything_is_migrated_and_a_second_run_says_that_nothing_was_left() {
    let (old, bench) = (old(600, &Config::default()), Bench::new());
    let url = old.server.url();
    let would = bench.json(&["migrate", &url, "--dry-run"]);
    assert_eq!(
        (&would["dryRun"], &would["stored"], &would["complete"]),
        (&true.into(), &600.into(), &true.into())
    );
    assert!(!bench.path("events.db").exists(), "a dry run makes no store");
    let done =
        bench.run(&["migrate", &url]).ok().prints("stored 600, already stored 0").prints("correlation");
    let done = done.prints("made 3, already there 0").says("the counts show it");
    assert!(done.stderr.is_ascii(), "no bar where nobody watches");
    old.check_equal(&bench);
    let again = bench.run(&["migrate", &url]).ok();
    again.prints("stored 0, already stored 600").says("nothing was left to do");
    let json = bench.json(&["migrate", &url]);
    let half = &bench.json(&["checkpoints", "show", "half"]);
    assert_eq!((&half["eventCount"], &half["metadata"]["reason"]), (&301.into(), &"deploy".into()));
    for member in ["from", "to", "found", "replayCounts", "checkpoints", "problems", "indexes", "differences"]
    {
        assert!(!json[member].is_null(), "{member}: {json}");
    }
    assert_eq!(json["indexes"][0]["index"], "time");
    bench.run(&["recover", "half", "--dry-run"]).ok().prints("299 events");
}

#[test]
fn what_was_not_taken_is_named_and_the_exit_code_says_so() {
    let (old, bench) = (old(300, &Config::default()), Bench::new());
    old.command(&["HSET", "cloudmasters:events:bad\u{1b}[2J", "event", "{}"]);
    old.command(&["ZADD", "cloudmasters:events:by_time", "1", "gone"]);
    let url = old.server.url();
    let said = bench.run(&["migrate", &url]).exits(3);
    let said = said.prints("rejected 1").prints("without-event").prints("bad\\u{1b}[2J").prints("time");
    said.says("something was not taken");
    let report = bench.run(&["migrate", &url, "--output", "json"]).exits(3).json();
    assert_eq!((&report["withoutEvent"], &report["withoutIndex"]), (&1.into(), &1.into()));
    assert_eq!(report["differences"][0]["withoutEvent"], 1);
}

#[test]
fn a_source_that_makes_no_sense_or_is_not_there_changes_nothing() {
    let bench = Bench::new();
    bench.run(&["migrate"]).exits(2).says("the source is missing");
    bench.run(&["migrate", "redis://127.0.0.1:1"]).exits(1).says("cannot be reached");
    bench.run(&["migrate", "http://127.0.0.1:1"]).exits(2).says("an address is redis://");
    bench.run(&["migrate", "redis://x", "--from", "sqlite:y"]).exits(2);
    bench.run(&["migrate", "--from", "sqlite:nothing.db"]).exits(1).says("there is no store");
    bench.run(&["migrate", "--from", "sqlite:nothing.db", "--old-prefix", "x"]).exits(2);
    assert!(!bench.path("events.db").exists());
    let old = old(200, &Config::default());
    let wrong_prefix = bench.run(&["migrate", &old.server.url(), "--old-prefix", "other:events"]).exits(1);
    wrong_prefix.says("there is no event below the prefix \"other:events\"").says("--old-prefix");
}

#[test]
fn a_password_comes_from_the_environment_and_is_never_shown() {
    let config = Config { password: Some("hunter2".to_owned()), ..Config::default() };
    let (old, bench) = (old(200, &config), Bench::new());
    let url = old.server.url();
    let refused = bench.run(&["migrate", &url]).exits(2).says("EVENT_REPLAY_OLD_REDIS");
    let refused_store = bench.run(&["migrate", "--from", &url]).exits(2).says("EVENT_REPLAY_FROM");
    let wrong = Bench::new().env("EVENT_REPLAY_OLD_REDIS", &url.replace("hunter2", "hunter3"));
    let wrong = wrong.run(&["migrate"]).exits(1).says("does not permit");
    let bench = bench.env("EVENT_REPLAY_OLD_REDIS", &url);
    let done = bench.run(&["migrate"]).ok().prints(":***@127.0.0.1");
    let json = bench.run(&["migrate", "--output", "json"]).ok();
    for said in [refused, refused_store, wrong, done, json] {
        assert!(!format!("{said:?}").contains("hunter"), "{said:?}");
    }
}

#[test]
fn a_run_that_is_killed_anywhere_goes_on_and_ends_equal() {
    let count =
        std::env::var("EVENT_REPLAY_EVENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(3000);
    let (old, bench) = (old(count, &Config::default()), Bench::new());
    let url = old.server.url();
    let (mut killed, mut stored) = (0, 0);
    for round in 0..6 {
        let mut child = bench.command(&["migrate", &url]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 << round));
        killed += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        if bench.path("events.db").exists() {
            let now = bench.run(&["list", "--limit", "1000000", "--output", "ndjson"]);
            let now = now.stdout.lines().count();
            println!("killed with {now} events");
            assert!(now >= stored, "nothing that was taken goes");
            stored = now;
        }
    }
    assert!(killed > 0, "every run was over before it was killed");
    bench.run(&["migrate", &url]).ok();
    old.check_equal(&bench);
    bench.run(&["verify"]).ok();
    bench.run(&["migrate", &url]).ok().says("nothing was left to do");
}

/// Returns the Redis user that the documentation recommends for a migration.
fn documented_user() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/migrating.md");
    let page = std::fs::read_to_string(page).unwrap();
    page.lines().find_map(|line| line.strip_prefix("ACL SETUSER ")).unwrap().to_owned()
}

/// Returns a digest of all keys of a server, including their expiry times.
async fn digest(server: &Server) -> String {
    let client = redis::Client::open(server.url()).unwrap();
    // The digest of many keys takes long.
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
    let mut owner = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    redis::cmd("DEBUG").arg("DIGEST").query_async(&mut owner).await.unwrap()
}

/// Migrates from one Redis to another, and kills the first run after half of the events.
///
/// The user of the source may only read, and its keys do not change. A second complete run does not change the keys of
/// the target.
#[test]
fn the_old_system_comes_to_redis_through_a_kill_half_way() {
    let count: u64 =
        std::env::var("EVENT_REPLAY_EVENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(4000);
    let lines = vec!["enable-debug-command local".to_owned()];
    let config = Config { users: vec![documented_user()], lines: lines.clone(), ..Config::default() };
    let old = old(count, &config);
    let target = old
        .runtime
        .block_on(Server::start(&Binary::default(), &Config { lines, ..Config::default() }))
        .unwrap();
    let before = old.runtime.block_on(digest(&old.server));
    let bench = Bench::new()
        .env("EVENT_REPLAY_OLD_REDIS", &old.server.url_with("migrator", "PASSWORD"))
        .env("EVENT_REPLAY_STORE", &target.url());

    let mut owner = old.runtime.block_on(async {
        redis::Client::open(target.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    });
    let mut taken = || {
        let mut ask = redis::cmd("HGET");
        ask.arg("{default:0}:meta").arg("events");
        let events: Option<u64> = old.runtime.block_on(ask.query_async(&mut owner)).unwrap();
        events.unwrap_or(0)
    };
    let mut child = bench.command(&["migrate"]).spawn().unwrap();
    let begun = Instant::now();
    while taken() < count / 2 {
        assert!(child.try_wait().unwrap().is_none(), "it was over before half was taken");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    let half = begun.elapsed();
    assert_eq!(child.wait().unwrap().code(), None, "it ended by itself");
    let taken = taken();
    assert!((count / 2..count).contains(&taken), "{taken}");

    let begun = Instant::now();
    let done = bench.json(&["migrate"]);
    println!("{count} events: {taken} in {half:?}, then killed; the rest in {:?}", begun.elapsed());
    assert_eq!((&done["found"], &done["stored"]), (&count.into(), &(count - taken).into()), "{done}");
    assert_eq!((&done["alreadyStored"], &done["complete"]), (&taken.into(), &true.into()), "{done}");
    assert_eq!((&done["differences"], &done["problems"]), (&json!([]), &json!([])));
    let indexes = done["indexes"].as_array().unwrap();
    assert_eq!(indexes.len(), 7);
    for index in indexes {
        assert!(index["keys"].as_u64().unwrap() > 0, "{index}");
        assert_eq!(index["equal"], index["keys"], "{index}");
    }
    old.check_equal(&bench);
    bench.run(&["verify"]).ok();
    let half = &bench.json(&["checkpoints", "show", "half"]);
    assert_eq!(half["eventCount"], count / 2 + 1);

    let held = old.runtime.block_on(digest(&target));
    let begun = Instant::now();
    bench
        .run(&["migrate"])
        .ok()
        .prints(&format!("stored 0, already stored {count}"))
        .says("nothing was left");
    println!("again in {:?}", begun.elapsed());
    assert_eq!(old.runtime.block_on(digest(&target)), held, "the second run changed the target");
    assert_eq!(old.runtime.block_on(digest(&old.server)), before, "the source was changed");
    // The control: one more replay of an event changes the digest.
    old.command(&["HINCRBY", &format!("cloudmasters:events:{}", old.events[0].id), "replayCount", "1"]);
    assert_ne!(old.runtime.block_on(digest(&old.server)), before);
}

#[test]
fn a_store_is_migrated_into_another_and_never_into_itself() {
    let bench = Bench::with(&some());
    bench.run(&["checkpoint", "two", "e2"]).ok();
    bench.run(&["replay", "--user-id", "user-123", "--target", "stdout"]).ok();
    bench.run(&["groups", "create", "mail"]).ok();
    bench.run(&["migrate", "--from", "sqlite:events.db"]).exits(2).says("the same store");
    let to = ["--store", "sqlite:copy.db"];
    let would = bench.run(&[&["migrate", "--from", "sqlite:events.db", "--dry-run"], &to[..]].concat()).ok();
    would.prints("would store 5").says("not migrated: 1 consumer group");
    assert!(!bench.path("copy.db").exists());
    let done = bench.run(&[&["migrate", "--from", "sqlite:events.db"], &to[..]].concat()).ok();
    done.prints("stored 5").prints("made 1").says("not migrated: 1 consumer group, 0 open dead letters");
    let export = |store: &str| bench.run(&["export", "--with-meta", "--store", store]).ok().lines();
    for (one, other) in export("sqlite:events.db").iter().zip(export("sqlite:copy.db")) {
        assert_eq!((&one["event"], &one["replayCount"]), (&other["event"], &other["replayCount"]));
    }
    bench.run(&["recover", "two", "--dry-run", to[0], to[1]]).ok().prints("would replay 3 events");
    let again = bench.env("EVENT_REPLAY_FROM", "sqlite:events.db");
    again.run(&["migrate", to[0], to[1]]).ok().says("nothing was left to do");
}

#[test]
fn an_old_redis_over_tls_is_read_with_its_certificate() {
    let bench = Bench::new();
    let certificates = Certificates::make(&bench.path("")).unwrap();
    let runtime = Runtime::new().unwrap();
    let config = Config { tls: Some(certificates.tls(ClientCertificates::Ignored)), ..Config::default() };
    let server = runtime.block_on(Server::start(&Binary::default(), &config)).unwrap();
    bench.run(&["migrate", &server.url()]).exits(1).says("certificate");
    let bench = bench.env("SSL_CERT_FILE", certificates.ca.to_str().unwrap());
    bench.run(&["migrate", &server.url()]).exits(1).says("there is no event below the prefix");
}
