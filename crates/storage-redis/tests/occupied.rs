//! The memory that a store reports, compared with the server's figures for every key and for its data.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail, and it says how close the estimate is"
)]

use std::time::Duration;

use conformance::Draft;
use domain::{
    Document, Event, Limits,
    ports::{AppendOutcome, Atomicity, EventStore as _, RetentionMode, StoreInfo},
};
use event_replay_storage_redis::{RedisEngine, RedisOptions};
use generator::{Generator, Settings};
use redis::{aio::MultiplexedConnection, cmd};
use servers::{Aof, Binary, Config, Server};
use store::Store;

async fn owner(server: &Server) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// Returns the server's figure for all keys, with every part of each sampled. Only the keys of the namespace exist.
async fn of_keys(owner: &mut MultiplexedConnection) -> u64 {
    let keys: Vec<Vec<u8>> = cmd("KEYS").arg("*").query_async(owner).await.unwrap();
    let mut sum = 0;
    for keys in keys.chunks(1000) {
        let mut pipeline = redis::pipe();
        for key in keys {
            pipeline.cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0);
        }
        let bytes: Vec<u64> = pipeline.query_async(owner).await.unwrap();
        sum += bytes.iter().sum::<u64>();
    }
    sum
}

/// Returns the memory that the server uses for data, by its own figure.
async fn used(owner: &mut MultiplexedConnection) -> u64 {
    let info: String = cmd("INFO").arg("memory").query_async(owner).await.unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:")).unwrap();
    line.parse().unwrap()
}

fn generated(count: usize) -> Vec<Event> {
    let admit = |json: &str| Document::parse(json.as_bytes(), &Limits::default()).ok()?.into_event().ok();
    let made = Generator::new(Settings::demo(count as u64 * 2)).filter_map(|made| admit(&made.json));
    made.take(count).collect()
}

/// Events with long ids. All of them name one tenant, and each names one of 40 users.
fn alike(count: usize) -> Vec<Event> {
    let draft = |n| {
        let draft = Draft::new(&format!("{n:0>100}")).of_type(&format!("type-{}", n % 300));
        draft.with("tenantId", "the only one").with("userId", format!("user-{}", n % 40)).event()
    };
    (0..count).map(draft).collect()
}

async fn append(store: &Store, events: &[Event]) {
    for batch in events.chunks(100) {
        let outcomes = store.append(batch, Atomicity::Each).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))), "{outcomes:?}");
    }
}

/// Returns the report of the store, after the background merges of runs have finished.
async fn settled(store: &Store) -> StoreInfo {
    let mut info = store.info().await.unwrap();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before = std::mem::replace(&mut info, store.info().await.unwrap());
        if before.bytes_occupied == info.bytes_occupied {
            break;
        }
    }
    info
}

/// Returns the deviation in percent of `right`.
fn off_by(right: u64, said: u64) -> f64 {
    (said as f64 - right as f64).abs() * 100.0 / right as f64
}

async fn check(name: &str, events: &[Event], change: impl Fn(&mut RedisOptions)) {
    let server = Server::start(&Binary::default(), &Config::default()).await.unwrap();
    let mut owner = owner(&server).await;
    let empty = used(&mut owner).await;
    let mut options = RedisOptions::new(server.url());
    change(&mut options);
    let store = Store::new(RedisEngine::create(options).await.unwrap());
    append(&store, events).await;
    let info = settled(&store).await;
    let said = info.bytes_occupied.unwrap();
    let (keys, grown) = (of_keys(&mut owner).await, used(&mut owner).await - empty);
    println!(
        "{name}: {} events of {} bytes; said {said}, all keys {keys}, the server's data has grown by {grown}",
        info.events, info.bytes
    );
    assert!(off_by(keys, said) < 5.0, "{name}: {said}, and all keys are {keys}");
    // The library of functions and the connections are data too. They are most of the data of a small store.
    assert!(keys < 1 << 20 || off_by(grown, said) < 15.0, "{name}: {said}, and data has grown by {grown}");
    assert_eq!(store.info().await.unwrap().bytes_occupied, Some(said), "nothing has changed");
}

#[tokio::test]
async fn what_a_store_occupies_is_what_its_keys_take() {
    check("generated", &generated(6_000), |_| {}).await;
    check("few", &generated(60), |_| {}).await;
    check("alike", &alike(6_000), |_| {}).await;
    check("compressed", &generated(6_000), |options| options.compression = true).await;
    check("deliveries", &generated(3_000), |options| options.keeps = RetentionMode::UntilDelivered).await;
}

/// After a restart the log continues in another chunk. Here some chunks stand for all.
#[tokio::test]
async fn some_chunks_stand_for_all() {
    let config = Config { aof: Aof::Always, ..Config::default() };
    let mut server = Server::start(&Binary::default(), &config).await.unwrap();
    let engine = RedisEngine::create(RedisOptions::new(server.url())).await.unwrap();
    let store = Store::new(engine.clone());
    assert!(store.info().await.unwrap().bytes_occupied.unwrap() < 2_000, "nothing is there");
    engine.close().await;
    let events = generated(7_000);
    for (number, events) in events.chunks(1_000).enumerate() {
        if number > 0 {
            server.kill().await.unwrap();
            server.restart().await.unwrap();
        }
        let engine = RedisEngine::create(RedisOptions::new(server.url())).await.unwrap();
        append(&Store::new(engine.clone()), events).await;
        engine.close().await;
    }
    let store = Store::new(RedisEngine::open(RedisOptions::new(server.url())).await.unwrap());
    let (said, keys) =
        (store.info().await.unwrap().bytes_occupied.unwrap(), of_keys(&mut owner(&server).await).await);
    println!("seven chunks: said {said}, all keys {keys}");
    assert!(off_by(keys, said) < 5.0, "{said}, and all keys are {keys}");
}

#[tokio::test]
async fn who_may_not_ask_is_told_nothing_and_may_do_the_rest() {
    let mut users = Vec::new();
    for (name, right) in [("may", "+memory|usage"), ("may-not", "")] {
        users.push(format!(
            "{name} on >secret ~* &* +@read +info +ping +subscribe +unsubscribe -memory|usage {right}"
        ));
    }
    let server = Server::start(&Binary::default(), &Config { users, ..Config::default() }).await.unwrap();
    append(&Store::new(RedisEngine::create(RedisOptions::new(server.url())).await.unwrap()), &generated(100))
        .await;
    for (name, says) in [("may", true), ("may-not", false)] {
        let store =
            Store::new(RedisEngine::open(RedisOptions::new(server.url_with(name, "secret"))).await.unwrap());
        let info = store.info().await.unwrap();
        assert_eq!((info.events, info.bytes_occupied.is_some()), (100, says), "{name}");
    }
}
