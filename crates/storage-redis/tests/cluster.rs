//! A store on the nodes of a cluster, while replicas are promoted, masters are killed, and slots are moved.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod harness;
mod load;

use std::time::{Duration, Instant};

use conformance::Draft;
use domain::{
    Position, StorageFailure,
    ports::{AppendOutcome, Atomicity, EventStore as _, EventStoreError},
};
use event_replay_storage_redis::{RedisEngine, RedisOptions, Tls};
use harness::{Namespace, RedisHarness, namespace_at};
use load::{Answers, Load, log, patient};
use servers::{Binary, Certificates, ClientCertificates, Cluster, Config, Failover, Proxy};
use store::Store;
use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};

mod laws {
    conformance::suite!(crate::of_all_laws().await);
}

/// Longer than any wait in these tests. A test that reaches this limit has failed.
const LONG: Duration = Duration::from_secs(60);

/// One cluster for the laws. It ends with the process.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn of_all_laws() -> RedisHarness {
    let cluster = shared().await;
    RedisHarness::over(cluster.url(), cluster.nodes()).with_partitions(16)
}

/// The cluster of the laws, for tests that do not disturb other tests.
async fn shared() -> &'static Cluster {
    CLUSTER.get_or_init(async || cluster().await).await
}

async fn cluster() -> Cluster {
    Cluster::start(&Binary::default(), &Config::default()).await.unwrap()
}

/// In an agreed failover nothing is lost. In a forced one, the events that the replica lacks are lost: the end of a
/// log epoch.
#[tokio::test]
async fn writers_and_readers_go_on_by_themselves_when_replicas_are_promoted() {
    let cluster = cluster().await;
    let (namespace, _) = namespace_at(&cluster, 1).await;
    let mut load = Load::begin(&patient(&namespace), Answers::AreNeverLost).await;
    for _ in 0..load::rounds(1, 10) {
        for replica in [4, 1] {
            cluster.promote(replica, Failover::Agreed).await.unwrap();
            load.goes_on().await;
        }
    }
    let books = load.end().await;
    let before = log(&namespace).await;
    let settled = books.check(&before).unwrap();
    println!("promoted with help: {settled:?} of {}", books.len());
    assert_eq!(settled.lost, 0);
    assert!(before.epoch >= 3, "the log epoch is raised where something may have been lost");

    let (namespace, _) = namespace_at(&cluster, 2).await;
    let mut load = Load::begin(&patient(&namespace), Answers::MayBeLost).await;
    for _ in 0..load::rounds(1, 10) {
        for (replica, how) in [(5, Failover::Takeover), (2, Failover::Forced)] {
            cluster.promote(replica, how).await.unwrap();
            load.goes_on().await;
        }
    }
    let books = load.end().await;
    cluster.until_ready().await.unwrap();
    let log = log(&namespace).await;
    println!("promoted without: {:?} of {}", books.check(&log).unwrap(), books.len());
    assert!(log.epoch >= 3);
}

#[tokio::test]
async fn writers_and_readers_go_on_by_themselves_when_a_master_is_killed() {
    let mut cluster = cluster().await;
    let (namespace, _) = namespace_at(&cluster, 1).await;
    let mut load = Load::begin(&patient(&namespace), Answers::MayBeLost).await;
    for round in 0..load::rounds(1, 10) {
        let master = [1, 4][round % 2];
        cluster.nodes_mut()[master].kill().await.unwrap();
        load.goes_on().await;
        cluster.nodes_mut()[master].restart().await.unwrap();
        cluster.until_ready().await.unwrap();
        load.goes_on().await;
    }
    let books = load.end().await;
    let log = log(&namespace).await;
    println!("killed: {:?} of {}", books.check(&log).unwrap(), books.len());
    assert!(log.epoch >= 2, "the log epoch is raised where something may have been lost");
}

/// A node that hangs is detected by its silence. The outcomes of its calls in progress are unknown, and calls continue
/// on another node.
#[tokio::test]
async fn writers_and_readers_go_on_by_themselves_when_a_master_hangs() {
    let cluster = cluster().await;
    let (namespace, _) = namespace_at(&cluster, 0).await;
    let options = RedisOptions { timeout: Duration::from_secs(4), ..namespace.options() };
    let mut load = Load::begin(&options, Answers::MayBeLate).await;
    cluster.nodes()[0].pause().await.unwrap();
    load.goes_on().await;
    cluster.nodes()[0].resume().unwrap();
    load.goes_on().await;
    let books = load.end().await;
    cluster.until_ready().await.unwrap();
    println!("hung: {:?} of {}", books.check(&log(&namespace).await).unwrap(), books.len());
}

