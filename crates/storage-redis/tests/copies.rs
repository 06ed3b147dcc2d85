//! Copies: an answered publisher can rely on the copies, and any other publisher gets the number of confirmed copies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod harness;
mod load;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use conformance::{Draft, ManualClock};
use domain::{
    Event, Filter, StorageFailure,
    ports::{
        AppendOutcome, Atomicity, EventStore as _, EventStoreError, ReadRequest, RetentionMode,
        ScheduleOutcome, ScheduleStore as _,
    },
};
use event_replay_storage_redis::{Copies, RedisEngine, RedisOptions, Verdict};
use harness::{Namespace, RedisHarness};
use load::rounds;
use servers::{Aof, Binary, Cluster, Config, Sentinels, Server};
use store::Store;
use tokio::time::sleep;

const LONG: Duration = Duration::from_secs(60);

fn copies(replicas: u16) -> Option<Copies> {
    Some(Copies { replicas, synced: false, within: Duration::from_millis(300) })
}

fn namespace(trio: &Sentinels) -> Namespace {
    RedisHarness::over(trio.url(), trio.servers()).namespace(ManualClock::default(), RetentionMode::History)
}

async fn trio() -> Sentinels {
    Sentinels::start(&Binary::default(), &Config::default()).await.unwrap()
}

fn has_too_few<T: std::fmt::Debug>(answer: Result<T, EventStoreError>, confirmed: u64, wanted: u64) {
    let failure = match answer {
        Err(EventStoreError::Storage(failure)) => failure,
        other => panic!("{other:?}"),
    };
    let StorageFailure::TooFewCopies { confirmed: is, wanted: of, .. } = failure else { panic!("{failure}") };
    assert_eq!((is, of), (confirmed, wanted));
}

#[tokio::test]
async fn who_published_is_told_how_many_copies_there_are_until_there_are_enough() {
    let trio = trio().await;
    let options = RedisOptions { copies: copies(2), ..namespace(&trio).options() };
    let store = Store::new(RedisEngine::create(options).await.unwrap());
    let (first, second) = (Draft::new("e1").event(), Draft::new("e2").event());
    let stored = store.append(std::slice::from_ref(&first), Atomicity::Each).await.unwrap();
    assert!(matches!(stored[..], [AppendOutcome::Stored(_)]), "{stored:?}");

    // The replicas are silent, but too briefly for the sentinels or the master to give them up.
    trio.servers()[1].pause().await.unwrap();
    has_too_few(store.append(std::slice::from_ref(&second), Atomicity::Each).await, 1, 2);
    trio.servers()[2].pause().await.unwrap();
    let third = Draft::new("e3").event();
    has_too_few(store.append(&[second.clone(), third.clone()], Atomicity::AllOrNothing).await, 0, 2);
    assert_eq!(store.get(&["e2".into(), "e3".into()]).await.unwrap().len(), 2, "they are stored");
    // Nothing is written for events that are already stored. Their missing copies are reported nevertheless.
    has_too_few(store.append(&[second.clone(), third.clone()], Atomicity::Each).await, 0, 2);

    let due = "2100-01-01T00:00:00Z".parse().unwrap();
    let later = Draft::new("e4").event();
    for _ in 0..2 {
        let answer = store.schedule(&later, due).await;
        let Err(StorageFailure::TooFewCopies { .. }) = answer else { panic!("{answer:?}") };
    }
    let stored_already = store.schedule(&second, due).await;
    assert!(matches!(stored_already, Err(StorageFailure::TooFewCopies { .. })), "{stored_already:?}");

    // A refusal does not depend on copies.
    let other = Draft::new("e1").with("other", "content").event();
    let refused = store.append(&[other, Draft::new("e5").event()], Atomicity::AllOrNothing).await.unwrap();
    assert!(matches!(refused[..], [AppendOutcome::Conflict(_), AppendOutcome::NotStored]), "{refused:?}");

    trio.servers()[1].resume().unwrap();
    trio.servers()[2].resume().unwrap();
    let both = [second, third];
    let again = until_ok(|| store.append(&both, Atomicity::Each)).await;
    assert!(
        matches!(again[..], [AppendOutcome::AlreadyStored(_), AppendOutcome::AlreadyStored(_)]),
        "{again:?}"
    );
    let waits = until_ok(|| store.schedule(&later, due)).await;
    assert_eq!(waits, ScheduleOutcome::AlreadyScheduled(due));
}

