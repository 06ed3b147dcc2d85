//! Tests of the commands to a replay: pause, resume, cancel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{Condition, Event, Filter, ports::*};
use event_replay_replay::{
    Cancel, GroupReplayOptions, JobHost, JobRunner, Pace, PlanRequest, ReplayManager, ReplayOptions,
    ReplayReport, ReplayStatus,
};
use stats::Meter;
use support::{
    Recorder, append, types, unpaced,
    world::{Consumer, Handed, manager, once, times, well, world},
};
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);

/// Starts a replay in batches of ten events, one second apart.
async fn start(manager: &ReplayManager) -> String {
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    let pace = Pace::Delay(SECOND);
    let options =
        GroupReplayOptions { batch_size: 10, pace, all: true, ..GroupReplayOptions::to_all_groups() };
    manager.start_group_replay(&plan, &options).await.unwrap().id
}

fn run(manager: &ReplayManager, id: &str, cancel: &Cancel) -> JoinHandle<ReplayReport> {
    let (manager, id, cancel) = (manager.clone(), id.to_owned(), cancel.clone());
    tokio::spawn(async move { JobRunner::new(manager).run(&id, &(), &cancel).await.unwrap() })
}

async fn rest(tenths: u64) {
    tokio::time::sleep(Duration::from_millis(100 * tenths)).await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_pauses_and_resumes_on_command() {
    let (store, clock) = world(100, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, Duration::from_millis(1), well());
    let id = start(&manager).await;
    let running = run(&manager, &id, &Cancel::default());
    rest(25).await;
    assert_eq!(manager.request(&id, ReplayCommand::Pause).await.unwrap(), ReplayState::Paused);
    rest(600).await;
    assert_eq!(handed.lock().unwrap().len(), 30);
    let summary = manager.find_replay(&id).await.unwrap();
    assert_eq!((summary.state, summary.successful), (ReplayState::Paused, 30));
    assert_eq!(manager.request(&id, ReplayCommand::Resume).await.unwrap(), ReplayState::Planned);
    rest(5).await;
    assert_eq!(manager.find_replay(&id).await.unwrap().state, ReplayState::Running);
    assert!(running.await.unwrap().is_clean());
    assert_eq!(times(&handed, "g"), once(1..=100));
}

#[tokio::test(start_paused = true)]
async fn a_paused_replay_can_be_cancelled() {
    let (store, clock) = world(100, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, Duration::from_millis(1), well());
    let id = start(&manager).await;
    let running = run(&manager, &id, &Cancel::default());
    rest(5).await;
    manager.request(&id, ReplayCommand::Pause).await.unwrap();
    rest(50).await;
    assert_eq!(manager.request(&id, ReplayCommand::Cancel).await.unwrap(), ReplayState::Cancelling);
    let report = running.await.unwrap();
    assert_eq!((report.status, report.done(), report.remaining), (ReplayStatus::Cancelled, 10, 90));
    assert_eq!(manager.find_replay(&id).await.unwrap().state, ReplayState::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_replay_waits_for_what_was_handed_over_and_takes_back_the_rest() {
    let (store, clock) = world(1_000, &[("quick", ""), ("slow", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _quick = Consumer::start(&store, "quick", &handed, Duration::from_millis(1), well());
    let _slow = Consumer::start(&store, "slow", &handed, Duration::from_secs(3), well());
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    let options =
        GroupReplayOptions { pace: Pace::Unpaced, all: true, ..GroupReplayOptions::to_all_groups() };
    let id = manager.start_group_replay(&plan, &options).await.unwrap().id;
    let cancel = Cancel::default();
    let running = run(&manager, &id, &cancel);
    rest(50).await;
    cancel.cancel();
    let report = running.await.unwrap();
    assert_eq!(
        (report.status, report.ended.as_deref()),
        (ReplayStatus::Cancelled, Some("it was asked to end"))
    );
    let slow = times(&handed, "slow").len() as u64;
    assert!(slow > 0 && slow < 1_000);
    assert_eq!(report.groups[1].handled, slow, "what was in hand is counted");
    assert_eq!(report.successful_replays, slow, "an event that one group lacks is not done");
    assert_eq!(report.groups[0].handled, times(&handed, "quick").len() as u64);
    assert_eq!(report.done() + report.remaining, 1_000);
    rest(600).await;
    assert_eq!(times(&handed, "slow").len() as u64, slow, "nothing comes afterwards");
}

#[tokio::test(start_paused = true)]
async fn a_replay_without_consumers_can_be_cancelled() {
    let (store, clock) = world(50, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let g = Consumer::start(&store, "g", &Handed::default(), Duration::from_secs(3600), well());
    let id = start(&manager).await;
    let cancel = Cancel::default();
    let running = run(&manager, &id, &cancel);
    rest(50).await;
    // The consumer stops while it has a batch in flight.
    g.stop().await;
    rest(300).await;
    cancel.cancel();
    let report = running.await.unwrap();
    assert_eq!((report.status, report.done(), report.remaining), (ReplayStatus::Cancelled, 0, 50));
}

#[tokio::test(start_paused = true)]
async fn a_replay_without_a_runner_ends_at_once_when_cancelled() {
    let (store, clock) = world(50, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let id = start(&manager).await;
    let running = run(&manager, &id, &Cancel::default());
    rest(25).await;
    running.abort();
    rest(150).await;
    let lane = async || -> u64 {
        let status = store.group("g").await.unwrap().unwrap();
        status.segments.iter().map(|segment| segment.lane).sum()
    };
    assert_eq!(lane().await, 30);
    assert!(!manager.delete_replay(&id).await.unwrap(), "it is not over");
    assert_eq!(manager.request(&id, ReplayCommand::Cancel).await.unwrap(), ReplayState::Cancelled);
    assert_eq!(lane().await, 0);
    let report = manager.find_replay(&id).await.unwrap().report.unwrap();
    assert_eq!((report.status, report.remaining), (ReplayStatus::Cancelled, 50));
    assert_eq!(manager.request(&id, ReplayCommand::Resume).await.unwrap(), ReplayState::Cancelled);
    assert!(manager.delete_replay(&id).await.unwrap());
    assert!(manager.request(&id, ReplayCommand::Pause).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_watcher_sees_it_to_its_end_and_may_stop_watching() {
    let (store, clock) = world(30, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let _g = Consumer::start(&store, "g", &Handed::default(), Duration::from_millis(1), well());
    let id = start(&manager).await;
    let stopped = Cancel::default();
    stopped.cancel();
    assert_eq!(manager.watch(&id, &(), &stopped).await.unwrap(), None);
    let running = run(&manager, &id, &Cancel::default());
    let watched = manager.watch(&id, &(), &Cancel::default()).await.unwrap();
    assert_eq!(watched, Some(running.await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_host_takes_up_what_waits_and_leaves_it_to_the_next_at_once() {
    let (store, clock) = world(100, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, Duration::from_millis(1), well());
    let resting = start(&manager).await;
    manager.request(&resting, ReplayCommand::Pause).await.unwrap();
    let id = start(&manager).await;
    let host = JobHost::spawn(manager.clone());
    rest(35).await;
    let state = async |id: &str| manager.find_replay(id).await.unwrap().state;
    assert_eq!((state(&id).await, state(&resting).await), (ReplayState::Running, ReplayState::Paused));
    host.stop().await;
    let before = manager.find_replay(&id).await.unwrap().successful;
    assert!((20..100).contains(&before), "{before}");
    tokio::time::sleep(Duration::from_millis(2)).await;
    let waiting = store.waiting_replays().await.unwrap();
    assert!(waiting.iter().any(|record| record.id == id), "its lease was given back");
    let next = JobHost::spawn(manager.clone());
    rest(100).await;
    assert_eq!(state(&id).await, ReplayState::Completed);
    assert_eq!(times(&handed, "g"), once(1..=100));
    manager.request(&resting, ReplayCommand::Resume).await.unwrap();
    rest(150).await;
    assert_eq!(state(&resting).await, ReplayState::Completed);
    next.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_to_a_target_leaves_a_record_that_obeys_commands() {
    let (store, clock) = world(0, &[]).await;
    append(&store, 0..100).await;
    let manager = manager(&store, clock);
    let options = ReplayOptions { batch_size: 10, pace: Pace::Delay(SECOND), ..unpaced() };
    let running = tokio::spawn({
        let (manager, options) = (manager.clone(), options.clone());
        async move {
            let mut target = Recorder::default();
            let report = manager.replay_events(Filter::default(), &options, &mut target).await.unwrap();
            (report, target.ids().len())
        }
    });
    rest(25).await;
    let summary = manager.list_replays(5).await.unwrap().remove(0);
    assert_eq!((summary.state, summary.target.as_str()), (ReplayState::Running, "stdout"));
    assert!((10..=30).contains(&summary.successful), "{}", summary.successful);
    manager.request(&summary.id, ReplayCommand::Pause).await.unwrap();
    rest(100).await;
    let paused = manager.find_replay(&summary.id).await.unwrap();
    rest(300).await;
    assert_eq!(manager.find_replay(&summary.id).await.unwrap().successful, paused.successful);
    manager.request(&summary.id, ReplayCommand::Resume).await.unwrap();
    rest(30).await;
    manager.request(&summary.id, ReplayCommand::Cancel).await.unwrap();
    let (report, sent) = running.await.unwrap();
    assert_eq!((report.status, report.replay_id.as_str()), (ReplayStatus::Cancelled, summary.id.as_str()));
    assert!(report.successful_replays as usize == sent && sent > paused.successful as usize && sent < 100);
    let over = manager.find_replay(&summary.id).await.unwrap();
    assert_eq!((over.state, over.report), (ReplayState::Cancelled, Some(report)));
}

#[tokio::test(start_paused = true)]
async fn a_run_to_a_target_pauses_after_the_current_batch_and_reports_it() {
    let (store, clock) = world(0, &[]).await;
    append(&store, 0..2000).await;
    let manager = manager(&store, clock);
    let options = ReplayOptions { batch_size: 10, ..unpaced() };
    let batches = Arc::new(AtomicUsize::new(0));
    let running = tokio::spawn({
        let (manager, options, batches) = (manager.clone(), options.clone(), Arc::clone(&batches));
        let during: Box<dyn FnMut(usize) + Send> =
            Box::new(move |sent| batches.store(sent, Ordering::SeqCst));
        let mut target =
            Recorder { takes: Duration::from_millis(50), during: Some(during), ..Recorder::default() };
        async move { manager.replay_events(Filter::default(), &options, &mut target).await.unwrap() }
    });
    rest(20).await;
    let id = manager.list_replays(1).await.unwrap().remove(0).id;
    manager.request(&id, ReplayCommand::Pause).await.unwrap();
    let sent = batches.load(Ordering::SeqCst);
    rest(2).await;
    assert!(batches.load(Ordering::SeqCst) <= sent + 1, "{sent}, {batches:?}");
    assert_eq!(manager.find_replay(&id).await.unwrap().resting, Some(0));
    manager.request(&id, ReplayCommand::Resume).await.unwrap();
    rest(5).await;
    let again = manager.find_replay(&id).await.unwrap();
    assert_eq!((again.state, again.resting), (ReplayState::Running, None));
    assert!(running.await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_paused_replay_has_few_deliveries_with_slow_groups_and_reports_them() {
    let (store, clock) = world(4000, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, Duration::from_millis(100), well());
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    let options = GroupReplayOptions {
        batch_size: 10,
        pace: Pace::Unpaced,
        all: true,
        ..GroupReplayOptions::to_all_groups()
    };
    let id = manager.start_group_replay(&plan, &options).await.unwrap().id;
    let running = run(&manager, &id, &Cancel::default());
    rest(50).await;
    let handled = || handed.lock().unwrap().len();
    let in_five_seconds = handled();
    assert!((10..2000).contains(&in_five_seconds), "{in_five_seconds}");
    manager.request(&id, ReplayCommand::Pause).await.unwrap();
    let before = handled();
    rest(600).await;
    assert!(handled() - before <= in_five_seconds / 2 + 50, "{before}, {}", handled());
    let resting = manager.find_replay(&id).await.unwrap();
    assert_eq!((resting.state, resting.resting), (ReplayState::Paused, Some(0)));
    manager.request(&id, ReplayCommand::Resume).await.unwrap();
    assert!(running.await.unwrap().is_clean());
    assert_eq!(times(&handed, "g"), once(1..=4000));
}

#[tokio::test]
async fn a_run_to_a_target_is_counted() {
    let (store, clock) = world(30, &[]).await;
    let meter = Meter::new(Arc::new(clock));
    let manager = manager(&store, clock).with_meter(meter.clone());
    let verdict = |delivery: &ReplayDelivery| match delivery.stored.event.event_type() {
        "user.a" => DeliveryOutcome::Handled,
        "user.b" => DeliveryOutcome::Skipped,
        _ => DeliveryOutcome::Failed("no".to_owned()),
    };
    let mut target = Recorder { verdict: Some(Box::new(verdict)), ..Recorder::default() };
    let options = ReplayOptions { target: "exec:mailer".to_owned(), batch_size: 7, ..unpaced() };
    manager.replay_events(types("user.*"), &options, &mut target).await.unwrap();
    manager.replay_events(types("course.*"), &options, &mut target).await.unwrap();
    meter.flush(&*store).await.unwrap();
    let samples: Vec<_> = store.stats(None).await.unwrap();
    let samples: Vec<_> = samples.iter().map(|s| (s.name.as_str(), s.label.as_str(), s.count)).collect();
    let expected =
        ["replay_failed", "replay_handled", "replay_skipped"].map(|name| (name, "exec:mailer", 10));
    assert_eq!(samples, expected);
}

#[derive(Debug)]
struct Third;

impl Condition for Third {
    fn text(&self) -> &str {
        "third"
    }

    fn holds(&self, event: &Event) -> bool {
        event.event_type() == "course.c"
    }
}

#[tokio::test(start_paused = true)]
async fn a_condition_is_read_back_by_the_runner_of_the_replay() {
    let (store, clock) = world(30, &[("g", "")]).await;
    let plain = manager(&store, clock);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, Duration::ZERO, well());
    let filter = Filter { condition: Some(Arc::new(Third)), ..Filter::default() };
    let plan = plain.plan(PlanRequest::new(filter), None).await.unwrap();
    let id = plain.start_group_replay(&plan, &GroupReplayOptions::to_all_groups()).await.unwrap().id;
    // A host without conditions leaves the replay to hosts with conditions.
    let refused = JobRunner::new(plain.clone()).run(&id, &(), &Cancel::default()).await.unwrap_err();
    assert!(refused.to_string().contains("knows no conditions"), "{refused}");
    assert_eq!(plain.find_replay(&id).await.unwrap().state, ReplayState::Planned);
    let compile = |text: &str| -> Result<Arc<dyn Condition>, String> {
        if text == "third" { Ok(Arc::new(Third)) } else { Err("unknown".to_owned()) }
    };
    let knowing = plain.with_conditions(Arc::new(compile));
    let report = JobRunner::new(knowing).run(&id, &(), &Cancel::default()).await.unwrap();
    assert!(report.is_clean() && report.successful_replays == 10);
    assert_eq!(times(&handed, "g"), once((1..=30).filter(|s| s % 3 == 0)));
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_process_is_gone_is_not_taken_over() {
    let (store, clock) = world(100, &[]).await;
    let manager = manager(&store, clock);
    let options = ReplayOptions { batch_size: 10, pace: Pace::Delay(SECOND), ..unpaced() };
    let running = tokio::spawn({
        let manager = manager.clone();
        async move { manager.replay_events(Filter::default(), &options, &mut Recorder::default()).await }
    });
    let host = JobHost::spawn(manager.clone());
    rest(65).await;
    let id = manager.list_replays(5).await.unwrap().remove(0).id;
    running.abort();
    rest(250).await;
    let summary = manager.find_replay(&id).await.unwrap();
    assert_eq!(summary.state, ReplayState::Failed);
    let report = summary.report.unwrap();
    assert!(report.ended.unwrap().contains("ended before it was through"));
    assert_eq!(report.successful_replays + report.remaining, 100);
    host.stop().await;
}
