//! Tests of replays into consumer groups: the deliveries, the report, and the rows that remain.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::{
    Entity, Filter, Position, StorageFailure,
    group::{LaneOrigin, NewLaneBatch},
    ports::*,
};
use event_replay_replay::{
    Cancel, GroupChoice, GroupReplayOptions, JobRunner, Pace, PlanRequest, ReplayError, ReplayManager,
    ReplayProgress, ReplayReport, ReplayStatus,
};
use support::{
    append, dump, failing_reads, replay_counts, types,
    world::{
        Consumer, Handed, Makes, Slow, TokioClock, make_group, manager, once, times, well, world, world_on,
    },
};

const AT_ONCE: Duration = Duration::from_millis(1);

fn unpaced() -> GroupReplayOptions {
    GroupReplayOptions { pace: Pace::Unpaced, all: true, ..GroupReplayOptions::to_all_groups() }
}

async fn start(manager: &ReplayManager, filter: Filter, options: &GroupReplayOptions) -> String {
    let plan = manager.plan(PlanRequest::new(filter), None).await.unwrap();
    manager.start_group_replay(&plan, options).await.unwrap().id
}

async fn run(manager: &ReplayManager, id: &str) -> ReplayReport {
    JobRunner::new(manager.clone()).run(id, &(), &Cancel::default()).await.unwrap()
}

