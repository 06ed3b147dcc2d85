//! Laws of the schedule. An event is in the schedule or in the log, and enters the log once, at its time.

use std::time::Duration;

use domain::{
    DeliveryOptions, Event, Filter, Priority,
    ordering::KeySource,
    ports::{AppendOutcome, Clock as _, ScheduleOutcome, ScheduledEvent},
};
use jiff::Timestamp;

use super::{append::ODD, support::in_order};
use crate::{Bench, Draft, Harness};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Bench {
    async fn schedule(&self, event: &Event, due: Timestamp) -> ScheduleOutcome {
        self.store.schedule(event, due).await.unwrap()
    }

    /// Schedules a new event, due this many seconds from now.
    async fn in_seconds(&self, id: &str, after: u64) -> Timestamp {
        let due = self.clock.now() + seconds(after);
        assert_eq!(self.schedule(&Draft::new(id).event(), due).await, ScheduleOutcome::Scheduled);
        if self.partitions > 1 {
            // Events that are due at the same instant have an order only within each partition.
            self.clock.advance(Duration::from_micros(1));
        }
        due
    }

    /// Appends due events. Returns the ids of the stored events.
    async fn due(&self, limit: usize) -> Vec<String> {
        let appended = self.store.append_due(limit).await.unwrap();
        let stored = |(id, outcome)| match outcome {
            AppendOutcome::Stored(_) => id,
            other => panic!("{id:?}: {other:?}"),
        };
        appended.into_iter().map(stored).collect()
    }

    /// Returns the ids of the waiting events.
    async fn waiting(&self) -> Vec<String> {
        let waiting = self.storage.open().await.scheduled(1_000).await.unwrap();
        waiting.iter().map(|scheduled| scheduled.event.id().to_owned()).collect()
    }
}

/// Events that are due by the store's clock enter the log by their due times, and then in the order of scheduling. They
/// get the stored time of their append and leave the schedule.
pub async fn what_is_due_is_appended_in_its_turn(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for (id, after) in [("c", 20), ("a", 10), ("d", 20), ("now", 0), ("b", 10), ("later", 21), ("past", 0)] {
        bench.in_seconds(id, after).await;
    }
    let past = Draft::new("before").event();
    bench.schedule(&past, bench.clock.now() - seconds(3600)).await;
    let head = bench.store.head().await.unwrap();
    assert_eq!(bench.count(Filter::default()).await, 0);
    assert_eq!(bench.due(100).await, ["before", "now", "past"]);
    bench.clock.advance(seconds(20));
    assert_eq!(bench.due(100).await, ["a", "b", "c", "d"]);
    let log = bench.all(Filter::default()).await;
    in_order(&log, &["before", "now", "past", "a", "b", "c", "d"].map(str::to_owned));
    assert!(log[3..].iter().all(|stored| stored.stored_at == bench.clock.now()), "{log:?}");
    assert!(!head.covers(log[0].position));
    assert_eq!(bench.waiting().await, ["later"]);
    assert_eq!(bench.due(100).await, [""; 0]);
    bench.verify_is_clean().await;
}

/// Events that are not due are not appended, however often the call is repeated.
pub async fn what_is_not_due_is_not_appended(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.in_seconds("e", 10).await;
    for _ in 0..3 {
        bench.clock.advance(seconds(3));
        assert_eq!(bench.due(100).await, [""; 0]);
    }
    assert_eq!(bench.count(Filter::default()).await, 0);
    assert!(bench.store.get(&["e".to_owned()]).await.unwrap().is_empty());
    bench.clock.advance(seconds(1));
    assert_eq!(bench.due(100).await, ["e"]);
}

/// One call appends at most its limit, earliest first.
pub async fn append_due_goes_in_bounded_steps(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for n in 0..5 {
        bench.in_seconds(&format!("e-{n}"), 5 - n).await;
    }
    bench.clock.advance(seconds(5));
    for expected in [&["e-4", "e-3"][..], &["e-2", "e-1"], &["e-0"], &[]] {
        assert_eq!(bench.due(2).await, expected);
    }
}

