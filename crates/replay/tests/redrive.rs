//! Tests of the redrive and the discard of dead letters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use domain::{DeadLetter, DeadLetterState, Entity, RetentionRule, ports::*};
use event_replay_replay::{Cancel, Letters, RedriveReport, Redriver};
use jiff::SignedDuration;
use store::Store;
use support::world::{Consumer, Handed, Makes, Script, give_up_on, once, times, well, world};

fn redriver(store: &Arc<Store>) -> Redriver {
    Redriver::new(Arc::<Store>::clone(store), Arc::<Store>::clone(store))
}

fn open(limit: usize) -> DeadLetterQuery {
    DeadLetterQuery { states: vec![DeadLetterState::Open], limit, ..DeadLetterQuery::default() }
}

async fn all(store: &Store) -> Vec<DeadLetter> {
    store.dead_letters(&DeadLetterQuery { limit: 10_000, ..DeadLetterQuery::default() }).await.unwrap()
}

fn assert_adds_up(report: &RedriveReport) {
    let sum = report.handled
        + report.failed_again
        + report.unchanged
        + report.unknown
        + report.no_group
        + report.remaining;
    assert_eq!(sum, report.requested, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn each_letter_is_handled_or_back_with_one_more_attempt_and_a_second_run_adds_none() {
    let (store, _) = world(1_000, &[("g", "")]).await;
    give_up_on(&store, "g", 1..=700).await;
    let script: Script = Arc::new(|sequence| if sequence % 7 == 0 { Makes::Failed } else { Makes::Handled });
    let handed = Handed::default();
    let consumer = Consumer::start(&store, "g", &handed, Duration::ZERO, script);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (redriver, cancel) = (redriver(&store), Cancel::default());
    let told = Mutex::new(Vec::new());
    let watcher = |report: &RedriveReport| told.lock().unwrap().push(report.handled + report.failed_again);
    let report = redriver.redrive(Letters::Matching(open(10_000)), true, &watcher, &cancel).await.unwrap();
    assert_eq!((report.requested, report.handled, report.failed_again), (700, 600, 100));
    assert_adds_up(&report);
    assert_eq!((report.errors.len(), report.groups_without_consumers.len()), (100, 0));
    assert_eq!(
        (report.errors[0].error.as_str(), report.errors[0].event_id.as_str()),
        ("no 7: because", "e6")
    );
    assert_eq!(times(&handed, "g"), once(1..=700));
    assert!(told.lock().unwrap().is_sorted() && told.lock().unwrap().last() == Some(&700));
    for letter in all(&store).await {
        let failed = letter.position.sequence % 7 == 0;
        let expected = if failed { (DeadLetterState::Open, 2) } else { (DeadLetterState::Handled, 1) };
        assert_eq!((letter.state, letter.attempts), expected);
    }

    // The open dead letters are sent again. The others are closed.
    let any = DeadLetterQuery { limit: 10_000, ..DeadLetterQuery::default() };
    consumer.stop().await;
    let _mended = Consumer::start(&store, "g", &handed, Duration::ZERO, well());
    let again = redriver.redrive(Letters::Matching(any), true, &(), &cancel).await.unwrap();
    assert_eq!((again.requested, again.handled, again.unchanged), (700, 100, 600));
    assert_adds_up(&again);
    let none = redriver.redrive(Letters::Matching(open(10_000)), true, &(), &cancel).await.unwrap();
    assert_eq!(none, RedriveReport::default());
    assert_eq!(handed.lock().unwrap().len(), 800);
}

#[tokio::test(start_paused = true)]
async fn letters_being_redriven_are_not_sent_twice_and_waiting_is_optional() {
    let (store, _) = world(10, &[("g", "")]).await;
    give_up_on(&store, "g", 1..=10).await;
    let (redriver, cancel) = (redriver(&store), Cancel::default());
    let send = async |wait| redriver.redrive(Letters::Matching(open(6)), wait, &(), &cancel).await.unwrap();
    let first = send(false).await;
    assert_eq!((first.requested, first.remaining), (6, 6), "no more than the limit");
    assert_eq!(first.groups_without_consumers, ["g"]);
    let ids: Vec<String> = all(&store).await.into_iter().map(|letter| letter.id).collect();
    let mut named = ids.clone();
    named.extend([ids[0].clone(), "unknown".to_owned()]);
    let second = redriver.redrive(Letters::Ids(named), false, &(), &cancel).await.unwrap();
    let counts = (second.requested, second.unchanged, second.remaining, second.unknown);
    assert_eq!(counts, (11, 6, 4, 1), "an id that is named twice is one letter");
    assert_adds_up(&second);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, Duration::ZERO, well());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(times(&handed, "g"), once(1..=10));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_caller_may_stop_waiting() {
    let (store, _) = world(10, &[("g", "")]).await;
    give_up_on(&store, "g", 1..=10).await;
    let cancel = Cancel::default();
    let (asked, from) = (Arc::new(AtomicBool::new(false)), cancel.clone());
    let saw = Arc::clone(&asked);
    let watcher = move |report: &RedriveReport| {
        saw.store(report.groups_without_consumers == ["g"], Ordering::SeqCst);
    };
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        from.cancel();
    });
    let report =
        redriver(&store).redrive(Letters::Matching(open(100)), true, &watcher, &cancel).await.unwrap();
    assert_eq!((report.remaining, asked.load(Ordering::SeqCst)), (10, true));
    assert_adds_up(&report);
}

