//! A server with full memory: a refused append leaves no trace, other calls succeed, and appends succeed again with
//! more memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use conformance::Draft;
use domain::{
    Checkpoint, Cursor, Event, Filter, StorageFailure,
    group::GroupSpec,
    ports::{
        AppendOutcome, Atomicity, CheckpointStore, CommitOutcome, EventStore, EventStoreError, GroupHolds,
        GroupStore, LeaseRequest, ReadRequest, ScheduleStore, SegmentCommit, TrimRequest,
    },
    retention::RetentionRule,
};
use event_replay_storage_redis::{RedisEngine, RedisOptions};
use redis::{FromRedisValue, Value, aio::MultiplexedConnection, cmd};
use servers::{Binary, Config, MaxMemory, Server};
use store::Store;

/// The memory limit at first, and later.
const LITTLE: u64 = 12 << 20;
const MUCH: u64 = 64 << 20;

async fn full_server(binary: &Binary) -> (Server, Store, MultiplexedConnection) {
    let max_memory = Some(MaxMemory { bytes: LITTLE, policy: "noeviction".to_owned() });
    let server = Server::start(binary, &Config { max_memory, ..Config::default() }).await.unwrap();
    let store = Store::new(RedisEngine::create(RedisOptions::new(server.url())).await.unwrap());
    let client = redis::Client::open(server.url()).unwrap();
    let owner = client.get_multiplexed_async_connection().await.unwrap();
    (server, store, owner)
}

async fn give_memory(owner: &mut MultiplexedConnection, bytes: u64) {
    cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec_async(owner).await.unwrap();
}

async fn used_memory(owner: &mut MultiplexedConnection) -> u64 {
    let info: String = cmd("INFO").arg("memory").query_async(owner).await.unwrap();
    info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
}

/// Returns every key with its content.
async fn content(owner: &mut MultiplexedConnection) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = BTreeMap::new();
    for key in cmd("KEYS").arg("*").query_async::<Vec<Vec<u8>>>(owner).await.unwrap() {
        let dump: Value = cmd("DUMP").arg(&key).query_async(owner).await.unwrap();
        all.insert(key, Vec::from_redis_value(dump).unwrap());
    }
    all
}

fn batch(name: &str, events: usize, bytes: usize) -> Vec<Event> {
    let event = |n: usize| {
        Draft::new(&format!("{name}-{n}"))
            .with("userId", format!("u{}", n % 7))
            .with("correlationId", format!("{name}-{}", n / 3))
            .with("text", "x".repeat(bytes))
            .event()
    };
    (0..events).map(event).collect()
}

fn is_full<T>(answer: &Result<T, EventStoreError>) -> bool {
    matches!(answer, Err(EventStoreError::Storage(StorageFailure::Full(_))))
}

/// Appends batches of many sizes until one is refused. Returns the number of stored events and the refused batch.
async fn fill(store: &Store, owner: &mut MultiplexedConnection) -> (u64, Vec<Event>) {
    let mut stored = 0;
    for n in 0..10_000 {
        let events = [1, 200, 37][n % 3];
        let bytes = [900, 40_000, 5][n / 3 % 3].min(1_000_000 / events);
        let batch = batch(&format!("b{n}"), events, bytes);
        match store.append(&batch, Atomicity::Each).await {
            Ok(outcomes) => {
                assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))));
                stored += batch.len() as u64;
            }
            Err(EventStoreError::Storage(failure @ StorageFailure::Full(_))) => {
                let said = failure.to_string();
                assert!(said.contains("maxmemory") && said.contains("trim"), "{said}");
                // Less than the used memory, so that smaller batches do not fit either.
                let used = used_memory(owner).await;
                give_memory(owner, used / 10 * 9).await;
                return (stored, batch);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("it is never full");
}

async fn is_sound(store: &Store, events: u64) {
    let report = store.verify(None).await.unwrap();
    assert_eq!((report.total_findings, &report.findings), (0, &Vec::new()));
    assert_eq!(report.events, events);
    assert_eq!(store.count(&Arc::new(Filter::default()), None).await.unwrap(), events);
}

fn request(consumer: &str) -> LeaseRequest {
    let (group, consumer) = ("g".to_owned(), consumer.to_owned());
    LeaseRequest { group, consumer, token: 7, duration: Duration::from_secs(600) }
}