/// An empty result means that no event is due. Repeated calls until then append all due events. Their number and the
/// limits of the store do not matter.
pub async fn append_due_is_empty_only_when_nothing_is_due(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for n in 0..600 {
        bench.in_seconds(&format!("e-{n}"), 1 + n % 3).await;
    }
    bench.in_seconds("later", 60).await;
    bench.clock.advance(seconds(3));
    while !bench.due(256).await.is_empty() {}
    assert_eq!(bench.waiting().await, ["later"]);
    let expected: Vec<String> =
        (0..3).flat_map(|at| (at..600).step_by(3).map(|n| format!("e-{n}"))).collect();
    in_order(&bench.all(Filter::default()).await, &expected);
}

/// An event from the schedule is an ordinary event in the log. Every index finds it, and it has its key and delivery
/// options.
pub async fn what_was_scheduled_is_an_event_as_any_other(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let options = DeliveryOptions {
        priority: Priority::Critical,
        expires_at: Some(bench.clock.now() + seconds(100)),
        retries: Some(0),
        reports_error: false,
    };
    let draft = Draft::new("e").with("userId", "u").with("correlationId", "c");
    let event = draft.event().with_key_source(KeySource::Entity(0)).with_options(options);
    let due = bench.clock.now() + seconds(5);
    bench.schedule(&event, due).await;
    let waiting = bench.storage.open().await.scheduled(10).await.unwrap();
    let [ScheduledEvent { event: waits, due: when, scheduled_at }] = &waiting[..] else {
        panic!("{waiting:?}")
    };
    assert_eq!((waits.json(), waits.options(), *when), (event.json(), options, due));
    assert_eq!((waits.ordering_key(), *scheduled_at), (event.ordering_key(), bench.clock.now()));
    bench.clock.advance(seconds(5));
    assert_eq!(bench.due(100).await, ["e"]);
    for filter in
        [Filter::of_entity(domain::Entity::new("user", "u")), Filter::correlation("c"), Filter::default()]
    {
        let found = bench.all(filter).await;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].event.json(), found[0].event.options()), (event.json(), options));
        assert_eq!(found[0].event.ordering_key().to_string(), "user=u");
    }
    bench.verify_is_clean().await;
}

/// Callers that wait for the head wake up for events from the schedule, appended through any handle.
pub async fn due_events_wake_callers_that_wait_for_the_head(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let other = bench.storage.open().await;
    for (store, id) in [(&bench.store, "own"), (&other, "other")] {
        bench.in_seconds(id, 1).await;
        let head = bench.store.head().await.unwrap();
        let waiting = {
            let (store, head) = (bench.store.clone(), head.clone());
            tokio::spawn(async move { store.changed(&head, seconds(3600)).await.unwrap() })
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished(), "nothing was appended yet");
        bench.clock.advance(seconds(1));
        store.append_due(1).await.unwrap();
        let woken = tokio::time::timeout(seconds(60), waiting).await.expect("a waiting call is woken");
        assert_ne!(woken.unwrap(), head, "by the {id} handle");
    }
}

/// The same content of an id, in any spelling, is scheduled once. Other content is a conflict. A stored event is not
/// scheduled.
pub async fn an_id_is_scheduled_once(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let due = bench.in_seconds("e", 10).await;
    let draft = Draft::new("e");
    let other = draft.clone().with("data", 1).event();
    for store in [bench.store.clone(), bench.storage.open().await] {
        for event in [draft.event(), draft.event_respelled()] {
            let again = store.schedule(&event, due + seconds(5)).await.unwrap();
            assert_eq!(again, ScheduleOutcome::AlreadyScheduled(due));
        }
        assert_eq!(store.schedule(&other, due).await.unwrap(), ScheduleOutcome::Conflict(Some(due)));
    }
    assert_eq!(bench.store.next_due().await.unwrap(), Some(due), "nothing changed");
    let position = bench.store_all(&[Draft::new("stored").event()]).await[0];
    let stored = Draft::new("stored");
    let again = bench.schedule(&stored.event_respelled(), due).await;
    assert_eq!(again, ScheduleOutcome::AlreadyStored(position));
    let conflict = bench.schedule(&stored.with("data", 1).event(), due).await;
    assert_eq!(conflict, ScheduleOutcome::Conflict(None));
    assert_eq!(bench.waiting().await, ["e"]);
}

