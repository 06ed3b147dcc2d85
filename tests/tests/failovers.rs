//! Publishers and consumers while replicas take their masters' places, by command, because masters are killed, and because nobody
//! hears of them any more and they come back later: all go on by themselves, what is lost is the end of a log epoch, no position is handed out twice, and keys keep their order.
//!
//! EVENT_REPLAY_ROUNDS says how many promotions, EVENT_REPLAY_SEED with which luck.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::sync::atomic::Ordering;

use fastrand::Rng;
use servers::{Binary, Failover, Server};
use support::{
    at_work::{Publishing, Work},
    consumers::{Keeper, Servers, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn with_sentinels_all_go_on_by_themselves() {
    for binary in binaries() {
        replicas_are_promoted(&Keeper::Sentinel(binary)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_all_go_on_by_themselves() {
    for binary in binaries() {
        replicas_are_promoted(&Keeper::Cluster(binary)).await;
    }
}

fn binaries() -> Vec<Binary> {
    let keepers = Keeper::servers().into_iter();
    keepers
        .filter_map(|keeper| if let Keeper::Redis(binary) = keeper { Some(binary) } else { None })
        .collect()
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

/// One of the ways in which a replica takes its master's place.
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
                    // The hung one does not answer either who is the master.
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

/// Keeps a server from everybody until another has taken its place, as if its network had been cut: connections stay open, and
/// what was sent to it meanwhile it finds when it comes back, taking itself for the master still.
async fn cut_off<T>(server: &Server, replaced: impl Future<Output = T>) -> T {
    server.pause().await.unwrap();
    let replaced = replaced.await;
    server.resume().unwrap();
    replaced
}
