//! A Redis server without free memory, as its users see it. Publishers get an error and may publish again later,
//! consumers continue, and the command line prints the next step.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{
    collections::HashSet,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bus::{Bus, PublishError, StartAt};
use domain::{
    Delivery, HandlerError, StorageFailure,
    ports::{DeadLetterQuery, EventStoreError, Stores},
};
use redis::cmd;
use serde_json::Value;
use servers::{Binary, Config, MaxMemory, Server};
use storage_redis::{RedisEngine, RedisOptions};
use store::Store;

const LITTLE: u64 = 16 << 20;
const MUCH: u64 = 256 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

async fn small_server(binary: &Binary) -> Server {
    let max_memory = Some(MaxMemory { bytes: LITTLE, policy: "noeviction".to_owned() });
    Server::start(binary, &Config { max_memory, ..Config::default() }).await.unwrap()
}

async fn give_memory(server: &Server, bytes: u64) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut owner = client.get_multiplexed_async_connection().await.unwrap();
    cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec_async(&mut owner).await.unwrap();
}

/// Sets the memory limit of a server below its current use.
async fn take_memory(server: &Server) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut owner = client.get_multiplexed_async_connection().await.unwrap();
    let info: String = cmd("INFO").arg("memory").query_async(&mut owner).await.unwrap();
    let used: u64 =
        info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap();
    give_memory(server, used / 10 * 9).await;
}

fn json(n: usize, event_type: &str) -> String {
    format!(
        r#"{{"id":"e{n}","type":"{event_type}","version":"1.0","timestamp":"2026-01-01T00:00:00Z","source":"test","userId":"u{}","metadata":{{}},"data":{{"filler":"{}"}}}}"#,
        n % 40,
        "x".repeat(2_000)
    )
}

fn is_full(error: &PublishError) -> bool {
    matches!(error, PublishError::Store(EventStoreError::Storage(StorageFailure::Full(_))))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "it never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a group has settled all events.
async fn is_idle(store: &dyn Stores, group: &str) -> bool {
    let head = store.head().await.unwrap().sequence(0);
    let status = store.group(group).await.unwrap().unwrap();
    status.segments.iter().all(|it| it.cursor == head && it.blocked_keys == 0)
}

/// One group handles all events and reaches the end although the server is full. Another group must write a dead
/// letter. It waits for free memory, and then continues without help.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_of_a_full_server_go_on_and_what_is_given_up_on_waits_for_room() {
    for binary in Binary::all().unwrap() {
        println!("on {binary}");
        let server = small_server(&binary).await;
        let store: Arc<dyn Stores> =
            Arc::new(RedisEngine::create(RedisOptions::new(server.url())).await.map(Store::new).unwrap());
        let bus = Bus::builder(Arc::clone(&store)).enable_validation(false).build().await.unwrap();
        let mut published = 0;
        for n in 0..200 {
            let event_type = if n == 100 { "poison" } else { "good" };
            bus.publish(json(n, event_type).as_bytes()).await.unwrap();
            published += 1;
        }
        // The groups need little memory. They are created before the server is full.
        let start = domain::Cursor { sequences: vec![0], ..store.head().await.unwrap() };
        for group in ["sound", "unlucky"] {
            store.create_group(&domain::group::GroupSpec::new(group), &start).await.unwrap();
        }
        take_memory(&server).await;
        let refused = bus.publish(json(published, "good").as_bytes()).await.unwrap_err();
        assert!(is_full(&refused), "{refused:?}");
        assert!(refused.to_string().contains("the store is full"), "{refused}");

        let handled: Arc<Mutex<HashSet<String>>> = Arc::default();
        let seen = Arc::clone(&handled);
        let sound = bus::handler(move |delivery: &Delivery| {
            seen.lock().unwrap().insert(delivery.stored.event.id().to_owned());
            async { Ok::<(), HandlerError>(()) }
        });
        let unlucky = bus::handler(|delivery: &Delivery| {
            let fails = delivery.stored.event.event_type() == "poison";
            async move { if fails { Err(HandlerError::retry("on purpose")) } else { Ok(()) } }
        });
        let sound =
            bus.subscribe("sound").on_everything(sound).start_at(StartAt::Earliest).start().await.unwrap();
        let unlucky = bus
            .subscribe("unlucky")
            .on_everything(unlucky)
            .start_at(StartAt::Earliest)
            .max_retries(0)
            .start()
            .await
            .unwrap();
        until("the sound group has come to the end", async || is_idle(&*store, "sound").await).await;
        assert_eq!(handled.lock().unwrap().len(), published, "{binary}");
        // The consumer stops normally, and releases its segments.
        sound.stop().await.unwrap();
        let status = store.group("sound").await.unwrap().unwrap();
        assert!(status.segments.iter().all(|segment| segment.consumer.is_none()), "{status:?}");
        let query = DeadLetterQuery { limit: 10, ..DeadLetterQuery::default() };
        assert_eq!(store.dead_letters(&query).await.unwrap().len(), 0);

        give_memory(&server, MUCH).await;
        bus.publish(json(published, "good").as_bytes()).await.unwrap();
        until("the other group has come to the end", async || is_idle(&*store, "unlucky").await).await;
        let letters = store.dead_letters(&query).await.unwrap();
        assert_eq!(letters.iter().map(|letter| letter.event.id()).collect::<Vec<_>>(), ["e100"]);
        unlucky.stop().await.unwrap();
        bus.close().await;
        let report = store.verify(None).await.unwrap();
        assert_eq!((report.total_findings, report.findings), (0, Vec::new()));
    }
}