/// If an id is both in the schedule and in the log, the event in the log decides.
pub async fn what_is_in_the_log_decides_for_an_id_that_waits(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let changed = |id: &str| Draft::new(id).with("data", 1);
    let due = bench.in_seconds("same", 10).await;
    bench.in_seconds("other", 10).await;
    let stored = [Draft::new("same").event(), changed("other").event()];
    let positions = bench.store_all(&stored).await;
    for store in [bench.store.clone(), bench.storage.open().await] {
        for (event, expected) in [
            (Draft::new("same").event_respelled(), ScheduleOutcome::AlreadyStored(positions[0])),
            (changed("same").event(), ScheduleOutcome::Conflict(None)),
            (changed("other").event_respelled(), ScheduleOutcome::AlreadyStored(positions[1])),
            (Draft::new("other").event(), ScheduleOutcome::Conflict(None)),
        ] {
            let again = store.schedule(&event, due).await.unwrap();
            assert_eq!(again, expected, "{:?}: {}", event.id(), event.json());
        }
    }
    assert_eq!(bench.waiting().await, ["same", "other"], "nothing changed");
}

/// An event that entered the log before its due time leaves the schedule and is not appended again. Other content under
/// its id is not appended either.
pub async fn what_came_into_the_log_meanwhile_is_not_appended_again(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for id in ["same", "other", "new"] {
        bench.in_seconds(id, 1).await;
    }
    let stored = [Draft::new("same").event_respelled(), Draft::new("other").with("data", 1).event()];
    let positions = bench.store_all(&stored).await;
    bench.clock.advance(seconds(1));
    let appended = bench.storage.open().await.append_due(100).await.unwrap();
    let [(same, kept), (other, refused), (new, AppendOutcome::Stored(_))] = &appended[..] else {
        panic!("{appended:?}")
    };
    assert_eq!((same.as_str(), other.as_str(), new.as_str()), ("same", "other", "new"));
    assert_eq!(*kept, AppendOutcome::AlreadyStored(positions[0]));
    assert_eq!(*refused, AppendOutcome::Conflict(positions[1]));
    assert_eq!(bench.ids(Filter::default()).await, ["same", "other", "new"]);
    assert_eq!(bench.waiting().await, [""; 0]);
    assert_eq!(bench.store.append_due(100).await.unwrap(), []);
}

/// A cancelled event is not appended and may be scheduled again. Cancelling an unknown id returns false.
pub async fn what_was_cancelled_is_not_appended(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for name in ODD {
        bench.in_seconds(name, 1).await;
    }
    for (n, name) in ODD.iter().enumerate() {
        if n % 2 == 0 {
            assert!(bench.storage.open().await.cancel_scheduled(name).await.unwrap(), "{name:?}");
            assert!(!bench.store.cancel_scheduled(name).await.unwrap(), "{name:?}");
        }
    }
    assert!(!bench.store.cancel_scheduled("unknown").await.unwrap());
    let kept: Vec<_> = ODD.iter().skip(1).step_by(2).copied().collect();
    assert_eq!(bench.waiting().await, kept);
    let due = bench.in_seconds(ODD[0], 5).await;
    bench.clock.advance(seconds(1));
    assert_eq!(bench.due(1_000).await, kept);
    assert!(!bench.store.cancel_scheduled(kept[0]).await.unwrap(), "it is in the log");
    assert_eq!(bench.store.next_due().await.unwrap(), Some(due));
}

