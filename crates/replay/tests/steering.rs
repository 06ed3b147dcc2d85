//! Replays that pause by themselves, and replays whose pace is changed while they run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::{Filter, ports::*};
use event_replay_replay::{
    AutoPause, Cancel, FailureLimit, GroupReplayOptions, JobRunner, Pace, PlanRequest, ReplayManager,
    ReplayOptions, ReplayProgress, ReplayReport, ReplayStatus, ReplayWatcher,
};
use support::{
    Recorder, append, unpaced,
    world::{Consumer, Handed, Makes, Slow, manager, once, times, well, world},
};
use tokio::task::JoinHandle;

const MOMENT: Duration = Duration::from_millis(1);

/// Starts a replay of everything into every group.
async fn start(manager: &ReplayManager, options: GroupReplayOptions) -> String {
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    manager.start_group_replay(&plan, &options).await.unwrap().id
}

fn unpaced_options() -> GroupReplayOptions {
    GroupReplayOptions {
        pace: Pace::Unpaced,
        batch_size: 10,
        all: true,
        ..GroupReplayOptions::to_all_groups()
    }
}

fn run(manager: &ReplayManager, id: &str) -> JoinHandle<ReplayReport> {
    let (manager, id) = (manager.clone(), id.to_owned());
    tokio::spawn(async move { JobRunner::new(manager).run(&id, &(), &Cancel::default()).await.unwrap() })
}

