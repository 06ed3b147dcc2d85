//! Kills runners at any point. Together they send every event, they send no event twice, and no record claims more than
//! was done. Each round has one seed. `EVENT_REPLAY_SEED` repeats a seed, `EVENT_REPLAY_ROUNDS` sets the number of
//! rounds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{sync::Arc, time::Duration};

use domain::{Entity, Filter, RetentionRule, ports::*};
use event_replay_replay::{
    Cancel, GroupReplayOptions, JobRunner, Pace, PlanRequest, ReplayManager, ReplayReport, ReplayStatus,
};
use store::Store;
use support::{
    dump, replay_counts,
    world::{Consumer, Handed, Makes, Slow, TokioClock, once, times, world},
};

/// The disturbance during the replay.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meanwhile {
    Nothing,
    Erase,
    Cancel,
    LoseAnswers,
}

struct Round {
    store: Arc<Store>,
    clock: TokioClock,
    dice: fastrand::Rng,
    events: u64,
    handed: Handed,
    meanwhile: Meanwhile,
    kills: u32,
}

fn makes(sequence: u64) -> Makes {
    match sequence % 11 {
        3 => Makes::Failed,
        5 => Makes::Skipped,
        _ => Makes::Handled,
    }
}

async fn round(seed: u64, meanwhile: Meanwhile) -> u32 {
    let mut dice = fastrand::Rng::with_seed(seed);
    let events = dice.u64(1..250);
    let (store, clock) = world(events, &[("all", ""), ("users", "user.*")]).await;
    let handed = Handed::default();
    let takes = Duration::from_micros(dice.u64(0..20_000));
    let _all = Consumer::start(&store, "all", &handed, takes, Arc::new(makes));
    let _users = Consumer::start(&store, "users", &handed, takes, Arc::new(makes));
    let mut round = Round { store, clock, dice, events, handed, meanwhile, kills: 0 };
    let id = round.start().await;
    let report = round.run_and_kill(&id).await;
    round.check(&id, &report).await;
    round.kills
}

impl Round {
    fn manager(&mut self) -> ReplayManager {
        let mut slow = Slow::new(self.dice.u64(..), Duration::from_millis(4));
        if self.meanwhile == Meanwhile::LoseAnswers {
            slow.loses = 4;
        }
        slow.manager(&self.store, self.clock)
    }

    async fn start(&mut self) -> String {
        let manager = self.manager_now();
        let plan = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
        let pace = match self.dice.u8(0..3) {
            0 => Pace::Delay(Duration::from_millis(self.dice.u64(0..50))),
            _ => Pace::Unpaced,
        };
        let batch_size = self.dice.usize(1..40);
        let options =
            GroupReplayOptions { batch_size, pace, all: true, ..GroupReplayOptions::to_all_groups() };
        manager.start_group_replay(&plan, &options).await.unwrap().id
    }

    async fn run_and_kill(&mut self, id: &str) -> ReplayReport {
        let at_kill = self.dice.u32(0..3);
        loop {
            let runner = JobRunner::new(self.manager());
            let cancel = Cancel::default();
            if self.meanwhile == Meanwhile::Cancel && self.kills > at_kill {
                cancel.cancel();
            }
            // The bound of the time doubles with each kill, so that each round ends.
            let lasts = Duration::from_micros(self.dice.u64(0..200_000) << self.kills.min(10));
            match tokio::time::timeout(lasts, runner.run(id, &(), &cancel)).await {
                Ok(Ok(report)) => return report,
                // A runner can also end because its answers stay lost.
                Ok(Err(error)) => assert!(self.meanwhile == Meanwhile::LoseAnswers, "{error}"),
                Err(_) => {}
            }
            self.kills += 1;
            self.check_no_more_is_said_than_done(id).await;
            if self.meanwhile == Meanwhile::Erase && self.kills == at_kill + 1 {
                let user = format!("u{}", self.dice.u64(0..5));
                self.store.erase(&Entity::new("user", user)).await.unwrap();
            }
            // The next runner starts before or after the expiry of the killed runner's lease.
            tokio::time::sleep(Duration::from_millis(self.dice.u64(0..12_000))).await;
        }
    }

    async fn check_no_more_is_said_than_done(&self, id: &str) {
        let said = self.manager_now().find_replay(id).await.unwrap();
        let handled = times(&self.handed, "all").len() as u64;
        let declined = (1..=self.events).filter(|s| makes(*s) == Makes::Skipped).count() as u64;
        assert!(said.successful + said.failed <= handled && said.skipped <= declined, "{said:?}");
    }

    fn manager_now(&self) -> ReplayManager {
        support::world::manager(&self.store, self.clock)
    }

