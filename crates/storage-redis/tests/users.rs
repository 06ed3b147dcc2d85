//! The users that the documentation gives to services and operators: their rights and their limits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::time::Duration;

use conformance::Draft;
use domain::{
    Checkpoint, Cursor, Event, Filter, StorageFailure, StoreId,
    ports::{
        AppendOutcome, Atomicity, CheckpointStore, EventStore, EventStoreError, ReadRequest, ScheduleStore,
        SchemaStore, StatSample, StatsStore,
    },
};
use event_replay_storage_redis::{RedisEngine, RedisOptions, Verdict};
use redis::{FromRedisValue, aio::MultiplexedConnection, cmd};
use servers::{Aof, Binary, Config, MaxMemory, Server};
use store::Store;

/// Returns the users on the page.
fn documented() -> Vec<String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md")).unwrap();
    let lines = page.lines().filter_map(|line| line.strip_prefix("user "));
    let users: Vec<String> = lines.map(str::to_owned).collect();
    assert_eq!(users.len(), 2, "{users:?}");
    users
}

async fn server() -> Server {
    let config = Config { users: documented(), aof: Aof::EverySecond, ..Config::default() };
    Server::start(&Binary::default(), &config).await.unwrap()
}

fn service(server: &Server) -> RedisOptions {
    RedisOptions::new(server.url_with("event-replay-service", "SERVICE_PASSWORD"))
}

fn operator(server: &Server) -> RedisOptions {
    RedisOptions::new(server.url_with("event-replay-operator", "OPERATOR_PASSWORD"))
}

async fn owner(server: &Server) -> MultiplexedConnection {
    let client = redis::Client::open(server.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

fn event(id: &str) -> Event {
    Draft::new(id).with("userId", "user-1").with("correlationId", "c").event()
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        id: "1".to_owned(),
        name: "mark".to_owned(),
        mark: Cursor::new(StoreId(1), 1, vec![1]),
        last_processed_event_id: "e".to_owned(),
        event_count: 1,
        metadata: serde_json::Map::new(),
        created_at: "2024-01-15T10:30:00Z".parse().unwrap(),
        hold: true,
    }
}

/// Returns every key with its content.
async fn content(owner: &mut MultiplexedConnection) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut keys: Vec<Vec<u8>> = cmd("KEYS").arg("*").query_async(owner).await.unwrap();
    keys.sort();
    let mut all = Vec::new();
    for key in keys {
        let dump: redis::Value = cmd("DUMP").arg(&key).query_async(owner).await.unwrap();
        all.push((key, Vec::from_redis_value(dump).unwrap()));
    }
    all
}

fn is_denied(failure: &StorageFailure) -> bool {
    matches!(failure, StorageFailure::Denied(_))
}

#[tokio::test]
async fn the_service_publishes_and_reads_and_nothing_is_missing() {
    nothing_is_missing(1).await;
}

#[tokio::test]
async fn nothing_is_missing_in_several_partitions() {
    nothing_is_missing(4).await;
}

