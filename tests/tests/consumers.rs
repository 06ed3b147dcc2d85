//! Consumers of one group in several processes. The processes are killed, paused, and aborted by their handlers. No
//! event is lost, keys keep their order, few deliveries repeat, and no event is blamed for the fault of another event.
//! Each test uses a file and servers. A full run uses each installed server program, another run uses one.
//!
//! `EVENT_REPLAY_ROUNDS` sets the number of kills, `EVENT_REPLAY_EVENTS` the number of events, and `EVENT_REPLAY_SEED`
//! the random seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{collections::BTreeSet, time::Duration};

use fastrand::Rng;
use support::{
    consumers::{GROUP, Keeper, Process, World, publish_over},
    effects::{Does, Line, Planned, Verdict, check, workload},
};

const PROCESSES: usize = 3;

struct Run {
    verdict: Verdict,
    kills: usize,
    lines: usize,
}

/// Defines tests on a file and on servers. The second list runs on servers only in a full run.
macro_rules! on_every_store {
    ($($name:ident)* ; $($other:ident)*) => {
        mod on_a_file {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::$name(&super::Keeper::Sqlite).await;
                }
            )*
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $other() {
                    super::$other(&super::Keeper::Sqlite).await;
                }
            )*
        }

        mod on_servers {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    for keeper in super::Keeper::servers() {
                        super::$name(&keeper).await;
                    }
                }
            )*
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $other() {
                    if !super::support::is_full_run() {
                        println!("NOT RUN on servers: {}; ./test --full does", stringify!($other));
                        return;
                    }
                    for keeper in super::Keeper::servers() {
                        super::$other(&keeper).await;
                    }
                }
            )*
        }
    };
}

on_every_store! {
    killed_processes_lose_nothing_keep_the_order_and_repeat_little
    a_process_that_slept_through_its_lease_drops_what_it_had_and_commits_nothing
    an_event_that_aborts_its_process_becomes_a_dead_letter_and_none_of_its_neighbours_does
    ;
    the_checker_sees_that_a_handler_answers_before_it_handles
    the_checker_sees_that_fencing_is_gone
    a_sleeper_wakes_among_others_and_takes_its_share_again
}

/// Three processes share a group during publishing. One process after the other is killed and replaced.
async fn processes_are_killed(keeper: &Keeper, events: usize, kills: usize, options: &[&str]) -> Run {
    let mut rng = Rng::with_seed(support::seed());
    let mut world = World::new(keeper).await;
    let planned = workload(&mut rng, events, 300);
    let (at_once, rest) = planned.split_at(events / 5);
    for batch in at_once.chunks(500) {
        world.publish(batch).await;
    }
    let over = Duration::from_millis(600) * kills as u32;
    let publisher = publish_over(&world.store, rest, over, rng.fork());
    let mut processes: Vec<Process> = (0..PROCESSES).map(|_| world.start(None, options)).collect();
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(rng.u64(100..2500))).await;
        let victim = processes.swap_remove(rng.usize(..processes.len()));
        if rng.bool() {
            // The worst moment for a kill: an effect has happened, and its commit has not.
            world.next_effect_of(&victim);
        }
        // Some processes keep their consumer name after a restart, and others get a new name.
        let name = rng.bool().then(|| victim.name.clone());
        world.kill(victim);
        tokio::time::sleep(Duration::from_millis(rng.u64(..300))).await;
        processes.push(world.start(name.as_deref(), options));
        for process in &mut processes {
            assert!(!process.has_ended(), "consumer {} ended by itself", process.number);
        }
    }
    publisher.await.unwrap();
    world.until("everything is settled", World::is_idle).await;
    for process in processes {
        world.stop(process);
    }
    Run { verdict: world.check(&planned).await, kills, lines: world.effects().len() }
}

async fn killed_processes_lose_nothing_keep_the_order_and_repeat_little(keeper: &Keeper) {
    let (events, kills) = (support::consumers::events(4_000), support::rounds(8));
    let run = processes_are_killed(keeper, events, kills, &[]).await;
    let Verdict { repeats, late, lapses, .. } = run.verdict;
    println!(
        "{} effects, {} kills: {repeats} repeats; {lapses} leases lapsed or lost, {late} effects after them",
        run.lines, run.kills
    );
    run.verdict.expect_none();
    // Without a kill during an open delivery, all kills would have happened in idle times.
    assert!(run.kills < 8 || repeats > 0, "no kill met an open delivery: the test proved nothing");
}

