//! A store on the nodes of a cluster, while replicas are promoted, masters killed, and slots moved.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod harness;
mod load;

use std::time::{Duration, Instant};

use conformance::{Draft, ManualClock};
use domain::{
    StorageFailure,
    ports::{Atomicity, EventStore as _, EventStoreError, Keeps},
};
use harness::{Entry, Namespace, RedisHarness};
use load::{Answers, Load, Log};
use servers::{Binary, Cluster, Config, Failover};
use storage_redis::{RedisOptions, RedisStore};
use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};

mod laws {
    conformance::suite!(crate::of_all_laws().await);
}

/// Longer than anything here takes: a test that waits for it has failed.
const LONG: Duration = Duration::from_secs(60);

/// One cluster for the laws; it ends with the process.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn of_all_laws() -> RedisHarness {
    let cluster = CLUSTER.get_or_init(async || cluster().await).await;
    RedisHarness::over(cluster.url(), cluster.nodes())
}

async fn cluster() -> Cluster {
    Cluster::start(&Binary::default(), &Config::default()).await.unwrap()
}

/// A namespace that a master serves.
async fn namespace_at(cluster: &Cluster, master: usize) -> (Namespace, u16) {
    let harness = RedisHarness::over(cluster.url(), cluster.nodes());
    loop {
        let namespace = harness.namespace(ManualClock::default(), Keeps::History);
        let slot = cluster.slot_of(&namespace.key("meta")).await.unwrap();
        if cluster.master_of(slot).await == Some(master) {
            return (namespace, slot);
        }
    }
}

/// A call that is given longer than a failover takes.
fn patient(namespace: &Namespace) -> RedisOptions {
    RedisOptions { timeout: Duration::from_secs(30), ..namespace.options() }
}

async fn log(namespace: &Namespace) -> Log {
    let (meta, entries) = namespace.log().await;
    let mut log = Log::new(&meta);
    for (entry, fields) in entries {
        log.add(&entry, &fields.iter().find(|(name, _)| name == "event").unwrap().1);
    }
    log
}

#[tokio::test]
async fn nothing_is_lost_when_a_replica_is_promoted_with_its_masters_help() {
    let cluster = cluster().await;
    let (namespace, _) = namespace_at(&cluster, 1).await;
    let mut load = Load::begin(&patient(&namespace), Answers::AreNeverLost).await;
    cluster.promote(4, Failover::Agreed).await.unwrap();
    load.goes_on().await;
    cluster.promote(1, Failover::Agreed).await.unwrap();
    load.goes_on().await;
    let books = load.end().await;
    let log = log(&namespace).await;
    let settled = books.check(&log).unwrap();
    println!("promoted twice: {settled:?} of {}", books.len());
    assert_eq!((settled.lost, log.epoch), (0, 3));
}

#[tokio::test]
async fn writers_and_readers_go_on_by_themselves_when_a_master_is_killed() {
    let mut cluster = cluster().await;
    let (namespace, _) = namespace_at(&cluster, 1).await;
    let mut load = Load::begin(&patient(&namespace), Answers::MayBeLost).await;
    cluster.nodes_mut()[1].kill().await.unwrap();
    load.goes_on().await;
    cluster.nodes_mut()[1].restart().await.unwrap();
    load.goes_on().await;
    let books = load.end().await;
    let log = log(&namespace).await;
    println!("killed: {:?} of {}", books.check(&log).unwrap(), books.len());
    assert!(log.epoch >= 2, "the log epoch is raised where something may have been lost");
}

/// As long as a slot is half-way, keys are read where they are; a function that names keys of both nodes waits.
#[tokio::test]
async fn a_slot_is_moved_while_events_are_appended_and_read() {
    let cluster = cluster().await;
    let (namespace, slot) = namespace_at(&cluster, 1).await;
    let mut load = Load::begin(&patient(&namespace), Answers::AreNeverLost).await;
    for (round, to) in [2, 0, 1].into_iter().enumerate() {
        let moved = cluster.begin_move(slot, to).await.unwrap();
        while moved.carry(fastrand::usize(1..40)).await.unwrap() > 0 {
            load.look().await;
            if round == 0 && moved.left().await.unwrap() < 50 {
                // Held: readers go on over both nodes.
                let walks = load.walks();
                while load.walks() < walks + 2 {
                    load.look().await;
                }
            }
        }
        moved.finish().await.unwrap();
        load.goes_on().await;
    }
    let books = load.end().await;
    let log = log(&namespace).await;
    let settled = books.check(&log).unwrap();
    println!("moved three times: {settled:?} of {}", books.len());
    assert_eq!(settled.lost, 0);
    let store = RedisStore::open(namespace.options()).await.unwrap();
    assert_eq!(store.verify(None).await.unwrap().findings, []);
}