/// The list starts with the earliest event and respects its limit. The time of the next event is available.
pub async fn the_earliest_is_listed_first(h: &impl Harness) {
    let bench = Bench::new(h).await;
    assert_eq!(bench.store.next_due().await.unwrap(), None);
    let mut earliest = Timestamp::MAX;
    for (id, after) in [("c", 30), ("a", 10), ("d", 30), ("b", 20)] {
        earliest = earliest.min(bench.in_seconds(id, after).await);
        assert_eq!(bench.storage.open().await.next_due().await.unwrap(), Some(earliest));
    }
    for limit in 1..6 {
        let listed = bench.store.scheduled(limit).await.unwrap();
        let ids: Vec<_> = listed.iter().map(|scheduled| scheduled.event.id()).collect();
        assert_eq!(ids, &["a", "b", "c", "d"][..limit.min(4)]);
    }
}

/// Erasing an entity removes the scheduled events that name it. The schedule and the log then refuse their ids.
pub async fn erase_removes_what_is_scheduled(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let event = |id: &str, user: &str| Draft::new(id).with("userId", user).event();
    let due = bench.clock.now() + seconds(1);
    for (id, user) in [("a", "x"), ("b", "y"), ("c", "x")] {
        assert_eq!(bench.schedule(&event(id, user), due).await, ScheduleOutcome::Scheduled);
    }
    bench.store_all(&[event("d", "x")]).await;
    bench.erase("user", "x").await;
    assert_eq!(bench.waiting().await, ["b"]);
    for id in ["a", "c", "d"] {
        assert_eq!(bench.schedule(&event(id, "z"), due).await, ScheduleOutcome::Erased, "{id}");
    }
    assert_eq!(bench.append(&[event("a", "x"), event("c", "z")]).await, [AppendOutcome::Erased; 2]);
    bench.clock.advance(seconds(1));
    assert_eq!(bench.due(100).await, ["b"]);
    bench.verify_is_clean().await;
}

/// Concurrent callers append each due event once, in order.
pub async fn four_callers_at_once_append_each_due_event_once(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for n in 0..60 {
        bench.in_seconds(&format!("e-{n}"), 1 + n % 3).await;
    }
    bench.clock.advance(seconds(3));
    let mut callers = tokio::task::JoinSet::new();
    for store in bench.handles(4).await {
        callers.spawn(async move {
            let mut stored = 0;
            // With one call for each event, a caller appends all events, even if the others append none.
            for _ in 0..60 {
                let appended = store.append_due(7).await.unwrap();
                stored += appended
                    .iter()
                    .filter(|(_, outcome)| matches!(outcome, AppendOutcome::Stored(_)))
                    .count();
            }
            stored
        });
    }
    assert_eq!(callers.join_all().await.iter().sum::<usize>(), 60);
    let expected: Vec<String> = (0..3).flat_map(|at| (at..60).step_by(3).map(|n| format!("e-{n}"))).collect();
    in_order(&bench.all(Filter::default()).await, &expected);
    assert_eq!(bench.waiting().await, [""; 0]);
}

/// Concurrent callers that schedule the same event schedule it once.
pub async fn eight_callers_at_once_schedule_an_event_once(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let due = bench.clock.now() + seconds(9);
    let mut callers = tokio::task::JoinSet::new();
    for store in bench.handles(8).await {
        callers.spawn(async move { store.schedule(&Draft::new("e").event(), due).await.unwrap() });
    }
    let outcomes = callers.join_all().await;
    let scheduled = outcomes.iter().filter(|outcome| **outcome == ScheduleOutcome::Scheduled);
    assert_eq!(scheduled.count(), 1, "{outcomes:?}");
    let again = outcomes.iter().filter(|outcome| **outcome == ScheduleOutcome::AlreadyScheduled(due));
    assert_eq!(again.count(), 7, "{outcomes:?}");
    assert_eq!(bench.waiting().await, ["e"]);
}
