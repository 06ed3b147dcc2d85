//! A namespace of sixteen partitions on three masters: with a dead master, checks of all masters, and its removal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod harness;

use std::time::{Duration, Instant};

use conformance::{Draft, ManualClock};
use domain::{
    Event, Filter, OrderingRule, StorageFailure,
    group::GroupSpec,
    ports::{
        AppendOutcome, Atomicity, EventStore as _, EventStoreError, GroupStore as _, LeaseRequest,
        ReadRequest, RetentionMode, ScheduleStore as _,
    },
};
use event_replay_storage_redis::{RedisEngine, RedisOptions, Verdict};
use harness::{Namespace, RedisHarness};
use servers::{Aof, Binary, Cluster, Config};
use store::Store;
use tokio::time::{sleep, timeout};

const PARTITIONS: u16 = 16;
/// The timeout of a call in these tests.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than any wait in these tests. A test that reaches this limit has failed.
const LONG: Duration = Duration::from_secs(60);

/// Without full coverage, a cluster serves its other slots after a master is lost. A restarted node has its old data.
async fn cluster() -> Cluster {
    let lines = vec!["cluster-require-full-coverage no".to_owned()];
    Cluster::start(&Binary::default(), &Config { lines, aof: Aof::Always, ..Config::default() })
        .await
        .unwrap()
}

fn namespace(cluster: &Cluster) -> Namespace {
    let harness = RedisHarness::over(cluster.url(), cluster.nodes()).with_partitions(PARTITIONS);
    harness.namespace(ManualClock::default(), RetentionMode::History)
}

fn options(namespace: &Namespace) -> RedisOptions {
    RedisOptions { timeout: TIMEOUT, ..namespace.options() }
}

/// Events of this number of users, spread over all partitions.
fn events(names: &str, count: usize) -> Vec<Event> {
    (0..count).map(|n| of_user(&format!("{names}{n}"), n)).collect()
}

fn of_user(id: &str, user: usize) -> Event {
    let event = Draft::new(id).with("userId", format!("u{user}")).event();
    let key = OrderingRule::default().resolve(&event, None);
    event.with_key_source(key)
}

/// Appends events, and returns the partition of each.
async fn partitions_of(store: &Store, events: &[Event]) -> Vec<u16> {
    let outcomes = store.append(events, Atomicity::Each).await.unwrap();
    let position = |outcome: AppendOutcome| match outcome {
        AppendOutcome::Stored(at) | AppendOutcome::AlreadyStored(at) => at.partition,
        other => panic!("{other:?}"),
    };
    outcomes.into_iter().map(position).collect()
}