    async fn check(&mut self, id: &str, report: &ReplayReport) {
        let sum = report.done() + report.missing + report.remaining;
        assert_eq!(sum, self.events, "{report:?}");
        for (group, result) in ["all", "users"].into_iter().zip(&report.groups) {
            let times = times(&self.handed, group);
            assert!(times.values().all(|times| *times == 1), "{group}: {times:?}");
            if self.meanwhile != Meanwhile::Erase {
                assert_eq!(times.len() as u64, result.handled + result.failed, "{group}");
            }
        }
        let left = self.store.group("all").await.unwrap().unwrap();
        assert!(left.segments.iter().all(|segment| segment.lane == 0));
        assert_eq!(self.store.results(id, 10).await.unwrap(), []);
        let counts = replay_counts(&self.store).await;
        assert!(counts.iter().all(|count| *count <= 1 + self.kills), "{counts:?}");
        match self.meanwhile {
            Meanwhile::Nothing => {
                self.check_complete(report);
                for (sequence, count) in (1..=self.events).zip(counts) {
                    assert_eq!(count > 0, makes(sequence) != Makes::Skipped, "{sequence}");
                }
            }
            Meanwhile::LoseAnswers => self.check_complete(report),
            Meanwhile::Erase => self.check_survivors(report).await,
            Meanwhile::Cancel => self.check_cancelled(id, report).await,
        }
    }

    fn check_complete(&self, report: &ReplayReport) {
        let of = |wanted: Makes| (1..=self.events).filter(move |s| makes(*s) == wanted);
        assert_eq!((report.status, report.missing), (ReplayStatus::Completed, 0));
        let counted = (report.successful_replays, report.failed_replays, report.skipped_events);
        let number = |wanted| of(wanted).count() as u64;
        assert_eq!(counted, (number(Makes::Handled), number(Makes::Failed), number(Makes::Skipped)));
        assert_eq!(report.errors.len() as u64, report.failed_replays);
        let delivered = (1..=self.events).filter(|s| makes(*s) != Makes::Skipped);
        assert_eq!(times(&self.handed, "all"), once(delivered));
        let users = (1..=self.events).filter(|s| makes(*s) != Makes::Skipped && s % 3 != 0);
        assert_eq!(times(&self.handed, "users"), once(users));
    }

    /// An erased event may have been delivered or not. Every other event was delivered exactly once.
    async fn check_survivors(&self, report: &ReplayReport) {
        assert_eq!(report.status, ReplayStatus::Completed);
        let left = dump(&self.store).await;
        let left = left.iter().map(|(position, ..)| position.sequence);
        let (all, users) = (times(&self.handed, "all"), times(&self.handed, "users"));
        for sequence in left.filter(|sequence| makes(*sequence) != Makes::Skipped) {
            assert!(all.contains_key(&sequence), "{sequence}");
            assert!(sequence % 3 == 0 || users.contains_key(&sequence), "{sequence}");
        }
    }

    async fn check_cancelled(&self, id: &str, report: &ReplayReport) {
        let state = self.store.find_replay(id).await.unwrap().unwrap().state;
        let expected = match report.status {
            ReplayStatus::Cancelled => ReplayState::Cancelled,
            _ => ReplayState::Completed,
        };
        assert_eq!(state, expected);
        // Consumers receive no further event.
        let before = self.handed.lock().unwrap().len();
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(self.handed.lock().unwrap().len(), before);
        // No hold is left, so retention can remove every event.
        let rule = RetentionRule { max_events: Some(0), ..RetentionRule::default() };
        let trimmed = self.manager_now().apply_retention(&[rule], false, None).await.unwrap();
        assert_eq!(trimmed.held_by, Vec::<String>::new());
    }
}

async fn rounds(meanwhile: Meanwhile) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("EVENT_REPLAY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("EVENT_REPLAY_ROUNDS").unwrap_or(100),
    };
    let (mut kills, many) = (0, seeds.end - seeds.start > 50);
    for seed in seeds {
        // The output shows the seed if the round fails.
        println!("seed {seed}, {meanwhile:?}");
        kills += round(seed, meanwhile).await;
    }
    assert!(!many || kills > 50, "only {kills} runners were killed");
}

#[tokio::test(start_paused = true)]
async fn a_runner_may_be_killed_anywhere() {
    rounds(Meanwhile::Nothing).await;
}

#[tokio::test(start_paused = true)]
async fn a_runner_may_be_killed_anywhere_while_events_are_erased() {
    rounds(Meanwhile::Erase).await;
}

#[tokio::test(start_paused = true)]
async fn answers_of_the_store_may_be_lost() {
    rounds(Meanwhile::LoseAnswers).await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_may_be_cancelled_wherever_its_runner_was_killed() {
    rounds(Meanwhile::Cancel).await;
}
