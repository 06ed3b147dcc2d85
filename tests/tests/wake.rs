//! A waiting consumer in another process wakes by itself for new events, and for events that a replay puts into its
//! lane.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{Filter, TypePattern, ports::SystemClock};
use replay::{Cancel, GroupReplayOptions, JobRunner, Pace, PlanRequest, ReplayManager};
use support::{
    consumers::{GROUP, Keeper, World},
    effects::{Does, Planned},
};

/// An upper bound, not a promise of speed. A consumer that no notification wakes, until the end of its long wait, is
/// slower.
const BOUND: Duration = Duration::from_secs(4);

/// A file, and servers: each installed program in a full run, else one.
fn keepers() -> Vec<Keeper> {
    std::iter::once(Keeper::Sqlite).chain(Keeper::servers()).collect()
}

async fn waiting_consumer(keeper: &Keeper) -> (World, support::consumers::Process) {
    let mut world = World::new(keeper).await;
    let consumer = world.start(None, &["lease=5000"]);
    world
        .until("it has leased everything", async |world| {
            let group = world.store.group(GROUP).await.unwrap();
            group.is_some_and(|group| group.segments.iter().all(|segment| segment.consumer.is_some()))
        })
        .await;
    (world, consumer)
}

fn event(n: usize) -> Planned {
    Planned { key: format!("k{n}"), n: 0, does: Does::Works, takes_ms: 0 }
}

/// Returns the time until an event with this origin is handled.
async fn handled_within(world: &World, id: &str, origin: &str) -> Duration {
    let begun = Instant::now();
    let is_it = |line: &support::effects::Line| line.id == id && line.origin == origin;
    while !world.effects().iter().any(is_it) {
        assert!(begun.elapsed() < BOUND, "{id} was not handled within {BOUND:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    begun.elapsed()
}

fn tell(what: &str, mut waits: Vec<Duration>) {
    waits.sort_unstable();
    println!("{what}: median {:?}, longest {:?}", waits[waits.len() / 2], waits[waits.len() - 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_consumer_of_another_process_is_woken_by_what_is_published() {
    let mut random = fastrand::Rng::with_seed(support::seed());
    for keeper in keepers() {
        is_woken_by_what_is_published(&keeper, &mut random).await;
    }
}

async fn is_woken_by_what_is_published(keeper: &Keeper, random: &mut fastrand::Rng) {
    let (world, consumer) = waiting_consumer(keeper).await;
    let mut waits = Vec::new();
    for n in 0..support::rounds(10).min(100) {
        // Short and long idle times, because a watcher may poll less often after a long idle time.
        tokio::time::sleep(Duration::from_millis(random.u64(..if n % 7 == 6 { 6_000 } else { 150 }))).await;
        world.publish(&[event(n)]).await;
        waits.push(handled_within(&world, &format!("k{n}-0"), "live").await);
    }
    tell("from another process' append to the handler", waits);
    world.stop(consumer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_consumer_of_another_process_finds_what_a_replay_sends() {
    for keeper in keepers() {
        Box::pin(finds_what_a_replay_sends(&keeper)).await;
    }
}

async fn finds_what_a_replay_sends(keeper: &Keeper) {
    let (world, consumer) = waiting_consumer(keeper).await;
    world.publish(&(0..20).map(event).collect::<Vec<_>>()).await;
    world.until("the live deliveries are settled", World::is_idle).await;
    let store = world.store.clone();
    let manager =
        ReplayManager::new(store.clone(), store.clone(), store.clone(), None, Arc::new(SystemClock))
            .with_groups(store);
    let options = GroupReplayOptions { pace: Pace::Unpaced, ..GroupReplayOptions::to_all_groups() };
    let mut waits = Vec::new();
    for n in 0..support::rounds(5).min(20) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let id = format!("k{n}-0");
        let filter = Filter {
            event_ids: [id.clone()].into(),
            types: vec![TypePattern::new("work.item")],
            ..Filter::default()
        };
        let plan = manager.plan(PlanRequest::new(filter), None).await.unwrap();
        let replay = manager.start_group_replay(&plan, &options).await.unwrap();
        let running = tokio::spawn({
            let runner = JobRunner::new(manager.clone());
            async move { runner.run(&replay.id, &(), &Cancel::default()).await }
        });
        waits.push(handled_within(&world, &id, "replay").await);
        let report = running.await.unwrap().unwrap();
        assert_eq!((report.successful_replays, report.total_events), (1, 1), "{report:?}");
    }
    tell("from the start of a replay to the handler of another process", waits);
    world.stop(consumer);
}