/// Repeats a call until it succeeds, and returns the answer.
async fn until_ok<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(call: impl Fn() -> F) -> T {
    let since = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(since.elapsed() < LONG, "{error:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// If all replicas must confirm, no failover loses an answered event, no matter which replica takes over. Without copies,
/// the same failovers lose thousands of events: see `sentinel.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn no_promotion_takes_what_was_answered_with_all_copies() {
    let mut trio = trio().await;
    let namespace = namespace(&trio);
    let options = RedisOptions { copies: copies(2), ..namespace.options() };
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..4 {
        let store = Store::new(RedisEngine::create(options.clone()).await.unwrap());
        let stop = stop.clone();
        writers.push(tokio::spawn(async move {
            let mut answered = Vec::new();
            for number in 0.. {
                let ids: Vec<String> = (0..10).map(|at| format!("w{writer}-{number}-{at}")).collect();
                let batch: Vec<Event> = ids.iter().map(|id| Draft::new(id).event()).collect();
                if stop.load(Ordering::Acquire) {
                    break;
                }
                // Errors occur during a failover. The same batch is appended until it is answered.
                while let Err(error) = store.append(&batch, Atomicity::Each).await {
                    assert_ne!(error.retry(), domain::Retry::Never, "{error}");
                    if stop.load(Ordering::Acquire) {
                        return answered;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
                answered.extend(ids);
            }
            answered
        }));
    }
    let most = rounds(2, 20);
    for round in 0..most {
        sleep(Duration::from_millis(500)).await;
        let master = trio.master().await.unwrap();
        match round % 2 {
            0 => {
                trio.servers_mut()[master].kill().await.unwrap();
                trio.until_master_is_not(master).await.unwrap();
                trio.servers_mut()[master].restart().await.unwrap();
            }
            _ => {
                trio.promote().await.unwrap();
            }
        }
        trio.until_ready().await.unwrap();
    }
    sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Release);
    let mut answered = Vec::new();
    for writer in writers {
        answered.extend(writer.await.unwrap());
    }
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    let kept = everything(&store).await;
    let lost: Vec<_> = answered.iter().filter(|id| !kept.contains(*id)).collect();
    println!(
        "{most} promotions, {} events answered, {} lost, {} kept",
        answered.len(),
        lost.len(),
        kept.len()
    );
    assert!(answered.len() > 100 * most, "it stood still");
    assert!(
        lost.is_empty(),
        "{} of {} are lost: {:?}",
        lost.len(),
        answered.len(),
        &lost[..lost.len().min(10)]
    );
}

async fn everything(store: &Store) -> BTreeSet<String> {
    let (mut kept, mut request) = (BTreeSet::new(), ReadRequest::new(Filter::default(), 1000));
    loop {
        let page = store.read(&request).await.unwrap();
        kept.extend(page.events.iter().map(|stored| stored.event.id().to_owned()));
        match page.next {
            Some(next) => request.after = Some(next),
            None => return kept,
        }
    }
}

/// Events of partitions with a silent replica fail with too few copies. The rest of the batch is answered.
#[tokio::test]
async fn in_a_cluster_each_partition_has_copies_of_its_own() {
    let cluster = Cluster::start(&Binary::default(), &Config::default()).await.unwrap();
    let harness = RedisHarness::over(cluster.url(), cluster.nodes()).with_partitions(16);
    let namespace = harness.namespace(ManualClock::default(), RetentionMode::History);
    let store = Store::new(
        RedisEngine::create(RedisOptions { copies: copies(1), ..namespace.options() }).await.unwrap(),
    );
    let batch: Vec<Event> =
        (0..60).map(|n| Draft::new(&format!("e{n}")).with("userId", format!("user-{n}")).event()).collect();
    let outcomes = store.append(&batch, Atomicity::Each).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))), "{outcomes:?}");

    let replica = cluster.replicas_of(0).await[0];
    cluster.nodes()[replica].pause().await.unwrap();
    let Err(EventStoreError::PartiallyFailed(answers)) = store.append(&batch, Atomicity::Each).await else {
        panic!("no copy is lacking")
    };
    let (mut answered, mut lacking) = (0, 0);
    for answer in answers {
        match answer {
            Ok(AppendOutcome::AlreadyStored(_)) => answered += 1,
            Err(StorageFailure::TooFewCopies { confirmed: 0, wanted: 1, .. }) => lacking += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(answered > 10 && lacking > 5, "{answered} answered, {lacking} lacking");
    let all = store.append(&batch, Atomicity::AllOrNothing).await.unwrap_err();
    assert!(matches!(all, EventStoreError::Storage(StorageFailure::TooFewCopies { .. })), "{all}");
    cluster.nodes()[replica].resume().unwrap();
    until_ok(|| store.append(&batch, Atomicity::AllOrNothing)).await;
}

#[tokio::test]
async fn files_are_copies_where_servers_can_wait_for_them() {
    let synced = Some(Copies { replicas: 0, synced: true, within: Duration::from_secs(2) });
    for binary in Binary::all().unwrap() {
        let config = Config { aof: Aof::EverySecond, ..Config::default() };
        let server = Server::start(&binary, &config).await.unwrap();
        let options = RedisOptions { copies: synced, ..RedisOptions::new(server.url()) };
        let store = match RedisEngine::create(options.clone()).await.map(Store::new) {
            Err(StorageFailure::Foreign(text)) => {
                assert!(text.contains("Use Redis 7.2 or newer"), "{text}");
                assert!(binary.name == "redis" && binary.major() == 7, "{} refuses: {text}", binary.name);
                continue;
            }
            store => store.unwrap(),
        };
        let began = Instant::now();
        let stored = store.append(&Draft::many("e", 5), Atomicity::Each).await.unwrap();
        assert_eq!(stored.len(), 5);
        println!("{} {}: in the file after {:?}", binary.name, binary.version, began.elapsed());
        let client = redis::Client::open(server.url()).unwrap();
        let mut owner = client.get_multiplexed_async_connection().await.unwrap();
        let off = redis::cmd("CONFIG").arg(&["SET", "appendonly", "no"]).exec_async(&mut owner).await;
        off.unwrap();
        let refused = store.append(&Draft::many("f", 5), Atomicity::Each).await.unwrap_err();
        assert!(refused.to_string().contains("appendonly"), "{refused}");
        let Err(StorageFailure::Foreign(text)) = RedisEngine::create(options).await.map(Store::new) else {
            panic!("{} has no file and was taken", binary.name)
        };
        assert!(text.contains("appendonly yes"), "{text}");
    }
}

#[tokio::test]
async fn a_server_without_enough_replicas_is_taken_and_looked_at() {
    let server = Server::start(&Binary::default(), &Config::default()).await.unwrap();
    let engine = RedisEngine::create(RedisOptions { copies: copies(1), ..RedisOptions::new(server.url()) })
        .await
        .unwrap();
    let store = Store::new(engine.clone());
    has_too_few(store.append(&Draft::many("e", 1), Atomicity::Each).await, 0, 1);
    let checks = engine.checks().await.unwrap();
    let check = checks.iter().find(|check| check.name == "redis-copies").expect("it is looked at");
    assert_eq!(check.verdict, Verdict::Warn, "{}", check.message);
    assert!(check.message.contains("once 1 replicas have it, and 0 are there"), "{}", check.message);
}

#[tokio::test]
async fn the_right_to_wait_is_asked_for_where_copies_are_wanted() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md")).unwrap();
    let service = page.lines().find_map(|line| line.strip_prefix("user event-replay-service ")).unwrap();
    let users = vec![format!("event-replay-service {service}"), format!("with-copies {service} +wait")];
    let server = Server::start(&Binary::default(), &Config { users, ..Config::default() }).await.unwrap();
    let as_user = |user: &str| RedisOptions::new(server.url_with(user, "SERVICE_PASSWORD"));
    RedisEngine::create(as_user("event-replay-service")).await.unwrap();
    let asks = |user: &str| RedisOptions { copies: copies(1), ..as_user(user) };
    let Err(StorageFailure::Denied(text)) =
        RedisEngine::create(asks("event-replay-service")).await.map(Store::new)
    else {
        panic!("nothing is missing")
    };
    assert!(text.contains("WAIT"), "{text}");
    let store = Store::new(RedisEngine::create(asks("with-copies")).await.unwrap());
    has_too_few(store.append(&Draft::many("e", 1), Atomicity::Each).await, 0, 1);
}