#[tokio::test(start_paused = true)]
async fn letters_that_go_meanwhile_are_counted_and_those_of_a_deleted_group_stay() {
    let (store, _) = world(10, &[("g", ""), ("gone", "")]).await;
    give_up_on(&store, "g", 1..=10).await;
    give_up_on(&store, "gone", 1..=3).await;
    store.delete_group("gone").await.unwrap();
    let (erased, redriver) = (Arc::clone(&store), redriver(&store));
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        erased.erase(&Entity::new("user", "u1")).await.unwrap();
        let handed = Handed::default();
        let _g = Consumer::start(&erased, "g", &handed, Duration::ZERO, well());
        tokio::time::sleep(Duration::from_secs(10)).await;
    });
    let report = redriver.redrive(Letters::Matching(open(100)), true, &(), &Cancel::default()).await.unwrap();
    assert_eq!((report.no_group, report.unknown, report.handled), (3, 2, 8), "{report:?}");
    assert_adds_up(&report);
}

#[tokio::test(start_paused = true)]
async fn letters_are_discarded_with_a_reason_and_go_a_month_later() {
    let (store, clock) = world(10, &[("g", "")]).await;
    give_up_on(&store, "g", 1..=10).await;
    let redriver = redriver(&store);
    let refused = redriver.discard(Letters::Matching(open(4)), " ").await.unwrap_err();
    assert_eq!(refused.kind(), "invalid-option");
    let report = redriver.discard(Letters::Matching(open(4)), "test data").await.unwrap();
    assert_eq!((report.requested, report.discarded), (4, 4));
    let ids: Vec<String> = all(&store).await.into_iter().map(|letter| letter.id).collect();
    let named = Letters::Ids(vec![ids[0].clone(), ids[9].clone(), "unknown".to_owned()]);
    let again = redriver.discard(named, "test data").await.unwrap();
    assert_eq!((again.requested, again.discarded, again.unchanged, again.unknown), (3, 1, 1, 1));
    assert_eq!(all(&store).await[0].reason.as_deref(), Some("test data"));

    let manager = support::world::manager(&store, clock).with_dead_letters(store.clone());
    let rule = RetentionRule { max_events: Some(1_000), ..RetentionRule::default() };
    let days = |days: i64| Duration::try_from(SignedDuration::from_hours(24 * days)).unwrap();
    tokio::time::sleep(days(29)).await;
    let purge = async |dry| {
        let rules = std::slice::from_ref(&rule);
        manager.apply_retention(rules, dry, None).await.unwrap().dead_letters
    };
    assert_eq!(purge(false).await, 0);
    tokio::time::sleep(days(2)).await;
    assert_eq!(purge(true).await, 0, "a dry run removes nothing");
    assert_eq!(purge(false).await, 5);
    assert_eq!(all(&store).await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn groups_hold_as_far_as_the_settings_say() {
    let (store, clock) = world(0, &[("g", "")]).await;
    support::append(&store, 0..100).await;
    let manager = support::world::manager(&store, clock);
    let rule = RetentionRule { max_events: Some(10), ..RetentionRule::default() };
    let kept = manager.apply_retention(std::slice::from_ref(&rule), false, None).await.unwrap();
    assert_eq!(kept.events, 0);
    assert!(kept.held_by[0].contains('g'), "{kept:?}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let holds = GroupHolds { forgotten_after: Duration::from_secs(60), max_hold: None };
    let forgotten = manager.with_group_holds(holds).apply_retention(&[rule], false, None).await.unwrap();
    assert_eq!(forgotten.events, 90);
}

/// A query without a limit has the default limit of 100.
#[tokio::test(start_paused = true)]
async fn a_query_that_names_no_limit_takes_a_hundred() {
    let (store, _) = world(150, &[("g", "")]).await;
    give_up_on(&store, "g", 1..=150).await;
    assert_eq!(store.dead_letters(&DeadLetterQuery::default()).await.unwrap().len(), 100);
    let handed = Handed::default();
    let _g = Consumer::start(&store, "g", &handed, Duration::ZERO, well());
    let query = Letters::Matching(DeadLetterQuery::default());
    let report = redriver(&store).redrive(query, true, &(), &Cancel::default()).await.unwrap();
    assert_eq!((report.requested, report.handled), (100, 100));
    let none = || Letters::Matching(DeadLetterQuery { limit: 0, ..DeadLetterQuery::default() });
    let refused = redriver(&store).redrive(none(), true, &(), &Cancel::default()).await.unwrap_err();
    assert!(refused.to_string().contains("at least 1"), "{refused}");
    assert!(redriver(&store).discard(none(), "why").await.is_err());
}