/// A store that is opened during a failover waits until it can be opened.
#[tokio::test]
async fn a_store_is_opened_while_a_replica_takes_its_masters_place() {
    let mut cluster = cluster().await;
    let (namespace, _) = namespace_at(&cluster, 1).await;
    RedisEngine::create(namespace.options()).await.unwrap();
    cluster.nodes_mut()[1].kill().await.unwrap();
    let store = Store::new(RedisEngine::create(patient(&namespace)).await.unwrap());
    store.append(&Draft::many("e", 1), Atomicity::Each).await.unwrap();
}

/// Sends a command to one node, regardless of its role in the cluster.
async fn say<T: redis::FromRedisValue>(cluster: &Cluster, node: usize, words: &[&str]) -> T {
    let client = redis::Client::open(cluster.nodes()[node].url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]).query_async(&mut connection).await.unwrap()
}

/// A master is cut off, and its replica takes over. Clients do not notice it: the next write arrives after the old
/// master has taken over again. The end of its log is nevertheless lost.
#[tokio::test]
async fn a_master_that_has_its_place_back_hands_no_position_out_twice() {
    let cluster = cluster().await;
    let (namespace, _) = namespace_at(&cluster, 2).await;
    let store = Store::new(RedisEngine::create(patient(&namespace)).await.unwrap());
    appended(&store, "kept").await;
    cluster.until_copied(5).await.unwrap();
    cluster.nodes()[5].pause().await.unwrap();
    let _: i64 = say(&cluster, 2, &["CLIENT", "KILL", "TYPE", "replica"]).await;
    let lost = appended(&store, "lost").await;

    cluster.nodes()[2].pause().await.unwrap();
    cluster.nodes()[5].resume().unwrap();
    let _: String = say(&cluster, 5, &["CLUSTER", "FAILOVER", "TAKEOVER"]).await;
    cluster.until_master_but_for(5, 2).await.unwrap();
    cluster.nodes()[2].resume().unwrap();
    cluster.until_ready().await.unwrap();
    cluster.promote(2, Failover::Agreed).await.unwrap();

    let after = appended(&store, "after").await;
    assert_eq!(store.info().await.unwrap().events, 6, "the end is gone");
    assert!(after.first() > lost.last(), "{after:?} after {lost:?}");
    assert!(store.head().await.unwrap().epoch > 1);
}

/// A master takes over again with its old data. It has none of the events that were stored meanwhile.
#[tokio::test]
async fn a_master_that_has_its_place_back_with_what_it_had_knows_that_something_is_lost() {
    let cluster = cluster().await;
    let (namespace, _) = namespace_at(&cluster, 2).await;
    // A paused node accepts a call and never answers.
    let options = RedisOptions { timeout: Duration::from_secs(2), ..namespace.options() };
    let store = Store::new(RedisEngine::create(options).await.unwrap());
    appended(&store, "kept").await;
    cluster.until_copied(5).await.unwrap();

    cluster.nodes()[2].pause().await.unwrap();
    let _: String = say(&cluster, 5, &["CLUSTER", "FAILOVER", "TAKEOVER"]).await;
    cluster.until_master_but_for(5, 2).await.unwrap();
    let lost = appended(&store, "meanwhile").await;
    cluster.nodes()[5].pause().await.unwrap();
    cluster.nodes()[2].resume().unwrap();
    let since = Instant::now();
    while !say::<String>(&cluster, 2, &["INFO", "replication"]).await.contains("role:slave") {
        assert!(since.elapsed() < LONG);
        sleep(Duration::from_millis(20)).await;
    }
    let _: String = say(&cluster, 2, &["CLUSTER", "FAILOVER", "TAKEOVER"]).await;
    cluster.until_master_but_for(2, 5).await.unwrap();

    let after = appended(&store, "after").await;
    assert!(after.first() > lost.last(), "{after:?} after {lost:?}");
    assert!(store.head().await.unwrap().epoch > 1);
    cluster.nodes()[5].resume().unwrap();
}