async fn rest(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_ramp_pauses_after_each_stage_until_it_is_resumed() {
    let (store, clock) = world(1_000, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, MOMENT, well());
    let id = start(&manager, GroupReplayOptions { ramp: vec![1, 25], ..unpaced_options() }).await;
    let running = run(&manager, &id);
    for (stage, through) in [(1, 1), (2, 26)] {
        rest(60).await;
        assert_eq!(times(&handed, "g"), once(1..=through));
        let summary = manager.find_replay(&id).await.unwrap();
        assert_eq!((summary.state, summary.successful), (ReplayState::Paused, through));
        assert_eq!(summary.paused_by, Some(AutoPause::StageComplete { stage, stages: 3 }));
        manager.request(&id, ReplayCommand::Resume).await.unwrap();
    }
    assert!(running.await.unwrap().is_clean());
    assert_eq!(times(&handed, "g"), once(1..=1_000));
    assert_eq!(manager.find_replay(&id).await.unwrap().paused_by, None);
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_an_operator_within_a_stage_does_not_end_the_stage() {
    let (store, clock) = world(100, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, MOMENT, well());
    let pace = Pace::Delay(Duration::from_secs(5));
    let id = start(&manager, GroupReplayOptions { ramp: vec![30], pace, ..unpaced_options() }).await;
    let running = run(&manager, &id);
    rest(2).await;
    manager.request(&id, ReplayCommand::Pause).await.unwrap();
    rest(60).await;
    let summary = manager.find_replay(&id).await.unwrap();
    assert_eq!((summary.state, summary.successful, summary.paused_by), (ReplayState::Paused, 10, None));
    manager.request(&id, ReplayCommand::Resume).await.unwrap();
    rest(60).await;
    let summary = manager.find_replay(&id).await.unwrap();
    assert_eq!((summary.successful, summary.paused_by.is_some()), (30, true));
    manager.request(&id, ReplayCommand::Resume).await.unwrap();
    assert!(running.await.unwrap().is_clean());
}

/// A runner that is killed while a stage is paused, or while it is resumed, leaves the stages as they are.
#[tokio::test(start_paused = true)]
async fn stages_outlast_their_runners() {
    let (store, clock) = world(200, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, MOMENT, well());
    let id = start(&manager, GroupReplayOptions { ramp: vec![1, 25, 50], ..unpaced_options() }).await;
    for through in [1, 26, 76] {
        let running = run(&manager, &id);
        rest(60).await;
        assert_eq!(times(&handed, "g"), once(1..=through));
        running.abort();
        let next = run(&manager, &id);
        rest(60).await;
        assert_eq!(times(&handed, "g"), once(1..=through));
        assert_eq!(manager.find_replay(&id).await.unwrap().state, ReplayState::Paused);
        next.abort();
        manager.request(&id, ReplayCommand::Resume).await.unwrap();
    }
    assert!(run(&manager, &id).await.unwrap().is_clean());
    assert_eq!(times(&handed, "g"), once(1..=200));
}

/// Runners are killed at random moments of a ramp, and the pace changes, under lost answers: each event comes once, and no stage is
/// passed over.
#[tokio::test(start_paused = true)]
async fn a_ramp_is_kept_wherever_its_runner_is_killed() {
    for seed in 0..20 {
        let (store, clock) = world(120, &[("g", "")]).await;
        let mut slow = Slow::new(seed, Duration::from_millis(5));
        slow.loses = 5;
        let (slow, plain) = (slow.manager(&store, clock), manager(&store, clock));
        let handed = Handed::default();
        let _g = Consumer::start(&store, "g", &handed, MOMENT, well());
        let id = start(&plain, GroupReplayOptions { ramp: vec![5, 25], ..unpaced_options() }).await;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut resumed = 0;
        for _ in 0..200 {
            let (manager, id) = (slow.clone(), id.clone());
            let running = tokio::spawn(async move {
                let _ = JobRunner::new(manager).run(&id, &(), &Cancel::default()).await;
            });
            tokio::time::sleep(Duration::from_millis(rng.u64(1..400))).await;
            running.abort();
            tokio::time::sleep(Duration::from_secs(rng.u64(0..12))).await;
            let pace =
                [Pace::Unpaced, Pace::Rate(20.0), Pace::Rate(80.0), Pace::Delay(MOMENT)][rng.usize(0..4)];
            plain.set_pace(&id_of(&plain).await, pace).await.unwrap();
            let done = times(&handed, "g").len();
            let most = [5, 30, 120][resumed];
            assert!(done <= most, "seed {seed}: {done} events after {resumed} resumptions");
            let summary = plain.find_replay(&id_of(&plain).await).await.unwrap();
            if summary.state == ReplayState::Paused {
                assert_eq!(done, most, "seed {seed}");
                assert_eq!(
                    summary.paused_by,
                    Some(AutoPause::StageComplete { stage: resumed + 1, stages: 3 })
                );
                plain.request(&summary.id, ReplayCommand::Resume).await.unwrap();
                resumed += 1;
            }
            if summary.state.is_final() {
                break;
            }
        }
        assert_eq!(resumed, 2, "seed {seed}");
        let summary = plain.find_replay(&id_of(&plain).await).await.unwrap();
        assert_eq!((summary.state, summary.successful), (ReplayState::Completed, 120), "seed {seed}");
        assert_eq!(times(&handed, "g"), once(1..=120), "seed {seed}");
    }
}

async fn id_of(manager: &ReplayManager) -> String {
    manager.list_replays(1).await.unwrap().remove(0).id
}

/// Remembers the reasons for which a replay stopped.
#[derive(Default)]
struct Reasons(Mutex<Vec<String>>);

impl ReplayWatcher for Reasons {
    fn progressed(&self, _: ReplayProgress) {}

    fn stopped(&self, reason: &AutoPause) {
        self.0.lock().unwrap().push(reason.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_pauses_at_its_failure_limit_and_counts_again_once_it_is_resumed() {
    let (store, clock) = world(1_000, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let fails = Arc::new(|sequence| if sequence % 50 == 0 { Makes::Failed } else { Makes::Handled });
    let _g = Consumer::start(&store, "g", &handed, MOMENT, fails);
    let (pace, failure_limit) = (Pace::Delay(Duration::from_secs(1)), Some(FailureLimit::Events(3)));
    let id = start(&manager, GroupReplayOptions { pace, failure_limit, ..unpaced_options() }).await;
    let reasons = Arc::new(Reasons::default());
    let running = tokio::spawn({
        let (manager, id, reasons) = (manager.clone(), id.clone(), Arc::clone(&reasons));
        async move { JobRunner::new(manager).run(&id, &*reasons, &Cancel::default()).await.unwrap() }
    });
    let mut paused = Vec::new();
    while !running.is_finished() {
        rest(60).await;
        let summary = manager.find_replay(&id).await.unwrap();
        if summary.state == ReplayState::Paused {
            paused.push(summary.failed);
            manager.request(&id, ReplayCommand::Resume).await.unwrap();
        }
    }
    let report = running.await.unwrap();
    assert_eq!((report.status, report.failed_replays), (ReplayStatus::Completed, 20));
    assert_eq!(paused, [3, 6, 9, 12, 15, 18]);
    let reasons = reasons.0.lock().unwrap();
    assert_eq!(reasons[0], "3 of 150 events failed, and the limit is 3");
    assert_eq!(reasons.len(), 6);
    assert_eq!(times(&handed, "g"), once(1..=1_000));
}

#[tokio::test(start_paused = true)]
async fn a_run_to_a_target_ends_at_its_failure_limit() {
    let (store, clock) = world(0, &[]).await;
    append(&store, 0..100).await;
    let manager = manager(&store, clock);
    let verdict = |delivery: &ReplayDelivery| match delivery.stored.position.sequence % 10 {
        0 => DeliveryOutcome::Failed("no".to_owned()),
        _ => DeliveryOutcome::Handled,
    };
    let mut target = Recorder { verdict: Some(Box::new(verdict)), ..Recorder::default() };
    let failure_limit = Some(FailureLimit::Percent(10.0));
    let options = ReplayOptions { batch_size: 5, failure_limit, all: true, ..unpaced() };
    let report = manager.replay_events(Filter::default(), &options, &mut target).await.unwrap();
    assert_eq!((report.status, report.done(), report.remaining), (ReplayStatus::Cancelled, 20, 80));
    assert_eq!(report.ended.as_deref(), Some("2 of 20 events failed, and the limit is 10%"));
}

#[tokio::test(start_paused = true)]
async fn no_more_events_fail_in_a_batch_than_the_limit_says_and_the_pace_stays() {
    let (store, clock) = world(0, &[]).await;
    append(&store, 0..200).await;
    let manager = manager(&store, clock);
    let verdict = |delivery: &ReplayDelivery| match delivery.stored.position.sequence % 40 {
        0 => DeliveryOutcome::Failed("no".to_owned()),
        _ => DeliveryOutcome::Handled,
    };
    let mut target = Recorder { verdict: Some(Box::new(verdict)), ..Recorder::default() };
    let failure_limit = Some(FailureLimit::Events(3));
    let limited = |pace| ReplayOptions { batch_size: 50, failure_limit, pace, all: true, ..unpaced() };
    let began = tokio::time::Instant::now();
    let options = limited(Pace::Delay(Duration::from_secs(1)));
    let report = manager.replay_events(Filter::default(), &options, &mut target).await.unwrap();
    // The third failure is the last event that is sent. It is in the third batch, two pauses after the first.
    assert_eq!((report.failed_replays, report.done(), report.remaining), (3, 120, 80));
    assert_eq!(report.ended.as_deref(), Some("3 of 120 events failed, and the limit is 3"));
    assert_eq!(began.elapsed().as_secs(), 2);
    // A rate counts the parts of a batch too.
    let began = tokio::time::Instant::now();
    let report =
        manager.replay_events(Filter::default(), &limited(Pace::Rate(100.0)), &mut target).await.unwrap();
    assert_eq!((report.failed_replays, report.done()), (3, 120));
    assert_eq!(began.elapsed().as_millis(), 1_100);
    // All fail.
    target.verdict = Some(Box::new(|_| DeliveryOutcome::Failed("no".to_owned())));
    let report =
        manager.replay_events(Filter::default(), &limited(Pace::Unpaced), &mut target).await.unwrap();
    assert_eq!((report.failed_replays, report.done(), report.remaining), (3, 3, 197));
}

/// Events handed over in each of the next seconds.
async fn by_second(handed: &Handed, seconds: usize) -> Vec<usize> {
    let mut by_second = Vec::new();
    for _ in 0..seconds {
        let before = handed.lock().unwrap().len();
        rest(1).await;
        by_second.push(handed.lock().unwrap().len() - before);
    }
    by_second
}

#[tokio::test(start_paused = true)]
async fn the_pace_of_a_running_replay_is_changed() {
    let (store, clock) = world(5_000, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, Duration::ZERO, well());
    let options = GroupReplayOptions {
        batch_size: 50,
        pace: Pace::Delay(Duration::from_secs(3_600)),
        ..unpaced_options()
    };
    let id = start(&manager, options).await;
    let running = run(&manager, &id);
    assert_eq!(by_second(&handed, 3).await, [50, 0, 0]);
    for rate in [500.0, 20.0, 100.0] {
        manager.set_pace(&id, Pace::Rate(rate)).await.unwrap();
        // The runner sees it within a second.
        rest(2).await;
        let by_second = by_second(&handed, 5).await;
        let expected = (0.9 * rate) as usize..=(1.1 * rate) as usize;
        assert!(by_second.iter().all(|events| expected.contains(events)), "{rate}: {by_second:?}");
        let summary = manager.find_replay(&id).await.unwrap();
        assert_eq!((summary.pace, summary.batch_size), (Pace::Rate(rate), Pace::Rate(rate).batch(50)));
    }
    running.abort();
    manager.set_pace(&id, Pace::Unpaced).await.unwrap();
    let refused = manager.set_pace(&id, Pace::Rate(0.0)).await.unwrap_err();
    assert!(refused.to_string().contains("a rate is a positive number"), "{refused}");
    // The next runner takes the pace that was set.
    assert!(run(&manager, &id).await.unwrap().is_clean());
    assert_eq!(times(&handed, "g"), once(1..=5_000));
    assert_eq!(manager.set_pace(&id, Pace::Rate(1.0)).await.unwrap(), ReplayState::Completed);
    assert_eq!(manager.find_replay(&id).await.unwrap().pace, Pace::Unpaced);
    assert!(manager.set_pace("unknown", Pace::Unpaced).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_pace_of_a_run_to_a_target_is_changed() {
    let (store, clock) = world(0, &[]).await;
    append(&store, 0..1_000).await;
    let manager = manager(&store, clock);
    let options = ReplayOptions { batch_size: 10, pace: Pace::Rate(1.0), all: true, ..unpaced() };
    let running = tokio::spawn({
        let manager = manager.clone();
        async move { manager.replay_events(Filter::default(), &options, &mut Recorder::default()).await.unwrap() }
    });
    rest(10).await;
    let summary = manager.list_replays(1).await.unwrap().remove(0);
    assert!((8..=12).contains(&summary.successful), "{}", summary.successful);
    manager.set_pace(&summary.id, Pace::Rate(50.0)).await.unwrap();
    rest(10).await;
    let summary = manager.find_replay(&summary.id).await.unwrap();
    assert!((400..=560).contains(&summary.successful), "{}", summary.successful);
    manager.set_pace(&summary.id, Pace::Unpaced).await.unwrap();
    assert!(running.await.unwrap().is_clean());
}