/// The program with a server as its store, in a separate folder.
struct Cli {
    folder: tempfile::TempDir,
    url: String,
}

impl Cli {
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command: Command = support::event_replay_at(self.folder.path());
        let output = command.env("EVENT_REPLAY_STORE", &self.url).args(arguments).output().unwrap();
        let code = output.status.code().expect("it ended by itself");
        (code, support::text(&output.stdout), support::text(&output.stderr))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, errors) = self.run(&[arguments, &["--output=json"]].concat());
        assert_eq!(code, 0, "{arguments:?}: {errors}");
        serde_json::from_str(&out).unwrap()
    }
}

/// An import that fills the server ends with exit code 1 and prints the next step. The stored events are a beginning of
/// the file, and reads still work. With more memory, the same import stores the rest.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_that_the_server_is_full_and_an_import_goes_on_later() {
    let server = small_server(&Binary::default()).await;
    let cli = Cli { folder: tempfile::tempdir().unwrap(), url: server.url() };
    let file = cli.folder.path().join("events.ndjson");
    let events = support::demo_events(30_000);
    std::fs::write(&file, events.join("\n")).unwrap();
    let file = file.to_str().unwrap();

    let (code, out, errors) = cli.run(&["import", file]);
    println!("import on a full server: exit {code}\n{out}{errors}");
    assert_eq!(code, 1);
    assert!(errors.contains("the store is full: Redis has reached its maxmemory"), "{errors}");
    assert!(errors.contains("trim"), "{errors}");
    let said: usize =
        out.split(", ").next().unwrap().replace("stored ", "").replace(',', "").parse().unwrap();

    take_memory(&server).await;
    let one = cli.folder.path().join("one.ndjson");
    std::fs::write(&one, &events[events.len() - 1]).unwrap();
    let (code, out, errors) = cli.run(&["publish", one.to_str().unwrap()]);
    println!("publish on a full server: exit {code}\n{out}{errors}");
    assert_eq!(code, 1);
    assert!(errors.contains("the store is full"), "{errors}");

    let (code, listed, errors) =
        cli.run(&["list", "--order", "asc", "--limit", "40000", "--output", "ndjson"]);
    assert_eq!(code, 0, "{errors}");
    let id = |json: &str| serde_json::from_str::<Value>(json).unwrap()["id"].as_str().unwrap().to_owned();
    let there: Vec<String> = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"]["id"].as_str().unwrap().to_owned())
        .collect();
    let stored = there.len();
    assert!(stored > 1_000 && stored < events.len(), "{stored} of {}", events.len());
    assert_eq!(said, stored, "what the import said is stored");
    let wanted: Vec<String> = events[..stored].iter().map(|json| id(json)).collect();
    assert_eq!(there, wanted, "what is there is the beginning of the file");
    let (code, out, errors) = cli.run(&["verify"]);
    assert_eq!(code, 0, "{out}{errors}");
    let (code, out, _) = cli.run(&["health"]);
    println!("health on a full server: exit {code}\n{out}");
    assert!(out.contains("redis-memory"), "{out}");

    give_memory(&server, MUCH).await;
    let report = cli.json(&["import", file]);
    assert_eq!(report["alreadyStored"], stored, "{report}");
    assert_eq!(report["stored"], events.len() - stored, "{report}");
    let (code, out, errors) = cli.run(&["verify"]);
    assert_eq!(code, 0, "{out}{errors}");
}

/// The store refuses a server that would evict events, and the command line names the setting to change.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_refuses_a_server_that_evicts() {
    for binary in Binary::all().unwrap() {
        let max_memory = Some(MaxMemory { bytes: LITTLE, policy: "allkeys-lru".to_owned() });
        let server = Server::start(&binary, &Config { max_memory, ..Config::default() }).await.unwrap();
        let cli = Cli { folder: tempfile::tempdir().unwrap(), url: server.url() };
        let one = cli.folder.path().join("one.ndjson");
        std::fs::write(&one, &support::demo_events(1)[0]).unwrap();
        for arguments in
            [&["init"][..], &["publish", one.to_str().unwrap()], &["import", one.to_str().unwrap()]]
        {
            let (code, out, errors) = cli.run(arguments);
            assert_eq!(code, 1, "{binary} {arguments:?}: {out}{errors}");
            assert!(errors.contains("allkeys-lru"), "{errors}");
            assert!(errors.contains("CONFIG SET maxmemory-policy noeviction"), "{errors}");
            println!("{binary} {arguments:?}: exit {code}: {}", errors.trim_end());
        }
        let client = redis::Client::open(server.url()).unwrap();
        let mut owner = client.get_multiplexed_async_connection().await.unwrap();
        assert_eq!(cmd("DBSIZE").query_async::<u64>(&mut owner).await.unwrap(), 0, "{binary}");
    }
}
