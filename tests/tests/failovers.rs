//! Publishers and consumers work while replicas replace their masters. The cause is a command, the kill of a master, or
//! a pause of a master that later resumes. All processes continue without help. Only the end of a log epoch is lost, no
//! position is assigned twice, and keys keep their order.
//!
//! `EVENT_REPLAY_ROUNDS` sets the number of promotions, and `EVENT_REPLAY_SEED` the random seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::sync::atomic::Ordering;

use domain::{
    Event,
    ports::{AppendOutcome, Atomicity, EventStore as _},
};
use fastrand::Rng;
use servers::{Binary, Config, Failover, Server};
use storage_redis::{RedisEngine, RedisOptions};
use store::Store;
use support::{
    at_work::{Books, Publishing, Work},
    consumers::{Keeper, Servers, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn with_sentinels_all_go_on_by_themselves() {
    for binary in support::binaries() {
        replicas_are_promoted(&Keeper::Sentinel(binary)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_all_go_on_by_themselves() {
    for binary in support::binaries() {
        replicas_are_promoted(&Keeper::Cluster(binary)).await;
    }
}

async fn replicas_are_promoted(keeper: &Keeper) {
    let mut rng = Rng::with_seed(support::seed());
    let mut world = World::new(keeper).await;
    let mut work = Work::begin(&mut world, Publishing { may_fail: true }, &mut rng);
    let rounds = support::rounds(3);
    for round in 0..rounds {
        work.goes_on(&world, "before a promotion").await;
        promote(&mut world.servers, round, &mut rng).await;
        work.goes_on(&world, "after a promotion").await;
    }
    let books = work.end(&world).await;
    let lost = books.lost(&*world.store).await;
    let planned = books.planned.lock().unwrap().clone();
    let verdict = world.check_without(&planned, &lost).await;
    println!(
        "{rounds} promotions, {} events answered, {} of them lost, all at ends of epochs; {} appends made again; {} leases \
         lost or lapsed, {} repeats, {} effects after them",
        books.answered.lock().unwrap().len(),
        lost.len(),
        books.again.load(Ordering::Relaxed),
        verdict.lapses,
        verdict.repeats,
        verdict.late
    );
    verdict.expect_none();
}

/// Replaces a master by its replica, in a way that depends on the round.
async fn promote(servers: &mut Servers, round: usize, rng: &mut Rng) {
    match servers {
        Servers::Sentinel(trio) => {
            trio.until_ready().await.unwrap();
            let master = trio.master().await.unwrap();
            match round % 3 {
                0 => {
                    trio.servers_mut()[master].kill().await.unwrap();
                    trio.until_master_is_not(master).await.unwrap();
                    trio.servers_mut()[master].restart().await.unwrap();
                }
                1 => {
                    cut_off(&trio.servers()[master], trio.until_master_is_not(master)).await.unwrap();
                }
                _ => {
                    trio.promote().await.unwrap();
                }
            }
        }
        Servers::Cluster(cluster) => {
            cluster.until_ready().await.unwrap();
            let pair = rng.usize(..3);
            let (mut master, mut replica) = (pair, pair + 3);
            if cluster.replicas_of(master).await.is_empty() {
                (master, replica) = (replica, master);
            }
            match round % 4 {
                0 => {
                    cluster.nodes_mut()[master].kill().await.unwrap();
                    cluster.until_master(replica).await.unwrap();
                    cluster.nodes_mut()[master].restart().await.unwrap();
                }
                1 => {
                    // The paused master cannot report the new master.
                    cut_off(&cluster.nodes()[master], cluster.until_master_but_for(replica, master))
                        .await
                        .unwrap();
                }
                2 => cluster.promote(replica, Failover::Agreed).await.unwrap(),
                _ => cluster.promote(replica, Failover::Forced).await.unwrap(),
            }
        }
        Servers::None | Servers::One(_) => panic!("nobody could take the server's place"),
    }
}

/// Pauses a server until another server has replaced it, as if its network were cut. Connections stay open. After the
/// resume the server still considers itself the master, and processes the requests that arrived in the meantime.
async fn cut_off<T>(server: &Server, replaced: impl Future<Output = T>) -> T {
    server.pause().await.unwrap();
    let replaced = replaced.await;
    server.resume().unwrap();
    replaced
}

/// A failover does not explain an event that is missing before the end of a log epoch.
#[tokio::test]
#[should_panic(expected = "was lost from the midst of its epoch")]
async fn the_checker_sees_an_event_that_is_gone_without_a_word() {
    let server = Server::start(&Binary::default(), &Config::default()).await.unwrap();
    let store = RedisEngine::create(RedisOptions::new(server.url())).await.map(Store::new).unwrap();
    let events: Vec<Event> = (0..3)
        .map(|n| {
            support::admitted(&format!(
                r#"{{"id":"e{n}","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}}}}"#
            ))
        })
        .collect();
    let outcomes = store.append(&events, Atomicity::Each).await.unwrap();
    let books = Books::default();
    for (event, outcome) in events.iter().zip(outcomes) {
        let AppendOutcome::Stored(at) = outcome else { panic!("{outcome:?}") };
        books.answered.lock().unwrap().insert(event.id().to_owned(), at);
    }
    assert_eq!(books.lost(&store).await.len(), 0);
    let mut owner =
        redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let entries: Vec<(String, Vec<Vec<u8>>)> = redis::cmd("XRANGE")
        .arg("{default:0}:log:0")
        .arg("-")
        .arg("+")
        .query_async(&mut owner)
        .await
        .unwrap();
    let gone: u32 =
        redis::cmd("XDEL").arg("{default:0}:log:0").arg(&entries[1].0).query_async(&mut owner).await.unwrap();
    assert_eq!(gone, 1);
    books.lost(&store).await;
}
