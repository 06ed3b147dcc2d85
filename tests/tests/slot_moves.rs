//! Slots of a cluster move between masters while events are published, read, consumed and replayed. No call fails, no
//! event is lost, no event is stored twice, and only open deliveries repeat.
//!
//! `EVENT_REPLAY_ROUNDS` sets the number of moves, and `EVENT_REPLAY_SEED` the random seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{
    Filter,
    ports::{ReadRequest, Stores, SystemClock},
};
use fastrand::Rng;
use replay::{Cancel, GroupReplayOptions, JobRunner, Pace, PlanRequest, ReplayManager, ReplayStatus};
use servers::Cluster;
use support::{
    at_work::{Publishing, Work},
    consumers::{Keeper, Servers, World},
};

/// Longer than a move takes on any busy machine.
const LONGER_THAN_A_MOVE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_moving_slot_is_invisible_to_callers_and_loses_or_doubles_nothing() {
    for binary in support::binaries() {
        slots_are_moved(&Keeper::Cluster(binary)).await;
    }
}

async fn slots_are_moved(keeper: &Keeper) {
    let mut rng = Rng::with_seed(support::seed());
    let mut world = World::with_timeout(keeper, LONGER_THAN_A_MOVE).await;
    let mut work = Work::begin(&mut world, Publishing { may_fail: false }, &mut rng);
    work.goes_on(&world, "before the first move").await;
    // The events that are in the log now are replayed during the moves.
    let store = Arc::clone(&world.store);
    let manager =
        ReplayManager::new(store.clone(), store.clone(), store.clone(), None, Arc::new(SystemClock))
            .with_groups(store.clone());
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    let options =
        GroupReplayOptions { pace: Pace::Unpaced, all: true, ..GroupReplayOptions::to_all_groups() };
    let replay = manager.start_group_replay(&plan, &options).await.unwrap();
    let replaying =
        tokio::spawn(async move { JobRunner::new(manager).run(&replay.id, &(), &Cancel::default()).await });
    let reading = tokio::spawn(read_over_and_over(store));
    let rounds = support::rounds(6);
    for round in 0..rounds {
        let Servers::Cluster(cluster) = &world.servers else { panic!("{keeper} is no cluster") };
        let moved = move_a_slot(cluster, round, &mut rng).await;
        work.goes_on(&world, "after a move").await;
        println!("moved {moved} keys");
    }
    let report = replaying.await.unwrap().unwrap();
    assert_eq!(report.status, ReplayStatus::Completed, "{report:?}");
    assert_eq!((report.successful_replays, report.missing), (report.total_events, 0), "{report:?}");
    let books = work.end(&world).await;
    assert!(!reading.is_finished(), "a reader was told of a move, or found less than before");
    reading.abort();
    assert!(books.lost(&*world.store).await.is_empty(), "moving loses nothing");
    let planned = books.planned.lock().unwrap().clone();
    let verdict = world.check(&planned).await;
    let mut replayed: HashMap<String, u32> = HashMap::new();
    for line in world.effects().into_iter().filter(|line| line.origin == "replay") {
        *replayed.entry(line.id).or_default() += 1;
    }
    println!(
        "{rounds} moves, {} events answered and handled, {} repeats; {} replayed",
        planned.len(),
        verdict.repeats,
        replayed.len()
    );
    verdict.expect_none();
    // For a partition, the move looks like a failover to another server. Leases are taken again, and open deliveries
    // repeat.
    assert_eq!(replayed.len() as u64, report.total_events);
    let twice = replayed.values().map(|times| times - 1).sum::<u32>();
    assert!(twice <= 100 * verdict.lapses, "{twice} came again for {} leases", verdict.lapses);
}

/// Moves the slot of one partition in steps, between which its keys are on two nodes. Returns the number of moved keys.
/// Writes wait during the move, so the move is shorter than the timeout of a call.
async fn move_a_slot(cluster: &Cluster, round: usize, rng: &mut Rng) -> usize {
    // The first partition contains all data that exists only once.
    let partition = if round.is_multiple_of(3) { 0 } else { rng.usize(..16) };
    let key = partition_keys(cluster).await.remove(partition);
    let slot = cluster.slot_of(&key).await.unwrap();
    let from = cluster.master_of(slot).await.unwrap();
    let moving = cluster.begin_move(slot, (from + rng.usize(1..3)) % 3).await.unwrap();
    let mut keys = 0;
    loop {
        let carried = moving.carry(rng.usize(1..100)).await.unwrap();
        if carried == 0 {
            break;
        }
        keys += carried;
        tokio::time::sleep(Duration::from_millis(rng.u64(..15))).await;
    }
    moving.finish().await.unwrap();
    keys
}

/// Returns the key of the state of each partition, in order.
async fn partition_keys(cluster: &Cluster) -> Vec<String> {
    let mut keys: Vec<(usize, String)> = Vec::new();
    for node in &cluster.nodes()[..3] {
        let client = redis::Client::open(node.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let found: Vec<String> =
            redis::cmd("KEYS").arg("{default:*}:meta").query_async(&mut connection).await.unwrap();
        for key in found {
            let partitions: Option<u16> =
                redis::cmd("HGET").arg(&key).arg("level").query_async(&mut connection).await.unwrap();
            // The signpost of the namespace has no `level`, unlike the state of a partition.
            if partitions.is_some() {
                let number = key.trim_start_matches("{default:").split(['}', '.', ':']).next().unwrap();
                keys.push((number.parse().unwrap_or(0), key));
            }
        }
    }
    keys.sort();
    keys.into_iter().map(|(_, key)| key).collect()
}

/// Reads the whole log again and again. The number of events never falls.
async fn read_over_and_over(store: Arc<dyn Stores>) {
    let mut before = 0;
    loop {
        let (mut request, mut found) = (ReadRequest::new(Filter::default(), 500), 0);
        loop {
            let page = store.read(&request).await.unwrap();
            assert_eq!(page.corrupt, []);
            found += page.events.len();
            let Some(next) = page.next else { break };
            request.after = Some(next);
        }
        assert!(found >= before, "{found} events, and {before} before");
        before = found;
    }
}