fn assert_adds_up(report: &ReplayReport) {
    let sum = report.done() + report.missing + report.remaining;
    assert_eq!(sum, report.total_events, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn each_group_gets_what_it_takes_and_the_report_adds_up() {
    let (store, clock) = world(300, &[("all", ""), ("users", "user.*"), ("idle", "nothing.*")]).await;
    let before = dump(&store).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    // Sequence s is event s - 1, and its type is number (s - 1) modulo 3. Types 0 and 1 are users, type 2 is courses.
    let fails = |sequence: u64| if sequence % 30 == 1 { Makes::Failed } else { Makes::Handled };
    let declines = |sequence: u64| match sequence % 3 {
        1 if sequence % 30 != 1 => Makes::Handled,
        _ => Makes::Skipped,
    };
    let _all = Consumer::start(&store, "all", &handed, AT_ONCE, Arc::new(declines));
    let _users = Consumer::start(&store, "users", &handed, AT_ONCE, Arc::new(fails));
    let id = start(&manager, Filter::default(), &unpaced()).await;
    assert_eq!(manager.find_replay(&id).await.unwrap().state, ReplayState::Planned);
    let report = run(&manager, &id).await;

    assert_eq!(report.status, ReplayStatus::Completed);
    // All groups skip the courses. One group gives up on ten users.
    let counts = (report.successful_replays, report.failed_replays, report.skipped_events);
    assert_eq!(counts, (190, 10, 100));
    assert_adds_up(&report);
    let groups: Vec<_> =
        report.groups.iter().map(|g| (g.name.as_str(), g.handled, g.failed, g.skipped)).collect();
    assert_eq!(groups, [("all", 90, 0, 210), ("idle", 0, 0, 300), ("users", 190, 10, 100)]);
    assert_eq!((report.errors.len(), report.errors[0].error.as_str()), (10, "users: no 1"));
    assert_eq!(report.errors[0].event_id, "e0");
    assert_eq!(times(&handed, "users"), once((1..=300).filter(|s| s % 3 != 0)));

    assert_eq!(dump(&store).await, before, "a replay stores nothing");
    let expected: Vec<u32> = (1..=300).map(|sequence| u32::from(sequence % 3 != 0)).collect();
    assert_eq!(replay_counts(&store).await, expected);
    let record = store.find_replay(&id).await.unwrap().unwrap();
    assert_eq!((record.state, record.hold), (ReplayState::Completed, None));
    assert_eq!(store.results(&id, 10).await.unwrap(), []);
    let summary = manager.find_replay(&id).await.unwrap();
    assert_eq!((summary.done(), summary.report), (300, Some(report.clone())));
    assert_eq!(run(&manager, &id).await, report, "one that is over answers at once");
    let letters = store.dead_letters(&DeadLetterQuery { limit: 50, ..Default::default() }).await.unwrap();
    assert_eq!(letters.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn the_groups_that_are_named_get_it_and_no_others() {
    let (store, clock) = world(20, &[("a", ""), ("b", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _a = Consumer::start(&store, "a", &handed, AT_ONCE, well());
    let _b = Consumer::start(&store, "b", &handed, AT_ONCE, well());
    let options = GroupReplayOptions { groups: GroupChoice::named(["b"]), ..unpaced() };
    let id = start(&manager, types("user.a"), &options).await;
    let report = run(&manager, &id).await;
    assert!(report.is_clean());
    assert_eq!(times(&handed, "a"), once([]));
    assert_eq!(times(&handed, "b"), once((1..=20).filter(|s| s % 3 == 1)));
    let summary = serde_json::to_value(manager.find_replay(&id).await.unwrap()).unwrap();
    assert_eq!(summary["groups"], serde_json::json!(["b"]));
    assert_eq!(summary["filter"], serde_json::json!({"types": ["user.a"]}));
    assert_eq!((&summary["state"], &summary["target"]), (&"COMPLETED".into(), &"groups".into()));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_leaves_nothing() {
    let (store, clock) = world(3, &[]).await;
    let manager = manager(&store, clock);
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await.unwrap();
    let refused = async |options: GroupReplayOptions| {
        manager.start_group_replay(&plan, &options).await.unwrap_err().to_string()
    };
    assert!(refused(unpaced()).await.contains("no consumer group yet"));
    make_group(&store, "mailer", "").await;
    let unknown = refused(GroupReplayOptions { groups: GroupChoice::named(["mailr"]), ..unpaced() }).await;
    assert_eq!(unknown, r#"there is no consumer group named "mailr"; there are: mailer"#);
    assert!(refused(GroupReplayOptions { all: false, ..unpaced() }).await.contains("everything"));
    let unnamed = GroupReplayOptions { groups: GroupChoice::Named(BTreeSet::new()), ..unpaced() };
    assert!(refused(unnamed).await.contains("name the groups"));
    for batch_size in [0, 10_001] {
        assert!(refused(GroupReplayOptions { batch_size, ..unpaced() }).await.contains("1 to 10000"));
    }
    assert!(refused(GroupReplayOptions { pace: Pace::Rate(0.0), ..unpaced() }).await.contains("positive"));
    assert_eq!(manager.list_replays(10).await.unwrap(), []);
    let unknown = JobRunner::new(manager.clone()).run("nope", &(), &Cancel::default()).await.unwrap_err();
    assert!(matches!(unknown, ReplayError::UnknownReplay(_)));
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_nothing_is_done_at_once() {
    let (store, clock) = world(3, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let id = start(&manager, types("nothing"), &unpaced()).await;
    let report = run(&manager, &id).await;
    assert_eq!((report.status, report.total_events, report.done()), (ReplayStatus::Completed, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_replay_waits_for_consumers_and_says_which_groups_have_none() {
    let (store, clock) = world(30, &[("gone", ""), ("here", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _here = Consumer::start(&store, "here", &handed, AT_ONCE, well());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let id = start(&manager, Filter::default(), &unpaced()).await;
    assert_eq!(manager.groups_without_consumers(&id).await.unwrap(), ["gone"]);
    let running = tokio::spawn({
        let (manager, id) = (manager.clone(), id.clone());
        async move { run(&manager, &id).await }
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    let summary = manager.find_replay(&id).await.unwrap();
    assert_eq!((summary.state, summary.done()), (ReplayState::Running, 0));
    assert!(!running.is_finished());
    let _gone = Consumer::start(&store, "gone", &handed, AT_ONCE, well());
    assert!(running.await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_slow_group_holds_the_replay_back_and_the_lanes_stay_short() {
    let (store, clock) = world(3_000, &[("quick", ""), ("slow", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _quick = Consumer::start(&store, "quick", &handed, AT_ONCE, well());
    let _slow = Consumer::start(&store, "slow", &handed, Duration::from_millis(200), well());
    let options = GroupReplayOptions { batch_size: 2_000, ..unpaced() };
    let id = start(&manager, Filter::default(), &options).await;
    let told = Mutex::new(Vec::new());
    let watcher = |progress: ReplayProgress| told.lock().unwrap().push(progress.done());
    let report = JobRunner::new(manager.clone()).run(&id, &watcher, &Cancel::default()).await.unwrap();
    assert!(report.is_clean());
    assert_eq!(times(&handed, "slow"), once(1..=3_000));
    assert_eq!(times(&handed, "quick"), once(1..=3_000));
    let told = told.lock().unwrap();
    assert!(told.is_sorted() && told.last() == Some(&3_000), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_window_of_batches_is_outstanding() {
    let (store, clock) = world(12_000, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let id = start(&manager, Filter::default(), &unpaced()).await;
    let runner = JobRunner::new(manager.clone());
    let (never, cancel) = (Duration::from_secs(60), Cancel::default());
    assert!(tokio::time::timeout(never, runner.run(&id, &(), &cancel)).await.is_err());
    let status = store.group("g").await.unwrap().unwrap();
    let waiting: u64 = status.segments.iter().map(|segment| segment.lane).sum();
    assert_eq!(waiting, 4 * 50, "nothing was handled in the last second");
}

#[tokio::test(start_paused = true)]
async fn a_full_lane_is_tried_again_until_there_is_room() {
    let (store, clock) = world(200, &[("g", "")]).await;
    let manager = manager(&store, clock);
    // References of another replay fill some of the lanes.
    let of = |replay_id: &str| LaneOrigin::Replay { replay_id: replay_id.to_owned(), batch: 0 };
    let filler = |segment| NewLaneBatch {
        group: "g".to_owned(),
        segment,
        origin: of("other"),
        positions: (1..=10_000).map(|n| n % 200 + 1).collect(),
    };
    let fillers: Vec<_> = (0..12).map(filler).collect();
    store.enqueue(None, &fillers).await.unwrap();
    let id = start(&manager, Filter::default(), &unpaced()).await;
    let running = tokio::spawn({
        let (manager, id) = (manager.clone(), id.clone());
        async move { run(&manager, &id).await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(manager.find_replay(&id).await.unwrap().done(), 0);
    store.withdraw("other").await.unwrap();
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, AT_ONCE, well());
    assert!(running.await.unwrap().is_clean());
    assert_eq!(times(&handed, "g"), once(1..=200));
}

#[tokio::test(start_paused = true)]
async fn a_rate_holds_in_every_window_across_kills() {
    for (rate, batch_size) in [(100.0, 50), (33.3, 7), (1000.0, 10)] {
        let (store, clock) = world(200, &[("g", "")]).await;
        let slow = Slow::new(1, Duration::from_millis(2));
        let manager = slow.clone().manager(&store, clock);
        let _g = Consumer::start(&store, "g", &Handed::default(), AT_ONCE, well());
        let options = GroupReplayOptions { batch_size, pace: Pace::Rate(rate), ..unpaced() };
        let id = start(&manager, Filter::default(), &options).await;
        let runner = JobRunner::new(manager.clone());
        for lasts in [700, 1, 1500, 300] {
            let never = Cancel::default();
            let run = runner.run(&id, &(), &never);
            let _ = tokio::time::timeout(Duration::from_millis(lasts), run).await;
            // The killed runner cannot return its lease, so the next runner waits for the expiry.
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        assert!(run(&manager, &id).await.is_clean());
        let sends = slow.enqueued.lock().unwrap();
        assert_eq!(sends.iter().map(|(_, references)| references).sum::<usize>(), 200);
        for first in 0..sends.len() {
            let mut sent = 0;
            for (at, references) in &sends[first..] {
                sent += references;
                let window = at.duration_since(sends[first].0).as_secs_f64();
                let allowed = rate * window + batch_size as f64 + 1e-6;
                assert!(sent as f64 <= allowed, "{sent} in {window} s at {rate}/s");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_erased_since_the_plan_is_named_and_nothing_takes_its_place() {
    let (store, clock) = world(1_000, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, AT_ONCE, well());
    let request = PlanRequest { limit: Some(500), ..PlanRequest::new(Filter::default()) };
    let plan = manager.plan(request, None).await.unwrap();
    let id = manager.start_group_replay(&plan, &unpaced()).await.unwrap().id;
    append(&store, 1_000..1_010).await;
    store.erase(&Entity::new("user", "u1")).await.unwrap();
    let report = run(&manager, &id).await;
    assert_eq!((report.missing, report.successful_replays), (100, 400));
    assert_eq!(report.gaps.len(), 1);
    assert_adds_up(&report);
    assert_eq!(times(&handed, "g"), once((1..=500).filter(|s| s % 5 != 2)));
}

/// The references wait in lanes, and no consumer received them. The events were not attempted, so they did not fail. An
/// event that one group received counts as sent.
#[tokio::test(start_paused = true)]
async fn what_is_erased_in_its_lane_is_missing_and_not_failed() {
    for (groups, missing) in [(vec!["g"], 100), (vec!["g", "h"], 0)] {
        let (store, clock) = world(500, &[("g", ""), ("h", "")]).await;
        let manager = manager(&store, clock);
        let handed = Handed::default();
        let removed = |sequence: u64| if sequence % 5 == 2 { Makes::Removed } else { Makes::Handled };
        let _g = Consumer::start(&store, "g", &handed, AT_ONCE, Arc::new(removed));
        let _h = Consumer::start(&store, "h", &handed, AT_ONCE, well());
        let names = GroupChoice::named(groups.iter().copied());
        let id = start(&manager, Filter::default(), &GroupReplayOptions { groups: names, ..unpaced() }).await;
        let report = run(&manager, &id).await;
        assert_adds_up(&report);
        let counts = (report.failed_replays, report.missing, report.successful_replays);
        assert_eq!(counts, (0, missing, 500 - missing), "{groups:?}");
        let of_g = report.groups.iter().find(|group| group.name == "g").unwrap();
        assert_eq!((of_g.handled, of_g.failed, of_g.skipped), (400, 0, 100 - missing), "{groups:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_erased_under_a_killed_runner_is_named_once_and_what_was_sent_stays_counted() {
    let (store, clock) = world(25_000, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, AT_ONCE, well());
    let options = GroupReplayOptions { batch_size: 500, pace: Pace::Rate(1_000.0), ..unpaced() };
    let id = start(&manager, Filter::default(), &options).await;
    let (runner, cancel) = (JobRunner::new(manager.clone()), Cancel::default());
    let killed = tokio::time::timeout(Duration::from_millis(14_950), runner.run(&id, &(), &cancel));
    assert!(killed.await.is_err());
    // Within the second segment of the plan.
    let before = manager.find_replay(&id).await.unwrap().done();
    assert!((14_000..16_000).contains(&before), "{before}");
    store.erase(&Entity::new("user", "u1")).await.unwrap();
    let report = run(&manager, &id).await;
    assert_adds_up(&report);
    let handed_over = times(&handed, "g").len() as u64;
    assert_eq!(report.successful_replays, handed_over);
    assert_eq!(report.missing, 25_000 - handed_over);
    let gaps: Vec<_> = report.gaps.iter().map(|gap| gap.segment).collect();
    assert_eq!(gaps, [1, 2], "what was sent of the first two pieces is not missing");
    assert_eq!(report.gaps[1].missing, 1_000);
}

/// The batches were answered, and their runner ended before it settled them. The results show the outcomes of the
/// events, although the log no longer has the events.
#[tokio::test(start_paused = true)]
async fn what_was_handed_over_and_then_erased_under_a_killed_runner_is_not_missing() {
    // All of the events are in lanes before the first batch is settled.
    for batch_size in [50, 25] {
        let (store, clock) = world(100, &[("g", "")]).await;
        let manager = manager(&store, clock);
        let handed = Handed::default();
        let id = start(&manager, Filter::default(), &GroupReplayOptions { batch_size, ..unpaced() }).await;
        let (runner, cancel) = (JobRunner::new(manager.clone()), Cancel::default());
        let killed = tokio::time::timeout(Duration::from_secs(2), runner.run(&id, &(), &cancel));
        assert!(killed.await.is_err(), "no consumer runs yet");
        // The events of user u1 have the sequences 2, 7, 12, 17 and so on.
        let makes = |sequence: u64| match sequence % 20 {
            2 => Makes::Failed,
            7 => Makes::Skipped,
            _ => Makes::Handled,
        };
        let _g = Consumer::start(&store, "g", &handed, AT_ONCE, Arc::new(makes));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(times(&handed, "g").len(), 95, "all but those that it declines");
        store.erase(&Entity::new("user", "u1")).await.unwrap();
        let report = run(&manager, &id).await;
        assert_adds_up(&report);
        let counts =
            (report.missing, report.successful_replays, report.failed_replays, report.skipped_events);
        assert_eq!(counts, (0, 90, 5, 5), "in batches of {batch_size}");
        let of_g = &report.groups[0];
        assert_eq!((of_g.handled, of_g.failed, of_g.skipped), (90, 5, 5), "in batches of {batch_size}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_event_is_counted_and_the_rest_is_sent() {
    let clock = TokioClock::new();
    let engine = storage_memory::MemoryEngine::new(Arc::new(clock));
    let store = world_on(engine.clone(), 100, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, AT_ONCE, well());
    let id = start(&manager, Filter::default(), &unpaced()).await;
    for sequence in [11, 100] {
        assert!(engine.damage_event(Position::new(0, sequence)));
    }
    let report = run(&manager, &id).await;
    assert_eq!((report.corrupt, report.missing, report.successful_replays), (2, 2, 98));
    assert_adds_up(&report);
    assert_eq!(times(&handed, "g"), once((1..=99).filter(|s| *s != 11)));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_fails_the_replay_and_a_fault_that_passes_does_not() {
    let (store, clock) = world(3_000, &[("g", "")]).await;
    let _g = Consumer::start(&store, "g", &Handed::default(), AT_ONCE, well());
    let healthy = manager(&store, clock);
    let options = GroupReplayOptions { batch_size: 100, ..unpaced() };
    let run_with = async |failure: StorageFailure, times: usize| {
        let id = start(&healthy, Filter::default(), &options).await;
        let reads = failing_reads(&store, std::iter::repeat_n(failure, times));
        let faulty = ReplayManager::new(reads, store.clone(), store.clone(), None, Arc::new(clock))
            .with_groups(store.clone());
        (JobRunner::new(faulty).run(&id, &(), &Cancel::default()).await, id)
    };
    let (report, id) = run_with(StorageFailure::Corrupt("page 7".to_owned()), 1).await;
    let report = report.unwrap();
    assert_eq!(
        (report.status, report.ended.is_some_and(|why| why.contains("page 7"))),
        (ReplayStatus::Failed, true)
    );
    assert_eq!(healthy.find_replay(&id).await.unwrap().state, ReplayState::Failed);
    assert_eq!(report.successful_replays + report.remaining, 3_000);
    let gone = || StorageFailure::Unavailable("gone".to_owned());
    assert!(run_with(gone(), 3).await.0.unwrap().is_clean());
    let (left, id) = run_with(gone(), 100).await;
    assert_eq!(left.unwrap_err().kind(), "unavailable");
    assert!(run(&healthy, &id).await.is_clean(), "it was left to be taken up again");
}

#[tokio::test(start_paused = true)]
async fn a_running_replay_holds_what_it_still_needs() {
    let (store, clock) = world(100, &[("g", "")]).await;
    let manager = manager(&store, clock);
    let id = start(&manager, types("user.*"), &unpaced()).await;
    let rule = domain::RetentionRule { max_events: Some(0), ..Default::default() };
    let kept = manager.apply_retention(std::slice::from_ref(&rule), false, None).await.unwrap();
    assert_eq!((kept.events, kept.held_by.len()), (0, 1), "{kept:?}");
    let _g = Consumer::start(&store, "g", &Handed::default(), AT_ONCE, well());
    assert!(run(&manager, &id).await.is_clean());
    let free = manager.apply_retention(&[rule], false, None).await.unwrap();
    assert_eq!(free.events, 100, "{free:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_deleted_meanwhile_declines_the_rest() {
    let (store, clock) = world(100, &[("stays", ""), ("goes", "")]).await;
    let manager = manager(&store, clock);
    let handed = Handed::default();
    let _stays = Consumer::start(&store, "stays", &handed, AT_ONCE, well());
    let goes = Consumer::start(&store, "goes", &handed, AT_ONCE, well());
    let pace = Pace::Delay(Duration::from_secs(1));
    let options = GroupReplayOptions { batch_size: 10, pace, ..unpaced() };
    let id = start(&manager, Filter::default(), &options).await;
    let running = tokio::spawn({
        let (manager, id) = (manager.clone(), id.clone());
        async move { run(&manager, &id).await }
    });
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    goes.stop().await;
    store.delete_group("goes").await.unwrap();
    // A new group under the same name receives no events.
    make_group(&store, "goes", "").await;
    let other = Handed::default();
    let _other = Consumer::start(&store, "goes", &other, AT_ONCE, well());
    let report = running.await.unwrap();
    assert_eq!((report.status, report.successful_replays), (ReplayStatus::Completed, 100));
    let goes = &report.groups[0];
    assert_eq!((goes.name.as_str(), goes.deleted, goes.handled, goes.skipped), ("goes", true, 40, 60));
    assert_eq!((report.groups[1].deleted, report.groups[1].handled), (false, 100));
    assert_eq!(times(&other, "goes"), once([]));
}

#[tokio::test(start_paused = true)]
async fn two_runners_of_one_replay_do_it_once() {
    let (store, clock) = world(400, &[("g", "")]).await;
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, AT_ONCE, well());
    let one = Slow::new(1, Duration::from_millis(3)).manager(&store, clock);
    let other = Slow::new(2, Duration::from_millis(3)).manager(&store, clock);
    let id = start(&one, Filter::default(), &GroupReplayOptions { batch_size: 7, ..unpaced() }).await;
    let (first, second) = tokio::join!(run(&one, &id), run(&other, &id));
    assert_eq!(first, second);
    assert!(first.is_clean());
    assert_eq!(times(&handed, "g"), once(1..=400));
    assert_eq!(replay_counts(&store).await, [1; 400]);
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_slept_through_its_lease_changes_nothing_any_more() {
    let (store, clock) = world(400, &[("g", "")]).await;
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, AT_ONCE, well());
    // The calls of this runner take up to half a minute, so it loses the lease repeatedly.
    let sleepy = Slow::new(3, Duration::from_secs(30)).manager(&store, clock);
    let lively = Slow::new(4, Duration::from_millis(3)).manager(&store, clock);
    let options = GroupReplayOptions { batch_size: 5, pace: Pace::Rate(20.0), ..unpaced() };
    let id = start(&lively, Filter::default(), &options).await;
    let sleeping = tokio::spawn({
        let id = id.clone();
        async move { run(&sleepy, &id).await }
    });
    tokio::time::sleep(Duration::from_secs(40)).await;
    let report = run(&lively, &id).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(times(&handed, "g"), once(1..=400));
    assert_eq!(sleeping.await.unwrap(), report);
}