#[tokio::test]
async fn partitions_of_a_dead_master_fail_in_time_and_the_others_go_on() {
    let mut cluster = cluster().await;
    let namespace = namespace(&cluster);
    let engine = RedisEngine::create(options(&namespace)).await.unwrap();
    let store = Store::new(engine.clone());
    let first = events("a", 64);
    let partitions = partitions_of(&store, &first).await;
    let start = store.head().await.unwrap();
    let spec = GroupSpec { segments: PARTITIONS, ..GroupSpec::new("mail") };
    store.create_group(&spec, &start).await.unwrap();
    let request = LeaseRequest {
        group: "mail".to_owned(),
        consumer: "one".to_owned(),
        token: 7,
        duration: Duration::from_secs(600),
    };
    assert_eq!(store.lease(&request).await.unwrap().held.len(), usize::from(PARTITIONS));
    let head = store.head().await.unwrap();

    // The master of partition 0, which also has all data that exists only once.
    let slot = cluster.slot_of(&namespace.key_in(0, "meta")).await.unwrap();
    let master = cluster.master_of(slot).await.unwrap();
    for node in [(master + 3) % 6, master] {
        cluster.nodes_mut()[node].kill().await.unwrap();
    }
    // The first call may lose its answer with the connection. Afterwards the unreachable slots are known.
    let _ = timeout(LONG, store.append(&events("x", 64), Atomicity::Each)).await.unwrap();

    let batch = events("b", 64);
    let began = Instant::now();
    let failed = timeout(LONG, store.append(&batch, Atomicity::Each)).await.unwrap().unwrap_err();
    let EventStoreError::PartiallyFailed(outcomes) = failed else { panic!("{failed}") };
    assert!(began.elapsed() < 2 * TIMEOUT + Duration::from_secs(1), "{:?}", began.elapsed());
    let mut dead: Vec<u16> = Vec::new();
    for (outcome, partition) in outcomes.iter().zip(&partitions) {
        match outcome {
            Ok(AppendOutcome::Stored(at)) => assert_eq!(at.partition, *partition),
            Err(StorageFailure::Unavailable(_)) => dead.push(*partition),
            other => panic!("{other:?}"),
        }
    }
    dead.sort_unstable();
    dead.dedup();
    assert!(dead.contains(&0), "{dead:?}");
    assert!((3..=8).contains(&dead.len()), "{dead:?} of 16 partitions were on one of three masters");

    // A caller that waits for events is woken by the events of the other partitions.
    let news = timeout(LONG, store.changed(&head, Duration::from_secs(20))).await.unwrap().unwrap();
    for (partition, (before, now)) in (0u16..).zip(head.sequences.iter().zip(&news.sequences)) {
        assert!(now >= before);
        assert!(!dead.contains(&partition) || now == before, "partition {partition} was not asked");
    }
    // A consumer keeps the segments that are reachable, and reads on from there.
    let leases = timeout(LONG, store.lease(&request)).await.unwrap().unwrap();
    let held: Vec<u16> = leases.held.iter().map(|lease| lease.segment % PARTITIONS).collect();
    let alive: Vec<u16> = (0..PARTITIONS).filter(|partition| !dead.contains(partition)).collect();
    assert_eq!(held, alive);
    assert_eq!(store.group("mail").await.unwrap().unwrap().unreachable, dead);
    let mut after = news.clone();
    for partition in &alive {
        after.sequences[usize::from(*partition)] = start.sequences[usize::from(*partition)];
    }
    let ahead =
        ReadRequest { after: Some(after), until: Some(news), ..ReadRequest::new(Filter::default(), 1_000) };
    let page = timeout(LONG, store.read(&ahead)).await.unwrap().unwrap();
    let stored = |names: &str| page.events.iter().filter(|it| it.event.id().starts_with(names)).count();
    assert_eq!(stored("b"), outcomes.iter().filter(|outcome| outcome.is_ok()).count());
    // Scheduled events of the other partitions are appended.
    let alive_event = |n: &usize| !dead.contains(&partitions[*n]);
    let waits = (0..64).find(alive_event).map(|n| of_user("due", n));
    let due = "2020-01-01T00:00:00Z".parse().unwrap();
    timeout(LONG, store.schedule(&waits.unwrap(), due)).await.unwrap().unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(due));
    let appended = timeout(LONG, store.append_due(10)).await.unwrap().unwrap();
    assert_eq!(appended.first().map(|(id, _)| id.as_str()), Some("due"));
    // A read that would be incomplete fails.
    let all = ReadRequest::new(Filter::default(), 1_000);
    let refused = timeout(LONG, store.read(&all)).await.unwrap().unwrap_err();
    assert!(matches!(&refused, EventStoreError::Storage(StorageFailure::Unavailable(_))), "{refused}");
    let checks = timeout(LONG, engine.checks()).await.unwrap();
    assert!(checks.is_err() || checks.unwrap().iter().any(|check| check.verdict == Verdict::Fail));

    cluster.nodes_mut()[master].restart().await.unwrap();
    cluster.nodes_mut()[(master + 3) % 6].restart().await.unwrap();
    cluster.until_ready().await.unwrap();
    let since = Instant::now();
    let outcomes = loop {
        match store.append(&batch, Atomicity::Each).await {
            Ok(outcomes) => break outcomes,
            Err(error) => assert!(since.elapsed() < LONG, "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    };
    let is_there = |outcome: &AppendOutcome| {
        matches!(outcome, AppendOutcome::Stored(_) | AppendOutcome::AlreadyStored(_))
    };
    assert!(outcomes.iter().all(is_there), "{outcomes:?}");
    assert_eq!(store.lease(&request).await.unwrap().held.len(), usize::from(PARTITIONS));
    assert_eq!(store.verify(None).await.unwrap().findings, []);
}

#[tokio::test]
async fn every_server_is_looked_at_and_a_namespace_is_removed_from_all() {
    let cluster = cluster().await;
    let (gone, stays) = (namespace(&cluster), namespace(&cluster));
    let engine = RedisEngine::create(gone.options()).await.unwrap();
    let store = Store::new(engine.clone());
    let other = Store::new(RedisEngine::create(stays.options()).await.unwrap());
    for store in [&store, &other] {
        partitions_of(store, &events("e", 64)).await;
    }
    let checks = engine.checks().await.unwrap();
    let said =
        |name: &str| checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{checks:?}"));
    for node in &cluster.nodes()[..3] {
        assert!(said("redis-role").message.contains(&format!("127.0.0.1:{}", node.port())), "{checks:?}");
    }
    assert_eq!(said("redis-replicas").verdict, Verdict::Pass, "{checks:?}");
    assert_eq!(said("redis-coverage").verdict, Verdict::Pass, "{checks:?}");
    assert_eq!(said("redis-failover").verdict, Verdict::Warn, "{checks:?}");
    let first = Namespace { servers: vec![cluster.nodes()[0].url()], ..gone.clone() };
    let _: String = first.say(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let _: String = first.say(&["CONFIG", "SET", "cluster-require-full-coverage", "yes"]).await;
    let checks = engine.checks().await.unwrap();
    let failover = checks.iter().find(|check| check.name == "redis-failover").unwrap();
    assert!(failover.message.contains("fewer than 1 replicas"), "{failover:?}");
    let coverage = checks.iter().find(|check| check.name == "redis-coverage").unwrap();
    assert_eq!(coverage.verdict, Verdict::Warn, "one of three would refuse everything: {coverage:?}");

    // One master has an eviction policy, so no store can be made there.
    let _: String = first.say(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let refused = RedisEngine::create(namespace(&cluster).options()).await.unwrap_err();
    assert!(matches!(&refused, StorageFailure::Foreign(text) if text.contains("allkeys-lru")), "{refused}");
    let _: String = first.say(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;

    engine.remove_namespace().await.unwrap();
    let pattern = format!("{{{}:*", gone.name);
    for node in &cluster.nodes()[..3] {
        let node = Namespace { servers: vec![node.url()], ..gone.clone() };
        let left: Vec<String> = node.say(&["KEYS", &pattern]).await;
        assert_eq!(left, Vec::<String>::new());
    }
    assert_eq!(other.info().await.unwrap().events, 64);
    assert_eq!(other.verify(None).await.unwrap().findings, []);
}
