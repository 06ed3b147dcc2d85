//! A Redis server is killed during batches, several times, and restarted with its data. In some rounds the data has
//! lost its end. Promised events are stored, no batch is torn, no position names two events, and consumers and replays
//! continue without help.
//!
//! `EVENT_REPLAY_ROUNDS` sets the number of kills, and `EVENT_REPLAY_SEED` the random seed. A full run tests each
//! installed program, another run tests one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use domain::{
    Event,
    ports::{AppendOutcome, Atomicity, EventStore},
};
use fastrand::Rng;
use servers::{Aof, Binary, Config, Server};
use storage_redis::{RedisEngine, RedisOptions};
use store::Store;
use support::{
    acknowledged::{Ledger, Promise, RawLog},
    append_only_file::{AppendOnlyFile, written, written_anew},
    killed_server::World,
    publishing::event,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_syncs_always_loses_nothing_that_it_answered() {
    for binary in support::binaries() {
        let mut world = World::start(&binary, Aof::Always, Rng::with_seed(support::seed())).await;
        let rounds = support::rounds(4);
        for round in 0..rounds {
            world.kill_in_the_midst(round == rounds / 2).await;
            world.come_back(Promise::Everything).await;
            world.shared.ledger().expect_none(&format!("{binary}, round {round}"));
        }
        let torn_writes = world.torn_writes;
        let ledger = world.settle(false).await;
        ledger.expect_none(&binary.to_string());
        let (there, absent) = ledger.torn;
        println!(
            "{binary}, always: {rounds} kills, {torn_writes} torn writes, {} events answered, {} lost; batches under way: {there} whole, {absent} absent",
            ledger.answered, ledger.lost
        );
        assert_eq!(ledger.lost, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_syncs_each_second_loses_nothing_but_the_end() {
    for binary in support::binaries() {
        let mut world = World::start(&binary, Aof::EverySecond, Rng::with_seed(support::seed())).await;
        let rounds = support::rounds(6);
        for round in 0..rounds {
            world.kill_in_the_midst(round == rounds / 2).await;
            world.lose_the_end();
            world.come_back(Promise::AllButTheEnd).await;
            world.shared.ledger().expect_none(&format!("{binary}, round {round}"));
        }
        let (cuts, torn_writes) = (world.cuts, world.torn_writes);
        let ledger = world.settle(true).await;
        ledger.expect_none(&binary.to_string());
        let (there, absent) = ledger.torn;
        println!(
            "{binary}, everysec: {rounds} kills, {cuts} cuts, {torn_writes} torn writes besides, {} events answered, {} lost; batches under way: {there} \
             whole, {absent} absent",
            ledger.answered, ledger.lost
        );
        assert!(ledger.lost > 0 || rounds < 6, "nothing was ever lost: the test proved nothing");
    }
}

/// A server whose user is not allowed to rewrite the append-only file.
async fn untidy_server(binary: &Binary) -> Server {
    let users = vec!["default on nopass ~* &* +@all -bgrewriteaof".to_owned()];
    Server::start(binary, &Config { aof: Aof::EverySecond, users, ..Config::default() }).await.unwrap()
}

/// Appends `size` events of one publisher in one batch, through a new store. Returns the log epoch.
async fn append_one_batch(server: &Server, ledger: &mut Ledger, from: u64, size: u64) -> u64 {
    let store = RedisEngine::create(RedisOptions::new(server.url())).await.map(Store::new).unwrap();
    let batch: Vec<Event> = (from..from + size).map(|n| event(0, n)).collect();
    let outcomes = store.append(&batch, Atomicity::Each).await.unwrap();
    let stored = batch.iter().zip(outcomes).map(|(event, outcome)| match outcome {
        AppendOutcome::Stored(at) => (event.id().to_owned(), at.sequence),
        other => panic!("{other:?}"),
    });
    ledger.acknowledge(0, &stored.collect::<Vec<_>>(), false);
    // Only the cut of the test then loses data.
    written(&server.url()).await;
    store.head().await.unwrap().epoch
}

/// The beginning of a log epoch may be lost together with its events. The next epoch then has the same number, and none
/// of its positions.
#[tokio::test]
async fn a_lost_epoch_leaves_none_of_its_positions_to_the_next() {
    for binary in Binary::all().unwrap() {
        let mut server = untidy_server(&binary).await;
        let mut ledger = Ledger::default();
        for life in 0..4 {
            let file = AppendOnlyFile::of(&server);
            let epoch = append_one_batch(&server, &mut ledger, 3 * life, 3).await;
            println!("{binary}, life {life}: log epoch {epoch}");
            assert_eq!(epoch, if life == 0 { 1 } else { 2 });
            server.kill().await.unwrap();
            if life > 0 {
                file.cut(&server, file.length);
            }
            server.restart().await.unwrap();
            ledger.check(&RawLog::read(&server.url()).await, Promise::AllButTheEnd);
        }
        assert_eq!(ledger.lost, 9);
        ledger.expect_none(&binary.to_string());
    }
}

/// A power cut leaves only the beginning of a batch in the append-only file, and the server restarts twice. Returns the
/// findings of the check of the store, and the violations for events that were acknowledged in between.
async fn half_a_batch_is_left_in_the_file(binary: &Binary, tidy: bool) -> (u64, Vec<String>) {
    let mut server = match tidy {
        true => Server::start(binary, &Config { aof: Aof::EverySecond, ..Config::default() }).await.unwrap(),
        false => untidy_server(binary).await,
    };
    let mut ledger = Ledger::default();
    append_one_batch(&server, &mut ledger, 0, 20).await;
    let before = AppendOnlyFile::of(&server).length;
    append_one_batch(&server, &mut ledger, 20, 60).await;
    server.kill().await.unwrap();
    let file = AppendOnlyFile::of(&server);
    file.cut(&server, before.midpoint(file.length));
    server.restart().await.unwrap();
    ledger.check(&RawLog::read(&server.url()).await, Promise::AllButTheEnd);
    assert_eq!(ledger.lost, 60, "the whole batch, and nothing else");
    append_one_batch(&server, &mut ledger, 80, 5).await;
    if tidy {
        written_anew(&server.url()).await;
    }
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    ledger.check(&RawLog::read(&server.url()).await, Promise::Everything);
    let store = RedisEngine::open(RedisOptions::new(server.url())).await.map(Store::new).unwrap();
    (store.verify(None).await.unwrap().total_findings, ledger.violations)
}

#[tokio::test]
async fn half_a_batch_that_was_left_in_the_file_does_not_come_back() {
    for binary in Binary::all().unwrap() {
        let (findings, violations) = half_a_batch_is_left_in_the_file(&binary, true).await;
        assert_eq!((findings, violations), (0, Vec::new()), "{binary}");
    }
}

/// The counterpart without a rewrite. It shows that the test above detects the fault.
#[tokio::test]
async fn half_a_batch_comes_back_where_the_file_may_not_be_rewritten() {
    for binary in Binary::all().unwrap() {
        let (findings, violations) = half_a_batch_is_left_in_the_file(&binary, false).await;
        println!("{binary}: {findings} findings, {} violations", violations.len());
        assert_eq!(findings > 0, binary.name == "redis", "{binary}");
    }
}

/// Returns a server with some events, and the ledger of the answers. The control tests share this function.
async fn some_events(aof: Aof) -> (Server, Ledger) {
    let server = Server::start(&Binary::default(), &Config { aof, ..Config::default() }).await.unwrap();
    let store = RedisEngine::create(RedisOptions::new(server.url())).await.map(Store::new).unwrap();
    let mut ledger = Ledger::default();
    for publisher in 0..2 {
        for n in 0..5 {
            let batch: Vec<Event> = (10 * n..10 * n + 10).map(|n| event(publisher, n)).collect();
            let outcomes = store.append(&batch, Atomicity::Each).await.unwrap();
            let stored = batch.iter().zip(outcomes).map(|(event, outcome)| match outcome {
                AppendOutcome::Stored(at) => (event.id().to_owned(), at.sequence),
                other => panic!("{other:?}"),
            });
            ledger.acknowledge(publisher, &stored.collect::<Vec<_>>(), false);
        }
    }
    (server, ledger)
}

async fn delete(server: &Server, position: u64) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut owner = client.get_multiplexed_async_connection().await.unwrap();
    let log = "{default:0}:log:0";
    let mut command = redis::cmd("XRANGE");
    command.arg(log).arg(position).arg(position);
    let found: Vec<(String, redis::Value)> = command.query_async(&mut owner).await.unwrap();
    let mut command = redis::cmd("XDEL");
    assert_eq!(command.arg(log).arg(&found[0].0).query_async::<u64>(&mut owner).await.unwrap(), 1);
}

/// A server without an append-only file restarts empty. This violates the promise of all events, and not the promise of
/// all but the end.
#[tokio::test]
async fn the_checker_sees_that_a_server_kept_nothing() {
    let (mut server, mut ledger) = some_events(Aof::Off).await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let empty = RawLog::default();
    let mut lenient = some_events(Aof::Off).await.1;
    lenient.check(&empty, Promise::AllButTheEnd);
    lenient.expect_none("all but the end");
    assert_eq!(lenient.lost, 100);
    ledger.check(&empty, Promise::Everything);
    assert_eq!(ledger.violations.len(), 2, "{:?}", ledger.violations);
    assert!(
        ledger.violations.iter().all(|text| text.contains("is gone (50 such)")),
        "{:?}",
        ledger.violations
    );
}

#[tokio::test]
async fn the_checker_sees_one_event_that_went_behind_the_stores_back() {
    for (position, promise) in [(17, Promise::Everything), (17, Promise::AllButTheEnd)] {
        let (server, mut ledger) = some_events(Aof::EverySecond).await;
        ledger.check(&RawLog::read(&server.url()).await, promise);
        ledger.expect_none("nothing went yet");
        delete(&server, position).await;
        ledger.check(&RawLog::read(&server.url()).await, promise);
        let found = &ledger.violations;
        assert!(found.iter().any(|text| text.contains("lost p0-16 and kept p0-17")), "{found:?}");
        assert!(
            found.iter().any(|text| text.contains("what was at 17 is gone, and 100 is there")),
            "{found:?}"
        );
        assert_eq!(
            found.iter().any(|text| text.contains("p0-16 was stored at 17, and is gone")),
            promise == Promise::Everything
        );
    }
}

#[tokio::test]
async fn the_checker_sees_a_torn_batch_a_refused_one_and_a_wrong_answer() {
    let (server, mut ledger) = some_events(Aof::EverySecond).await;
    let ids = |of: std::ops::Range<u64>| -> Vec<String> { of.map(|n| format!("p1-{n}")).collect() };
    // The second half was never stored.
    ledger.park(7, ids(45..55), false);
    ledger.park(8, ids(0..10), true);
    ledger.park(9, ids(10..20), false);
    ledger.check(&RawLog::read(&server.url()).await, Promise::Everything);
    ledger.acknowledge(9, &[("p1-10".to_owned(), 61)], false);
    let found = &ledger.violations;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().any(|text| text == "the batch of p1-45 is torn: 5 of 10 are there"), "{found:?}");
    assert!(
        found.iter().any(|text| text == "the batch of p1-0 was refused, and 10 of it are there"),
        "{found:?}"
    );
    assert!(found.iter().any(|text| text == "p1-10 was there, and was said to be stored now"), "{found:?}");
}

#[tokio::test]
async fn the_checker_sees_a_position_that_names_two_events() {
    let (server, mut ledger) = some_events(Aof::EverySecond).await;
    ledger.acknowledge(3, &[("other".to_owned(), 17)], false);
    assert_eq!(ledger.violations, ["the position 17 was of p0-16 and is of other"]);
    let mut log = RawLog::read(&server.url()).await;
    ledger.violations.clear();
    log.ids.insert(18, "another".to_owned());
    ledger.check(&log, Promise::Everything);
    assert!(ledger.violations.contains(&"the position 18 was of p0-17 and is of another".to_owned()));
}
