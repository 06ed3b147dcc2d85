//! Laws of the schedule: an event is in it, or in the log, and comes into the log once, in its turn.

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

    /// Schedules what must not be there yet, due this many seconds from now.
    async fn in_seconds(&self, id: &str, after: u64) -> Timestamp {
        let due = self.clock.now() + seconds(after);
        assert_eq!(self.schedule(&Draft::new(id).event(), due).await, ScheduleOutcome::Scheduled);
        if self.partitions > 1 {
            // What is due at the same instant has an order in each partition alone.
            self.clock.advance(Duration::from_micros(1));
        }
        due
    }

    /// Appends what is due; the ids of what was stored.
    async fn due(&self, limit: usize) -> Vec<String> {
        let appended = self.store.append_due(limit).await.unwrap();
        let stored = |(id, outcome)| match outcome {
            AppendOutcome::Stored(_) => id,
            other => panic!("{id:?}: {other:?}"),
        };
        appended.into_iter().map(stored).collect()
    }

    /// What waits, by id.
    async fn waiting(&self) -> Vec<String> {
        let waiting = self.storage.open().await.scheduled(1_000).await.unwrap();
        waiting.iter().map(|scheduled| scheduled.event.id().to_owned()).collect()
    }
}

/// What is due by the store's clock comes into the log in the order of the times and then of the scheduling, is stamped
/// with the time at which it came, and leaves the schedule.
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

/// What is not due is not appended, however often it is asked.
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

/// One call appends at most its limit, the earliest first.
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

/// A call that appends nothing says that nothing is due: asking until then brings everything that is due into the log, however
/// many events that are and however few a store takes at once.
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

/// What comes into the log by the schedule is an event as any other: found by every index, with its key and delivery options.
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

/// Those who wait for the head are woken by what comes into the log by the schedule, through whichever handle.
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

/// The same content under an id is scheduled once, in any spelling; other content is a conflict; and what the log has
/// is not scheduled.
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

/// Where an id waits and is in the log as well, the event in the log decides.
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

/// An event that came into the log before its time leaves the schedule and is not appended again; nor is other content
/// under its id.
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

/// What was cancelled is not appended, and may be scheduled again; cancelling what is not there answers false.
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

/// The earliest come first, at most as many as asked; the next one's time is told.
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

/// With an entity go the scheduled events that name it; their ids are refused from then on, by the schedule and the log.
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

/// Callers that append what is due at once append each event once, in its turn.
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
            // As many calls as there are events are enough, also where the others do nothing.
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

/// Callers that schedule the same event at once schedule it once.
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