/// A node takes a key that was removed for one that has gone to the other node. A function that removes a key and touches it
/// again would fail in its midst, and what it did is not undone: writing a chunk anew would leave the log without it.
#[tokio::test]
async fn a_function_is_refused_before_it_begins_as_long_as_its_slot_is_on_the_way() {
    for binary in Binary::all().unwrap() {
        let cluster = Cluster::start(&binary, &Config::default()).await.unwrap();
        let (namespace, slot) = namespace_at(&cluster, 1).await;
        let store = RedisStore::create(namespace.options()).await.unwrap();
        store.append(&Draft::many("e", 3), Atomicity::Each).await.unwrap();
        // So that the other node knows the functions, too.
        RedisStore::create(namespace_at(&cluster, 0).await.0.options()).await.unwrap();
        // As in the midst of an erasure: one entry was copied, and two are to come.
        let key = |name: &str| namespace.key(name);
        let [(id, fields), ..]: [Entry; 1] =
            namespace.say::<Vec<Entry>>(&["XRANGE", &key("log:0"), "-", "1-0"]).await.try_into().unwrap();
        let (log, copy) = (key("log:0"), key("copy:0"));
        let mut words: Vec<&[u8]> = vec![b"XADD", copy.as_bytes(), id.as_bytes()];
        words.extend(fields.iter().flat_map(|(name, value)| [name.as_bytes(), value]));
        let _: String = namespace.command(&words).await;
        let _: i64 = namespace.say(&["HSET", &key("holes"), "0", "0"]).await;
        let _: i64 = namespace.say(&["SADD", &key("unscrubbed"), "0"]).await;
        let function = namespace.function("rewrite").await;
        let (meta, holes, unscrubbed) = (key("meta"), key("holes"), key("unscrubbed"));
        let words =
            ["FCALL", &function, "5", &meta, &log, &copy, &holes, &unscrubbed, "0", "1000", "1-0", "0"];

        let moved = cluster.begin_move(slot, 0).await.unwrap();
        let refused = cluster_says(&cluster, 1, &[&words]).await.unwrap_err();
        assert_eq!(refused.code(), Some("TRYAGAIN"), "{binary}, all keys are here: {refused}");
        while moved.carry(100).await.unwrap() > 0 {}
        let refused = cluster_says(&cluster, 0, &[&["ASKING"], &words]).await.unwrap_err();
        assert_eq!(refused.code(), Some("TRYAGAIN"), "{binary}, all keys are there: {refused}");
        moved.finish().await.unwrap();

        let (_, entries) = namespace.log().await;
        assert_eq!(entries.len(), 3, "{binary}");
        assert!(cluster_says(&cluster, 0, &[&words]).await.is_ok(), "{binary}: the slot has arrived");
        let (_, entries) = namespace.log().await;
        assert_eq!(entries.len(), 3, "{binary}");
        let copies: u64 = namespace.say(&["EXISTS", &copy]).await;
        assert_eq!(copies, 0, "{binary}");
    }
}

/// What a node answers to the last of some commands, which are sent to it in one piece.
async fn cluster_says(
    cluster: &Cluster,
    node: usize,
    commands: &[&[&str]],
) -> Result<redis::Value, redis::RedisError> {
    let client = redis::Client::open(cluster.nodes()[node].url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut pipeline = redis::Pipeline::new();
    for words in commands {
        pipeline.cmd(words[0]).arg(&words[1..]);
    }
    let mut values = connection.send_packed_commands(&pipeline, 0, commands.len()).await?;
    values.pop().unwrap().extract_error()
}