/// Appends until the outcome is known.
async fn appended(store: &Store, name: &str) -> Vec<Position> {
    loop {
        match store.append(&Draft::many(name, 3), Atomicity::Each).await {
            Ok(outcomes) => {
                let position = |outcome: &AppendOutcome| match outcome {
                    AppendOutcome::Stored(at) | AppendOutcome::AlreadyStored(at) => *at,
                    other => panic!("{other:?}"),
                };
                return outcomes.iter().map(position).collect();
            }
            Err(EventStoreError::Storage(StorageFailure::Unknown(_))) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_master_that_is_dead_without_a_replica_is_an_error_within_the_callers_time() {
    let mut cluster = cluster().await;
    let (namespace, _) = namespace_at(&cluster, 1).await;
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    let (other, _) = namespace_at(&cluster, 2).await;
    let other = Store::new(RedisEngine::create(other.options()).await.unwrap());
    for node in [4, 1] {
        cluster.nodes_mut()[node].kill().await.unwrap();
    }
    let store = {
        drop(store);
        RedisOptions { timeout: Duration::from_secs(2), ..namespace.options() }
    };
    for _ in 0..2 {
        let failure = timeout(LONG, RedisEngine::open(store.clone())).await.unwrap().unwrap_err();
        assert!(matches!(&failure, StorageFailure::Unavailable(_)), "{failure}");
    }
    // With the default settings, a cluster that lacks slots serves none.
    let failure =
        timeout(LONG, other.append(&Draft::many("e", 1), Atomicity::Each)).await.unwrap().unwrap_err();
    assert!(matches!(&failure, EventStoreError::Storage(StorageFailure::Unavailable(_))), "{failure}");
}

/// Namespaces on other nodes stay available, if the cluster allows it.
#[tokio::test]
async fn a_dead_master_is_no_concern_of_those_that_others_serve() {
    let lines = vec!["cluster-require-full-coverage no".to_owned()];
    let config = Config { lines, ..Config::default() };
    let mut cluster = Cluster::start(&Binary::default(), &config).await.unwrap();
    let (dead, _) = namespace_at(&cluster, 1).await;
    let options = RedisOptions { timeout: Duration::from_secs(2), ..dead.options() };
    let dead = Store::new(RedisEngine::create(options).await.unwrap());
    let (alive, _) = namespace_at(&cluster, 2).await;
    let mut load = Load::begin(&patient(&alive), Answers::AreNeverLost).await;
    for node in [4, 1] {
        cluster.nodes_mut()[node].kill().await.unwrap();
    }
    load.goes_on().await;
    // The answer to the first call may be lost with the connection.
    let _ = dead.append(&Draft::many("e", 1), Atomicity::Each).await;
    let failure =
        timeout(LONG, dead.append(&Draft::many("e", 1), Atomicity::Each)).await.unwrap().unwrap_err();
    assert!(matches!(&failure, EventStoreError::Storage(StorageFailure::Unavailable(_))), "{failure}");
    load.goes_on().await;
    let books = load.end().await;
    assert_eq!(books.check(&log(&alive).await).unwrap().lost, 0);
}

/// A caller that waits for events is woken by events on the new master.
#[tokio::test]
async fn a_subscription_follows_the_slot() {
    let mut cluster = cluster().await;
    let (namespace, slot) = namespace_at(&cluster, 1).await;
    let engine = RedisEngine::create(patient(&namespace)).await.unwrap();
    let store = Store::new(engine.clone());
    let head = store.head().await.unwrap();
    let bell = namespace.key("bell");
    let subscribed = async |cluster: &Cluster, node: usize| {
        let namespace = Namespace { servers: vec![cluster.nodes()[node].url()], ..namespace.clone() };
        let since = Instant::now();
        loop {
            let (_, count): (String, u64) = namespace.say(&["PUBSUB", "NUMSUB", &bell]).await;
            if count == 1 {
                return;
            }
            assert!(since.elapsed() < LONG, "nobody subscribes at node {node}");
            sleep(Duration::from_millis(20)).await;
        }
    };
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.changed(&head, LONG).await }
    });
    subscribed(&cluster, 1).await;
    cluster.begin_move(slot, 2).await.unwrap().finish().await.unwrap();
    subscribed(&cluster, 2).await;
    cluster.nodes_mut()[2].kill().await.unwrap();
    subscribed(&cluster, 5).await;
    store.append(&Draft::many("e", 1), Atomicity::Each).await.unwrap();
    let woken = timeout(LONG, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(woken, store.head().await.unwrap());
    engine.close().await;
}

#[tokio::test]
async fn a_server_that_is_named_as_what_it_is_not_says_so() {
    let cluster = shared().await;
    let (namespace, _) = namespace_at(cluster, 1).await;
    let node = RedisOptions { url: cluster.nodes()[0].url(), ..namespace.options() };
    let failure = RedisEngine::create(node).await.unwrap_err();
    assert!(
        matches!(&failure, StorageFailure::Foreign(text) if text.contains("redis+cluster://")),
        "{failure}"
    );

    let server = servers::Server::start(&Binary::default(), &Config::default()).await.unwrap();
    let url = server.url().replace("redis://", "redis+cluster://");
    let failure = RedisEngine::create(RedisOptions { url, ..namespace.options() }).await.unwrap_err();
    assert!(
        matches!(&failure, StorageFailure::Foreign(text) if text.contains("no node of a cluster")),
        "{failure}"
    );
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_told_and_not_sent_again() {
    let mut cluster = cluster().await;
    let (namespace, _) = namespace_at(&cluster, 1).await;
    // The replica is killed, since it would use the proxy too.
    cluster.nodes_mut()[4].kill().await.unwrap();
    let proxy = Proxy::start(cluster.nodes()[1].port()).await.unwrap();
    let port = proxy.port().to_string();
    let node = Namespace { servers: vec![cluster.nodes()[1].url()], ..namespace.clone() };
    let _: String = node.say(&["CONFIG", "SET", "cluster-announce-port", &port]).await;
    // The other nodes learn the new port gradually.
    for number in [0, 2, 3, 5] {
        let node = Namespace { servers: vec![cluster.nodes()[number].url()], ..namespace.clone() };
        let since = Instant::now();
        while !node.say::<String>(&["CLUSTER", "NODES"]).await.contains(&format!("127.0.0.1:{port}@")) {
            assert!(since.elapsed() < LONG);
            sleep(Duration::from_millis(20)).await;
        }
    }
    let options = RedisOptions {
        url: format!("redis+cluster://127.0.0.1:{}", cluster.nodes()[0].port()),
        ..patient(&namespace)
    };
    let store = Store::new(RedisEngine::create(options).await.unwrap());
    load::answers::are_told(&store, &proxy).await;
}

/// The users of the documentation, with the additional rights that it names for a cluster.
#[tokio::test]
async fn a_user_needs_the_rights_that_the_documentation_names() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md")).unwrap();
    let more = "+cluster|slots +asking";
    assert!(page.contains(&format!("in a cluster `{more}`")));
    let user = page.lines().find_map(|line| line.strip_prefix("user event-replay-service ")).unwrap();
    let users = vec![format!("less {user}"), format!("service {user} {more}")];
    let cluster = Cluster::start(&Binary::default(), &Config { users, ..Config::default() }).await.unwrap();
    let options = |user: &str| {
        let credentials = format!("redis+cluster://{user}:SERVICE_PASSWORD@");
        RedisOptions::new(cluster.url().replace("redis+cluster://", &credentials))
    };
    let refused = RedisEngine::create(options("less")).await.unwrap_err();
    assert!(matches!(&refused, StorageFailure::Denied(_)), "{refused}");

    let store = Store::new(RedisEngine::create(options("service")).await.unwrap());
    store.append(&Draft::many("e", 1), Atomicity::Each).await.unwrap();
    let meta = "{default:0}:meta";
    let slot = cluster.slot_of(meta).await.unwrap();
    let moved = cluster.begin_move(slot, 0).await.unwrap();
    moved.carry_key(meta).await.unwrap();
    assert_eq!(store.info().await.unwrap().events, 1, "half-way");
    moved.finish().await.unwrap();
    store.append(&Draft::many("f", 1), Atomicity::Each).await.unwrap();
    assert_eq!(store.info().await.unwrap().events, 2);
}

/// All connections use TLS. The certificates fit every node, since all nodes have one address.
#[tokio::test]
async fn nodes_may_speak_tls() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let tls = Some(certificates.tls(ClientCertificates::Ignored));
    let mut cluster = Cluster::start(&Binary::default(), &Config { tls, ..Config::default() }).await.unwrap();
    assert!(cluster.url().starts_with("rediss+cluster://"));
    let tls = Tls { ca: Some(certificates.ca.clone()), client: None };
    let options = RedisOptions { tls, timeout: LONG, ..RedisOptions::new(cluster.url()) };
    let store = Store::new(RedisEngine::create(options).await.unwrap());
    let slot = cluster.slot_of("{default:0}:meta").await.unwrap();
    let master = cluster.master_of(slot).await.unwrap();
    store.append(&Draft::many("e", 1), Atomicity::Each).await.unwrap();
    cluster.begin_move(slot, (master + 1) % 3).await.unwrap().finish().await.unwrap();
    store.append(&Draft::many("f", 1), Atomicity::Each).await.unwrap();
    cluster.nodes_mut()[(master + 1) % 3].kill().await.unwrap();
    assert_eq!(store.info().await.unwrap().events, 2);
}