async fn the_checker_sees_that_a_handler_answers_before_it_handles(keeper: &Keeper) {
    let run = processes_are_killed(keeper, 2_000, 8, &["fault=commit-before-handling"]).await;
    let lost = run.verdict.violations.iter().filter(|violation| violation.ends_with("was lost")).count();
    println!("{} violations, {lost} of them losses", run.verdict.violations.len());
    assert!(lost > 0, "a kill between answer and handling loses an event");
}

/// Events of many keys with a delay each, so that a process always has deliveries in flight.
fn slow(keys: usize, each: usize, does: impl Fn(usize, usize) -> Does) -> Vec<Planned> {
    let event =
        |n: usize, key: usize| Planned { key: format!("k{key}"), n, does: does(key, n), takes_ms: 30 };
    (0..each).flat_map(|n| (0..keys).map(move |key| (n, key))).map(|(n, key)| event(n, key)).collect()
}

fn handled(lines: &[Line], process: u32) -> usize {
    lines.iter().filter(|line| line.process == process && line.what == "handled").count()
}

/// Freezes a process for longer than its lease, while it works. A second process handles all remaining events and
/// stops. Then the first process resumes. A third process shows whether its late commits changed the store, because it
/// starts from the stored state.
async fn a_process_is_frozen(keeper: &Keeper, options: &[&str]) -> (Verdict, bool) {
    let mut world = World::new(keeper).await;
    // A few events fail once, so that the frozen process holds blocked keys for the ledger.
    let does = |key: usize, n: usize| if (key + n).is_multiple_of(9) { Does::FailsOnce } else { Does::Works };
    let planned = slow(60, 10, does);
    world.publish(&planned).await;
    // Commits are slow, so that a commit is in progress when the process freezes.
    let options: Vec<&str> = options.iter().copied().chain(["commits=100"]).collect();
    let sleeper = world.start(None, &options);
    world.until("some is done", async |world| handled(&world.effects(), sleeper.number) > 100).await;
    world.freeze(&sleeper);
    let stand_in = world.start(None, &[]);
    world.until("the other one has done the rest", World::is_idle).await;
    world.stop(stand_in);
    let before = world.cursors().await;
    sleeper.signal("CONT");
    let number = sleeper.number;
    let told = |line: &Line| line.process == number && line.id.is_empty();
    world.until("it has noticed", async |world| world.effects().iter().any(told)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let unchanged = world.cursors().await == before && world.is_idle().await;
    world.kill(sleeper);
    let third = world.start(None, &[]);
    world
        .until("the third has leased all", async |world| {
            let group = world.store.group(GROUP).await.unwrap().unwrap();
            group.segments.iter().all(|segment| segment.consumer.as_deref() == Some("p3"))
        })
        .await;
    world.until("everything is settled", World::is_idle).await;
    world.stop(third);
    (world.check(&planned).await, unchanged)
}

async fn a_process_that_slept_through_its_lease_drops_what_it_had_and_commits_nothing(keeper: &Keeper) {
    let (verdict, unchanged) = a_process_is_frozen(keeper, &[]).await;
    println!("{} repeats, {} effects after the lease", verdict.repeats, verdict.late);
    verdict.expect_none();
    assert!(unchanged, "it committed under a lease that was over");
    assert!(verdict.lapses > 0 && verdict.repeats > 0, "nothing was open when it fell asleep: {verdict:?}");
}

async fn the_checker_sees_that_fencing_is_gone(keeper: &Keeper) {
    // A process that renews its leases before it commits learns of their loss even without fencing. The order of the
    // two is random, so the test makes several attempts.
    let (mut changed, mut violated) = (false, false);
    for _ in 0..8 {
        let (verdict, unchanged) = a_process_is_frozen(keeper, &["fault=drops-fencing"]).await;
        println!("{} violations, such as {:?}", verdict.violations.len(), verdict.violations.last());
        changed |= !unchanged;
        violated |= !verdict.violations.is_empty();
        if changed && violated {
            return;
        }
    }
    panic!(
        "a commit without fencing changes what the next consumer finds: {changed}; it breaks a law: {violated}"
    );
}

async fn a_sleeper_wakes_among_others_and_takes_its_share_again(keeper: &Keeper) {
    let mut world = World::new(keeper).await;
    let planned = slow(60, 12, |_, _| Does::Works);
    let (first, second) = planned.split_at(60 * 8);
    world.publish(first).await;
    let processes = [world.start(None, &[]), world.start(None, &[])];
    let [sleeper, other] = &processes;
    world
        .until("both work", async |world| {
            let lines = world.effects();
            processes.iter().all(|process| handled(&lines, process.number) > 40)
        })
        .await;
    world.freeze(sleeper);
    world.until("the other one has done the rest", World::is_idle).await;
    world.publish(second).await;
    let before = handled(&world.effects(), other.number);
    world
        .until("the other one goes on", async |world| handled(&world.effects(), other.number) > before)
        .await;
    sleeper.signal("CONT");
    world.until("everything is settled", World::is_idle).await;
    world
        .until("the work is shared again", async |world| {
            let group = world.store.group(GROUP).await.unwrap().unwrap();
            group.consumers.len() == 2 && group.consumers.iter().all(|consumer| consumer.segments == 8)
        })
        .await;
    for process in processes {
        world.stop(process);
    }
    let verdict = world.check(&planned).await;
    println!("{} repeats, {} effects after the lease", verdict.repeats, verdict.late);
    verdict.expect_none();
}

async fn an_event_that_aborts_its_process_becomes_a_dead_letter_and_none_of_its_neighbours_does(
    keeper: &Keeper,
) {
    let mut world = World::new(keeper).await;
    let planned: Vec<Planned> = (0..16)
        .map(|key| {
            let does = if key == 7 { Does::Aborts } else { Does::Works };
            Planned { key: format!("k{key}"), n: 0, does, takes_ms: 30 }
        })
        .collect();
    world.publish(&planned).await;
    let mut process = world.start(None, &["lease=500"]);
    let mut aborts = 0;
    let end = std::time::Instant::now() + Duration::from_secs(120);
    while !world.is_idle().await {
        assert!(std::time::Instant::now() < end, "it never came to its end; {aborts} aborts");
        if process.has_ended() {
            aborts += 1;
            world.crashed(&process);
            process = world.start(None, &["lease=500"]);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.stop(process);
    let verdict = world.check(&planned).await;
    verdict.expect_none();
    assert_eq!(world.dead().await, BTreeSet::from(["k7-0".to_owned()]));
    // The event aborts its process twice among other events, and then in isolation once for each of its attempts.
    assert_eq!(aborts, 6);
}

/// Tests only the checker: each law, violated in one line.
#[test]
fn the_checker_tells_one_violation_from_another() {
    let event = |n: usize, does: Does| Planned { key: "k".to_owned(), n, does, takes_ms: 0 };
    let planned =
        [event(0, Does::Works), event(1, Does::Fails), event(2, Does::Works), event(3, Does::Works)];
    let dead = BTreeSet::from(["k-1".to_owned()]);
    let line = |process: u32, n: usize| Line {
        process,
        what: if n == 1 { "failed" } else { "handled" }.to_owned(),
        id: format!("k-{n}"),
        attempt: 1,
        origin: "live".to_owned(),
        late: false,
    };
    let killed = BTreeSet::from([1]);
    let found = |steps: &[(u32, usize)]| {
        let lines: Vec<Line> = steps.iter().map(|(process, n)| line(*process, *n)).collect();
        check(&planned, &lines, &killed, &dead).violations
    };
    assert_eq!(found(&[(2, 0), (2, 1), (2, 2), (2, 3)]), Vec::<String>::new());
    assert_eq!(found(&[(1, 0), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]), Vec::<String>::new());
    assert_eq!(found(&[(2, 0), (2, 1), (2, 2)]), ["k-3 was lost"]);
    let misses_2 = "k-2 came when 0 of its key was in hand".to_owned();
    assert!(found(&[(2, 0), (2, 2), (2, 1), (2, 3)]).contains(&misses_2));
    assert!(found(&[(1, 0), (1, 1), (1, 2), (2, 0), (2, 2), (2, 3)]).contains(&misses_2));
    let without_a_kill = found(&[(2, 0), (2, 1), (2, 2), (2, 2), (2, 3)]);
    assert_eq!(without_a_kill, ["1 events of process 2 came again, which ended 0 times"]);
    let nobody = check(&planned, &[], &killed, &BTreeSet::from(["k-0".to_owned()])).violations;
    assert!(nobody.contains(&"k-1 is not a dead letter".to_owned()));
    assert!(nobody.contains(&"k-0 is a dead letter".to_owned()));
}