async fn nothing_is_missing(partitions: u16) {
    let server = server().await;
    let options = RedisOptions { partitions: Some(partitions), ..service(&server) };
    let engine = RedisEngine::create(options).await.unwrap();
    let store = Store::new(engine.clone());
    let outcomes = store.append(&[event("e1"), event("e2")], Atomicity::Each).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))), "{outcomes:?}");
    let due = "2020-01-01T00:00:00Z".parse().unwrap();
    store.schedule(&event("e3"), due).await.unwrap();
    assert_eq!(store.append_due(10).await.unwrap().len(), 1);
    store.save_checkpoint(checkpoint(), false).await.unwrap();
    store
        .add_stats(&[StatSample { minute: 1, name: "n".into(), label: "l".into(), count: 1, sum: 2 }])
        .await
        .unwrap();
    store.fold_stats(5).await.unwrap();
    let page = store.read(&ReadRequest::new(Filter::default(), 10)).await.unwrap();
    assert_eq!(page.events.len(), 3);
    assert!(store.info().await.unwrap().bytes_occupied.is_some());
    let head = store.head().await.unwrap();
    let waits = tokio::spawn({
        let (store, head) = (store.clone(), head.clone());
        async move { store.changed(&head, Duration::from_secs(30)).await.unwrap() }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    store.append(&[event("e4")], Atomicity::Each).await.unwrap();
    assert_ne!(waits.await.unwrap(), head);
    let checks = engine.checks().await.unwrap();
    let unwell: Vec<_> = checks.iter().filter(|check| check.verdict != Verdict::Pass).collect();
    assert!(unwell.is_empty(), "{unwell:?}");
    engine.close().await;
}

#[tokio::test]
async fn the_service_may_touch_no_other_namespace() {
    let server = server().await;
    let other = RedisOptions { namespace: "other".to_owned(), ..service(&server) };
    let refused = RedisEngine::create(other.clone()).await.unwrap_err();
    assert!(is_denied(&refused), "{refused}");
    assert!(is_denied(&RedisEngine::open(other).await.unwrap_err()));
}

#[tokio::test]
async fn the_operator_reads_and_every_write_is_denied() {
    let server = server().await;
    let writer = Store::new(RedisEngine::create(service(&server)).await.unwrap());
    writer.append(&[event("e1")], Atomicity::Each).await.unwrap();
    writer.save_checkpoint(checkpoint(), false).await.unwrap();
    let engine = RedisEngine::open(operator(&server)).await.unwrap();
    let store = Store::new(engine.clone());
    assert_eq!(store.read(&ReadRequest::new(Filter::default(), 10)).await.unwrap().events.len(), 1);
    assert_eq!(store.get(&["e1".to_owned()]).await.unwrap().len(), 1);
    assert_eq!(store.list_checkpoints().await.unwrap().len(), 1);
    assert_eq!(store.list_schemas().await.unwrap().len(), 0);
    assert_eq!(store.stats(None).await.unwrap().len(), 0);
    assert_eq!(store.next_due().await.unwrap(), None);
    assert!(store.info().await.unwrap().bytes_occupied.is_some());
    store.changed(&store.head().await.unwrap(), Duration::from_millis(50)).await.unwrap();

    let mut owner = owner(&server).await;
    let before = content(&mut owner).await;
    let Err(EventStoreError::Storage(refused)) = store.append(&[event("e2")], Atomicity::Each).await else {
        panic!("an operator appended")
    };
    assert!(is_denied(&refused), "{refused}");
    let due = "2020-01-01T00:00:00Z".parse().unwrap();
    let sample = StatSample { minute: 1, name: "n".into(), label: "l".into(), count: 1, sum: 2 };
    for refused in [
        store.schedule(&event("e3"), due).await.map(drop).map_err(|error| error.to_string()),
        store.save_checkpoint(checkpoint(), true).await.map_err(|error| error.to_string()),
        store.add_stats(&[sample]).await.map_err(|error| error.to_string()),
        store.remove_schema("t", None).await.map(drop).map_err(|error| error.to_string()),
        RedisEngine::create(operator(&server)).await.map(drop).map_err(|error| error.to_string()),
    ] {
        let text = refused.unwrap_err();
        assert!(text.contains("does not permit this"), "{text}");
    }
    assert_eq!(content(&mut owner).await, before);

    let checks = engine.checks().await.unwrap();
    let rights = checks.iter().find(|check| check.name == "redis-rights").unwrap();
    assert_eq!(rights.verdict, Verdict::Warn);
    assert!(rights.message.contains("can only read"), "{rights:?}");
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_and_nothing_is_written() {
    let server = server().await;
    let mut owner = owner(&server).await;
    let engine = RedisEngine::create(service(&server)).await.unwrap();
    let store = Store::new(engine.clone());
    store.append(&[event("e1")], Atomicity::Each).await.unwrap();
    let before = content(&mut owner).await;
    for right in ["xadd", "append", "rpush", "hset", "hsetnx", "zadd", "publish", "hdel", "fcall", "info"] {
        let set = |sign: &str| {
            let mut command = cmd("ACL");
            command.arg("SETUSER").arg("event-replay-service").arg(format!("{sign}{right}"));
            command
        };
        set("-").exec_async(&mut owner).await.unwrap();
        let refused = RedisEngine::create(service(&server)).await.unwrap_err();
        assert!(is_denied(&refused), "{right}: {refused:?}");
        assert!(refused.to_string().to_lowercase().contains(right), "{right}: {refused}");
        if right == "info" {
            // Functions cache the answer to `INFO` for a moment, so an append may still succeed.
            set("+").exec_async(&mut owner).await.unwrap();
            continue;
        }
        // A store that was open before fails during its work. Lists are written when pending terms are folded.
        let refused = match right {
            "rpush" => engine.fold().await.unwrap_err(),
            _ => match store.append(&[event(right)], Atomicity::Each).await {
                Err(EventStoreError::Storage(refused)) => refused,
                other => panic!("without the right to {right}: {other:?}"),
            },
        };
        assert!(is_denied(&refused), "{right}: {refused:?}");
        assert_eq!(content(&mut owner).await, before, "{right}");
        set("+").exec_async(&mut owner).await.unwrap();
    }
    store.append(&[event("e2")], Atomicity::Each).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_denied_and_not_repeated() {
    let server = server().await;
    let options = RedisOptions::new(server.url_with("event-replay-service", "hunter2"));
    let refused = RedisEngine::open(options).await.unwrap_err();
    assert!(is_denied(&refused), "{refused:?}");
    assert!(!format!("{refused:?}").contains("hunter2"));
}

#[tokio::test]
async fn who_may_not_look_is_told_so() {
    let users = vec!["blind on >secret ~{default:*}:* &{default:*}:* -@all +hgetall +ping".to_owned()];
    let server = Server::start(&Binary::default(), &Config { users, ..Config::default() }).await.unwrap();
    RedisEngine::create(RedisOptions::new(server.url())).await.unwrap();
    let engine = RedisEngine::open(RedisOptions::new(server.url_with("blind", "secret"))).await.unwrap();
    let checks = engine.checks().await.unwrap();
    let server_check = checks.iter().find(|check| check.name == "redis-server").unwrap();
    assert_eq!(server_check.verdict, Verdict::Warn);
    assert!(server_check.message.contains("may not run INFO"), "{server_check:?}");
}

/// Starts a server with this configuration, and returns it with the result of opening a store for writes.
async fn opened_with(config: Config) -> (Server, Result<RedisEngine, StorageFailure>) {
    let server = Server::start(&Binary::default(), &config).await.unwrap();
    let opened = RedisEngine::create(RedisOptions::new(server.url())).await;
    (server, opened)
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_and_nothing_is_written() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let max_memory = Some(MaxMemory { bytes: 100 << 20, policy: policy.to_owned() });
        let (server, opened) = opened_with(Config { max_memory, ..Config::default() }).await;
        let said = opened.unwrap_err().to_string();
        assert!(said.contains(policy) && said.contains("CONFIG SET maxmemory-policy noeviction"), "{said}");
        assert!(content(&mut owner(&server).await).await.is_empty());
    }
}

#[tokio::test]
async fn what_is_set_up_badly_is_a_warning() {
    let lines = vec!["hash-max-listpack-entries 16".to_owned()];
    let (_server, opened) = opened_with(Config { lines, ..Config::default() }).await;
    let checks = opened.unwrap().checks().await.unwrap();
    let warns = |name: &str| checks.iter().find(|check| check.name == name && check.verdict == Verdict::Warn);
    assert!(warns("redis-persistence").unwrap().message.contains("no append-only file"), "{checks:?}");
    assert!(warns("redis-encoding").unwrap().message.contains("hash-max-listpack-entries"), "{checks:?}");
    assert!(warns("redis-eviction").is_none());
}

#[tokio::test]
async fn a_bucket_that_is_not_compact_is_found_under_any_configuration() {
    let (server, opened) = opened_with(Config::default()).await;
    let engine = opened.unwrap();
    let mut owner = owner(&server).await;
    let narrow = |entries: &str| {
        let mut command = cmd("CONFIG");
        command.arg("SET").arg("hash-max-listpack-entries").arg(entries);
        command
    };
    narrow("4").exec_async(&mut owner).await.unwrap();
    // Buckets as full as those of a large store.
    for some in 0..64 {
        let mut pipeline = redis::pipe();
        for bucket in some * 256..(some + 1) * 256 {
            pipeline.cmd("HSET").arg(format!("{{default:0}}:d:{bucket}"));
            for field in 0..20 {
                pipeline.arg(field).arg(field);
            }
        }
        pipeline.exec_async(&mut owner).await.unwrap();
    }
    narrow("512").exec_async(&mut owner).await.unwrap();
    let checks = engine.checks().await.unwrap();
    let encoding = checks.iter().find(|check| check.name == "redis-encoding").unwrap();
    assert_eq!(encoding.verdict, Verdict::Warn, "{encoding:?}");
}

#[tokio::test]
async fn a_replica_is_refused_and_its_master_named() {
    let master = Server::start(&Binary::default(), &Config::default()).await.unwrap();
    RedisEngine::create(RedisOptions::new(master.url())).await.unwrap();
    let lines = vec![format!("replicaof 127.0.0.1 {}", master.port())];
    let (_replica, opened) = opened_with(Config { lines, ..Config::default() }).await;
    let refused = opened.unwrap_err();
    assert!(matches!(refused, StorageFailure::Unavailable(_)), "{refused:?}");
    assert!(refused.to_string().contains(&format!("127.0.0.1:{}", master.port())), "{refused}");
}

#[tokio::test]
async fn what_is_not_ours_is_refused_and_left_alone() {
    let (server, opened) = opened_with(Config::default()).await;
    opened.unwrap();
    let mut owner = owner(&server).await;
    let options =
        |namespace: &str| RedisOptions { namespace: namespace.to_owned(), ..RedisOptions::new(server.url()) };
    for (name, value) in [
        ("text", "SET {text:0}:meta x"),
        ("hash", "HSET {hash:0}:meta a b"),
        ("rest", "RPUSH {rest:0}:chunks 1"),
        ("newer", "HSET {newer:0}:meta layout 99 store 1"),
    ] {
        let mut words = value.split(' ');
        let mut command = cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        command.exec_async(&mut owner).await.unwrap();
        let before = content(&mut owner).await;
        let refused = RedisEngine::create(options(name)).await.unwrap_err();
        assert!(matches!(refused, StorageFailure::Foreign(_)), "{name}: {refused:?}");
        assert_eq!(content(&mut owner).await, before, "{name}");
    }
}

#[tokio::test]
async fn a_namespace_is_removed_whole_and_others_stay() {
    let (server, opened) = opened_with(Config::default()).await;
    let kept = Store::new(opened.unwrap());
    kept.append(&[event("e1")], Atomicity::Each).await.unwrap();
    let mut owner = owner(&server).await;
    let before = content(&mut owner).await;
    let options = RedisOptions { namespace: "other".to_owned(), ..RedisOptions::new(server.url()) };
    assert!(!RedisEngine::exists(&options).await.unwrap());
    let other = RedisEngine::create(options.clone()).await.unwrap();
    Store::new(other.clone()).append(&[event("e1")], Atomicity::Each).await.unwrap();
    assert!(RedisEngine::exists(&options).await.unwrap());
    other.remove_namespace().await.unwrap();
    assert!(!RedisEngine::exists(&options).await.unwrap());
    assert_eq!(content(&mut owner).await, before);
}