/// A refused append leaves nothing, and calls that need no memory succeed.
#[tokio::test]
async fn an_append_to_a_full_server_is_refused_whole_and_all_else_goes_on() {
    for binary in Binary::all().unwrap() {
        let (server, store, mut owner) = full_server(&binary).await;
        let start = Cursor { sequences: vec![0], ..store.head().await.unwrap() };
        store.create_group(&GroupSpec { segments: 4, ..GroupSpec::new("g") }, &start).await.unwrap();
        let lease = store.lease(&request("c")).await.unwrap().held;
        let (stored, refused) = fill(&store, &mut owner).await;
        println!("{binary}: {stored} events, then full");

        // Every call that needs memory is refused and leaves no trace.
        let before = content(&mut owner).await;
        let odd: Vec<Vec<Event>> = vec![
            refused.clone(),
            batch("one", 1, 10),
            batch("most", 200, 4_000),
            batch("big", 1, 1_000_000),
            // Some of these events are already stored.
            [batch("b0", 1, 900), batch("new", 5, 100)].concat(),
        ];
        for events in &odd {
            for atomicity in [Atomicity::Each, Atomicity::AllOrNothing] {
                assert!(is_full(&store.append(events, atomicity).await), "{binary}: {}", events[0].id());
            }
        }
        let due = "2030-01-01T00:00:00Z".parse().unwrap();
        store.schedule(&odd[1][0], due).await.unwrap_err();
        assert!(content(&mut owner).await == before, "{binary}: something of what was refused is there");
        is_sound(&store, stored).await;

        // Reads succeed, also in a new process, and so do consumers.
        let anew = Store::new(RedisEngine::create(RedisOptions::new(server.url())).await.unwrap());
        assert_eq!(anew.read(&ReadRequest::new(Filter::default(), 10)).await.unwrap().events.len(), 10);
        assert_eq!(anew.get(&["b0-0".to_owned()]).await.unwrap().len(), 1);
        let commits: Vec<SegmentCommit> =
            lease.iter().map(|lease| SegmentCommit::new(lease.clone(), stored, stored)).collect();
        assert_eq!(store.commit(&commits).await.unwrap(), vec![CommitOutcome::Committed; 4]);
        assert_eq!(store.lease(&request("c")).await.unwrap().held, lease);
        store.leave("g", "c", 7).await.unwrap();

        // With more memory the refused batches are stored.
        give_memory(&mut owner, MUCH).await;
        let mut all = stored;
        for events in &odd {
            let outcomes = store.append(events, Atomicity::Each).await.unwrap();
            all += outcomes.iter().filter(|it| matches!(it, AppendOutcome::Stored(_))).count() as u64;
        }
        is_sound(&store, all).await;
        assert!(all > stored + 200, "{binary}: {all} after {stored}");
    }
}

/// Calls that free memory succeed on a full server, since they are the way to free it.
#[tokio::test]
async fn a_full_server_is_trimmed_and_takes_events_again() {
    for binary in Binary::all().unwrap() {
        let (_server, store, mut owner) = full_server(&binary).await;
        let checkpoint = Checkpoint {
            id: "1".to_owned(),
            name: "mark".to_owned(),
            mark: store.head().await.unwrap(),
            last_processed_event_id: String::new(),
            event_count: 0,
            metadata: serde_json::Map::new(),
            created_at: "2024-01-15T10:30:00Z".parse().unwrap(),
            hold: true,
        };
        store.save_checkpoint(checkpoint, false).await.unwrap();
        let due = "2030-01-01T00:00:00Z".parse().unwrap();
        store.schedule(&Draft::new("later").event(), due).await.unwrap();
        let (stored, refused) = fill(&store, &mut owner).await;
        assert!(is_full(&store.append(&refused, Atomicity::Each).await));
        assert!(store.delete_checkpoint("mark").await.unwrap(), "{binary}");
        assert!(store.cancel_scheduled("later").await.unwrap(), "{binary}");
        let rule = RetentionRule { max_events: Some(stored / 3), ..RetentionRule::default() };
        let groups = GroupHolds::default();
        let request = TrimRequest { rule, holds: Vec::new(), limit: 1_000, dry_run: false, groups };
        let mut gone = 0;
        loop {
            let trimmed = store.trim(&request).await.unwrap();
            gone += trimmed.events;
            if !trimmed.more {
                break;
            }
        }
        assert_eq!(gone, stored - stored / 3);
        // The server releases freed memory after a delay.
        let mut again = store.append(&refused, Atomicity::Each).await;
        for _ in 0..100 {
            if !is_full(&again) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            again = store.append(&refused, Atomicity::Each).await;
        }
        let outcomes = again.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))), "{binary}");
        is_sound(&store, stored / 3 + refused.len() as u64).await;
        give_memory(&mut owner, MUCH).await;
        store.append(&batch("more", 200, 100), Atomicity::Each).await.unwrap();
    }
}

/// The comparison above must detect a single written field.
#[tokio::test]
async fn one_field_more_is_another_content() {
    let (_server, store, mut owner) = full_server(&Binary::default()).await;
    store.append(&batch("b", 20, 10), Atomicity::Each).await.unwrap();
    let before = content(&mut owner).await;
    assert_eq!(content(&mut owner).await, before);
    cmd("HSET").arg("{default:0}:dir:0").arg("t:x").arg(1).exec_async(&mut owner).await.unwrap();
    assert_ne!(content(&mut owner).await, before);
    let report = store.verify(None).await.unwrap();
    assert!(report.total_findings > 0);
}

/// Every policy that evicts keys is refused before any write, with an error that says what to do.
#[tokio::test]
async fn every_policy_that_drops_keys_is_refused() {
    let policies = [
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ];
    for binary in Binary::all().unwrap() {
        let server = Server::start(&binary, &Config::default()).await.unwrap();
        let client = redis::Client::open(server.url()).unwrap();
        let mut owner = client.get_multiplexed_async_connection().await.unwrap();
        for policy in policies {
            let mut set = cmd("CONFIG");
            set.arg("SET").arg("maxmemory-policy").arg(policy).exec_async(&mut owner).await.unwrap();
            let refused = RedisEngine::create(RedisOptions::new(server.url())).await.unwrap_err().to_string();
            let says = refused.contains(policy)
                && refused.contains("CONFIG SET maxmemory-policy noeviction")
                && refused.contains("drops stored events");
            assert!(says, "{binary}: {refused}");
            assert!(content(&mut owner).await.is_empty(), "{binary}: {policy}");
        }
        cmd("CONFIG")
            .arg("SET")
            .arg("maxmemory-policy")
            .arg("noeviction")
            .exec_async(&mut owner)
            .await
            .unwrap();
        RedisEngine::create(RedisOptions::new(server.url())).await.unwrap();
    }
}
