//! The guarantees of a group to its handlers, one guarantee in each test, under a paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use conformance::{EngineCall, EngineHook, FaultyEngine};
use domain::{
    Backoff, DeadLetter, DeadLetterState, Delivery, Entity, HandlerError, Priority, StorageFailure,
    group::{GroupKey, LaneOrigin, NewLaneBatch, segment_of},
    ports::{
        Clock, DeadLetterChange, DeadLetterQuery, DeadLetterStore, EventHandler, EventStore, GroupStore,
        StatsStore, Stores,
        engine::{SpaceKind, Write},
    },
    stats as names,
};
use event_replay_bus::{Bus, ConsumerError, PublishOptions, StartAt, Subscription};
use storage_memory::MemoryEngine;
use store::Store;
use support::{TokioClock, bus_over, event, eventually, is_idle, typed};
use tokio::sync::Notify;

struct Bench {
    store: Arc<Store>,
    clock: TokioClock,
    bus: Bus,
}

impl Bench {
    async fn new() -> Self {
        let clock = TokioClock::start();
        let store = Arc::new(Store::new(MemoryEngine::new(Arc::new(clock))));
        let bus = bus_over(store.clone(), clock).await;
        Self { store, clock, bus }
    }

    fn subscribe(&self, handler: Arc<dyn EventHandler>) -> Subscription {
        self.bus.subscribe("g").on_everything(handler).start_at(StartAt::Earliest)
    }

    async fn publish(&self, id: &str, user: &str) {
        self.bus.publish(&event(id, user)).await.unwrap();
    }

    async fn idle(&self) {
        eventually("the group is idle", async || is_idle(&*self.store, "g").await).await;
    }

    async fn letters(&self) -> Vec<DeadLetter> {
        self.store.dead_letters(&DeadLetterQuery { limit: 1000, ..DeadLetterQuery::default() }).await.unwrap()
    }

    async fn counted(&self, name: &str) -> u64 {
        self.bus.meter().flush(&*self.store).await.unwrap();
        self.store.stats(None).await.unwrap().iter().filter(|s| s.name == name).map(|s| s.count).sum()
    }

    /// Puts stored events into the replay lane of the group.
    async fn replay(&self, ids: &[&str]) {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let events = self.store.get(&ids).await.unwrap();
        let mut segments: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
        for stored in &events {
            let segment = segment_of(&stored.event.ordering_key(), 0, 1, 16);
            segments.entry(segment).or_default().push(stored.position.sequence);
        }
        let batches: Vec<NewLaneBatch> = segments
            .into_iter()
            .map(|(segment, positions)| NewLaneBatch {
                group: "g".to_owned(),
                segment,
                origin: LaneOrigin::Replay { replay_id: "r".to_owned(), batch: fastrand::u64(..) },
                positions,
            })
            .collect();
        self.store.enqueue(None, &batches).await.unwrap();
    }
}

/// Records of a handler: its deliveries and its errors.
#[derive(Default)]
struct Notes {
    seen: Mutex<Vec<(String, u32)>>,
    errors: Mutex<Vec<(String, String, bool)>>,
}

type Answer = dyn Fn(&Delivery) -> Result<Duration, HandlerError> + Send + Sync;

struct Handler {
    notes: Arc<Notes>,
    answer: Box<Answer>,
    takes_replays: bool,
}

#[async_trait]
impl EventHandler for Handler {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        self.notes.seen.lock().unwrap().push((delivery.stored.event.id().to_owned(), delivery.attempt));
        tokio::time::sleep((self.answer)(delivery)?).await;
        Ok(())
    }

    async fn on_error(&self, error: &HandlerError, delivery: &Delivery) {
        let id = delivery.stored.event.id().to_owned();
        self.notes.errors.lock().unwrap().push((id, error.to_string(), delivery.is_last_attempt));
    }

    fn takes_replays(&self) -> bool {
        self.takes_replays
    }
}

impl Notes {
    fn handler(
        self: &Arc<Self>,
        answer: impl Fn(&Delivery) -> Result<Duration, HandlerError> + Send + Sync + 'static,
    ) -> Arc<dyn EventHandler> {
        Arc::new(Handler { notes: Arc::clone(self), answer: Box::new(answer), takes_replays: true })
    }

    fn ids(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(id, _)| id.clone()).collect()
    }

    fn attempts(&self, id: &str) -> Vec<u32> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|(other, _)| other == id)
            .map(|(_, attempt)| *attempt)
            .collect()
    }
}

fn works(_: &Delivery) -> Result<Duration, HandlerError> {
    Ok(Duration::ZERO)
}

fn fails(ids: &'static [&'static str]) -> impl Fn(&Delivery) -> Result<Duration, HandlerError> + Send + Sync {
    move |delivery| match ids.contains(&delivery.stored.event.id()) {
        true => Err(HandlerError::retry("the other side is gone")),
        false => Ok(Duration::ZERO),
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_event_is_tried_again_with_growing_pauses_and_then_becomes_a_dead_letter() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let _consumer = bench.subscribe(notes.handler(fails(&["bad"]))).start().await.unwrap();
    bench.publish("bad", "u1").await;
    bench.publish("next", "u1").await;
    bench.idle().await;
    assert_eq!(notes.attempts("bad"), [1, 2, 3, 4]);
    assert_eq!(notes.ids().last().map(String::as_str), Some("next"));
    let letters = bench.letters().await;
    assert_eq!((letters.len(), letters[0].event.id(), letters[0].attempts), (1, "bad", 4));
    assert_eq!(letters[0].last_failure().unwrap().errors, ["the other side is gone"]);
    let history = &letters[0].history;
    assert_eq!(history.len(), 4, "each attempt is told: {history:?}");
    assert!(history.windows(2).all(|pair| pair[0].at < pair[1].at), "{history:?}");
    let told = notes.errors.lock().unwrap().clone();
    assert_eq!(told.iter().map(|(_, _, last)| *last).collect::<Vec<_>>(), [false, false, false, true]);
    assert_eq!(bench.counted(names::DEAD_LETTERED).await, 1);
    assert_eq!(bench.counted(names::RETRIED).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_poison_event_delays_no_other_key() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let backoff = Backoff { base: Duration::from_secs(3600), cap: Duration::from_secs(7200) };
    let subscription = bench.subscribe(notes.handler(fails(&["bad"]))).backoff(backoff);
    let _consumer = subscription.start().await.unwrap();
    let begun = bench.clock.now();
    bench.publish("bad", "u0").await;
    for n in 0..500 {
        bench.publish(&format!("e{n}"), &format!("u{}", 1 + n % 50)).await;
    }
    eventually("all others are handled", async || {
        notes.ids().iter().filter(|id| *id != "bad").count() == 500
    })
    .await;
    let took = bench.clock.now().duration_since(begun);
    assert!(took.as_secs() < 60, "the others took {took} of the clock");
}

#[tokio::test(start_paused = true)]
async fn a_slow_key_with_a_long_queue_delays_no_other_key() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let slow = |delivery: &Delivery| match delivery.stored.event.ordering_key().id {
        "slow" => Ok(Duration::from_secs(20)),
        _ => Ok(Duration::ZERO),
    };
    let _consumer = bench.subscribe(notes.handler(slow)).start().await.unwrap();
    let begun = bench.clock.now();
    for n in 0..2000 {
        bench.publish(&format!("s{n}"), "slow").await;
    }
    for n in 0..100 {
        bench.publish(&format!("e{n}"), &format!("u{n}")).await;
    }
    let others = |notes: &Notes| notes.ids().iter().filter(|id| id.starts_with('e')).count();
    eventually("the others are handled", async || others(&notes) == 100).await;
    let took = bench.clock.now().duration_since(begun);
    assert!(took.as_secs() < 20, "the others took {took} of the clock");
}

#[tokio::test(start_paused = true)]
async fn what_handlers_say_of_trying_again_is_kept() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let clock = bench.clock;
    let seen_at = Arc::new(Mutex::new(Vec::new()));
    let times = Arc::clone(&seen_at);
    let handler = notes.handler(move |delivery| match delivery.stored.event.id() {
        "refused" => Err(HandlerError::give_up("no such user")),
        "later" if delivery.attempt == 1 => {
            times.lock().unwrap().push(clock.now());
            Err(HandlerError::retry_after(Duration::from_secs(600), "too many"))
        }
        "later" => {
            times.lock().unwrap().push(clock.now());
            Ok(Duration::ZERO)
        }
        _ => Err(HandlerError::retry("no")),
    });
    let _consumer = bench.subscribe(handler).start().await.unwrap();
    bench.publish("refused", "u1").await;
    bench.publish("later", "u2").await;
    let once = PublishOptions { retries: Some(0), ..PublishOptions::default() };
    bench.bus.publish_with(&event("once", "u3"), &once).await.unwrap();
    bench.idle().await;
    assert_eq!((notes.attempts("refused"), notes.attempts("once")), (vec![1], vec![1]));
    let times = seen_at.lock().unwrap().clone();
    assert!(times[1].duration_since(times[0]).as_secs() >= 600, "{times:?}");
    assert_eq!(bench.letters().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_end_is_dropped_and_fails() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let handler = notes.handler(|_| Ok(Duration::from_secs(3600)));
    let subscription = bench.subscribe(handler).timeout(Duration::from_secs(7)).max_retries(1);
    let _consumer = subscription.start().await.unwrap();
    bench.publish("e", "u").await;
    bench.idle().await;
    let letters = bench.letters().await;
    assert_eq!((letters.len(), letters[0].attempts), (1, 2));
    assert!(letters[0].history[0].errors[0].contains("did not end within 7s"), "{:?}", letters[0].history);
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_take_longer_than_a_lease() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let handler = || notes.handler(|_| Ok(Duration::from_secs(25)));
    let lease = Duration::from_secs(1);
    let _one = bench.subscribe(handler()).lease(lease).start().await.unwrap();
    let other = bus_over(bench.store.clone(), bench.clock).await;
    let _two = other.subscribe("g").on_everything(handler()).lease(lease).start().await.unwrap();
    for n in 0..20 {
        bench.publish(&format!("e{n}"), &format!("u{n}")).await;
    }
    bench.idle().await;
    assert_eq!(notes.ids().len(), 20, "each came once");
}

#[tokio::test(start_paused = true)]
async fn without_dead_letters_what_is_given_up_on_is_counted_and_passed() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let bus = Bus::builder(bench.store.clone())
        .clock(Arc::new(bench.clock))
        .enable_validation(false)
        .enable_dead_letter_queue(false)
        .max_retries(0)
        .build()
        .await
        .unwrap();
    let _consumer = bus
        .subscribe("g")
        .on_everything(notes.handler(fails(&["bad"])))
        .start_at(StartAt::Earliest)
        .start()
        .await
        .unwrap();
    bench.publish("bad", "u").await;
    bench.publish("next", "u").await;
    bench.idle().await;
    assert_eq!(notes.ids(), ["bad", "next"]);
    assert!(bench.letters().await.is_empty());
    bus.meter().flush(&*bench.store).await.unwrap();
    assert_eq!(bench.counted(names::DROPPED).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_parked_key_waits_for_its_letter_and_blocks_no_other() {
    for discard in [false, true] {
        let bench = Bench::new().await;
        let notes = Arc::new(Notes::default());
        let broken = Arc::new(AtomicU32::new(1));
        let is_broken = Arc::clone(&broken);
        let handler = notes.handler(move |delivery| match delivery.stored.event.id() {
            "bad" if is_broken.load(Ordering::SeqCst) == 1 => Err(HandlerError::retry("no")),
            _ => Ok(Duration::ZERO),
        });
        let _consumer = bench.subscribe(handler).park(true).max_retries(1).start().await.unwrap();
        bench.publish("bad", "u1").await;
        for n in 0..5 {
            bench.publish(&format!("behind{n}"), "u1").await;
            bench.publish(&format!("beside{n}"), "u2").await;
        }
        bench.idle().await;
        assert_eq!(notes.ids().iter().filter(|id| id.starts_with("behind")).count(), 0);
        assert_eq!(notes.ids().iter().filter(|id| id.starts_with("beside")).count(), 5);
        let letter = bench.letters().await.remove(0);
        assert!(letter.parked);
        broken.store(0, Ordering::SeqCst);
        let ids = [letter.id.clone()];
        let changed = match discard {
            true => bench.store.discard(&ids, "not worth it").await.unwrap(),
            false => bench.store.redrive(&ids).await.unwrap(),
        };
        assert_eq!(changed, [DeadLetterChange::Done]);
        eventually("the key goes on", async || notes.ids().contains(&"behind4".to_owned())).await;
        bench.idle().await;
        let behind: Vec<String> = notes.ids().into_iter().filter(|id| id.starts_with("behind")).collect();
        assert_eq!(behind, ["behind0", "behind1", "behind2", "behind3", "behind4"]);
        let state = bench.letters().await[0].state;
        assert_eq!(state, if discard { DeadLetterState::Discarded } else { DeadLetterState::Handled });
        assert_eq!(notes.attempts("bad").len(), if discard { 2 } else { 3 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_redrive_is_handled_or_comes_back_with_one_more_attempt() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let mended = Arc::new(AtomicU32::new(0));
    let is_mended = Arc::clone(&mended);
    let handler = notes.handler(move |delivery| match delivery.stored.event.id() {
        "a" if is_mended.load(Ordering::SeqCst) == 1 => Ok(Duration::ZERO),
        _ => Err(HandlerError::retry("no")),
    });
    let _consumer = bench.subscribe(handler).max_retries(1).start().await.unwrap();
    bench.publish("a", "u1").await;
    bench.publish("b", "u2").await;
    bench.idle().await;
    mended.store(1, Ordering::SeqCst);
    let ids: Vec<String> = bench.letters().await.iter().map(|letter| letter.id.clone()).collect();
    bench.store.redrive(&ids).await.unwrap();
    let again = bench.store.redrive(&ids).await.unwrap();
    assert!(
        again.iter().all(|change| *change == DeadLetterChange::Unchanged(DeadLetterState::Redriving)),
        "{again:?}"
    );
    let settled =
        async || bench.letters().await.iter().all(|letter| letter.state != DeadLetterState::Redriving);
    eventually("both are settled", settled).await;
    bench.idle().await;
    let mut states: Vec<_> =
        bench.letters().await.iter().map(|l| (l.event.id().to_owned(), l.state, l.attempts)).collect();
    states.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(
        states,
        [("a".to_owned(), DeadLetterState::Handled, 2), ("b".to_owned(), DeadLetterState::Open, 3)]
    );
    assert_eq!(bench.counted(names::DEAD_LETTERS_CLOSED).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_live_only_handler_gets_no_replay_and_others_get_it_in_order() {
    for takes_replays in [true, false] {
        let bench = Bench::new().await;
        let notes = Arc::new(Notes::default());
        let replays = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&replays);
        let answer = move |delivery: &Delivery| {
            if let Some(replay) = delivery.replay() {
                assert_eq!((replay.replay_id.as_str(), replay.replay_count), ("r", 1));
                counted.fetch_add(1, Ordering::SeqCst);
            }
            Ok(Duration::from_millis(5))
        };
        let handler =
            Arc::new(Handler { notes: Arc::clone(&notes), answer: Box::new(answer), takes_replays });
        let _consumer = bench.subscribe(handler).start().await.unwrap();
        for n in 0..60 {
            bench.publish(&format!("e{n}"), &format!("u{}", n % 3)).await;
        }
        bench.idle().await;
        notes.seen.lock().unwrap().clear();
        let before = bench.store.info().await.unwrap();
        let ids: Vec<String> = (0..60).map(|n| format!("e{n}")).collect();
        bench.replay(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        bench.idle().await;
        assert_eq!(replays.load(Ordering::SeqCst), if takes_replays { 60 } else { 0 });
        assert_eq!(bench.counted(names::REPLAY_HANDLED).await, if takes_replays { 60 } else { 0 });
        assert_eq!(bench.counted(names::REPLAY_SKIPPED).await, if takes_replays { 0 } else { 60 });
        for user in 0..3 {
            let of_user = notes.ids().into_iter().filter(|id| id[1..].parse::<u32>().unwrap() % 3 == user);
            let expected = ids.iter().filter(|id| id[1..].parse::<u32>().unwrap() % 3 == user);
            let expected: Vec<String> = expected.filter(|_| takes_replays).cloned().collect();
            assert_eq!(of_user.collect::<Vec<_>>(), expected);
        }
        assert_eq!(bench.store.info().await.unwrap(), before, "a replay stores nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_replay_ends_soon() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let handler = notes.handler(|_| Ok(Duration::from_millis(100)));
    let _consumer = bench.subscribe(handler).concurrency(4).start().await.unwrap();
    for n in 0..1000 {
        bench.publish(&format!("e{n}"), &format!("u{n}")).await;
    }
    bench.idle().await;
    notes.seen.lock().unwrap().clear();
    let ids: Vec<String> = (0..1000).map(|n| format!("e{n}")).collect();
    for piece in ids.chunks(10) {
        bench.replay(&piece.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    eventually("it has begun", async || !notes.ids().is_empty()).await;
    bench.store.withdraw("r").await.unwrap();
    bench.idle().await;
    let handed = notes.ids().len();
    assert!((1..300).contains(&handed), "{handed} were handed over all the same");
}

#[tokio::test(start_paused = true)]
async fn expired_events_are_not_handed_over() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let soon = PublishOptions {
        expires_at: Some(bench.clock.now() + Duration::from_secs(5)),
        ..PublishOptions::default()
    };
    bench.bus.publish_with(&event("late", "u1"), &soon).await.unwrap();
    bench.publish("next", "u1").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let _consumer = bench.subscribe(notes.handler(works)).start().await.unwrap();
    bench.idle().await;
    assert_eq!(notes.ids(), ["next"]);
    assert_eq!(bench.counted(names::EXPIRED).await, 1);
}

#[tokio::test(start_paused = true)]
async fn priority_goes_first_but_never_within_a_key() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    for n in 0..30 {
        bench.publish(&format!("m{n}"), &format!("u{n}")).await;
    }
    let first = PublishOptions { priority: Priority::Critical, ..PublishOptions::default() };
    bench.bus.publish_with(&event("urgent", "v"), &first).await.unwrap();
    bench.bus.publish_with(&event("urgent-of-u5", "u5"), &first).await.unwrap();
    let handler = notes.handler(|_| Ok(Duration::from_millis(100)));
    let _consumer = bench.subscribe(handler).concurrency(1).start().await.unwrap();
    bench.idle().await;
    let place = |id: &str| notes.ids().iter().position(|other| other == id).unwrap();
    assert!(place("urgent") <= 1, "{:?}", notes.ids());
    assert!(place("urgent-of-u5") > place("m5"));
}

#[tokio::test(start_paused = true)]
async fn delayed_events_come_when_they_are_due() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let _consumer = bench.subscribe(notes.handler(works)).start().await.unwrap();
    let later = PublishOptions { delay: Some(Duration::from_secs(60)), ..PublishOptions::default() };
    bench.bus.publish_with(&event("later", "u"), &later).await.unwrap();
    bench.publish("now", "u").await;
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(notes.ids(), ["now"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(notes.ids(), ["now", "later"]);
}

struct Reporting {
    bus: Bus,
    reported: AtomicU32,
    own_type: &'static str,
}

#[async_trait]
impl EventHandler for Reporting {
    async fn handle(&self, _: &Delivery) -> Result<(), HandlerError> {
        Err(HandlerError::retry("always"))
    }

    async fn on_error(&self, _: &HandlerError, delivery: &Delivery) {
        let n = self.reported.fetch_add(1, Ordering::SeqCst);
        let id = format!("error-{n}-of-{}", delivery.stored.event.id());
        self.bus.publish(&typed(&id, "u", self.own_type)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn error_handlers_never_feed_themselves() {
    for own_type in ["system.error", "billing.failed"] {
        let bench = Bench::new().await;
        let handler = Arc::new(Reporting { bus: bench.bus.clone(), reported: AtomicU32::new(0), own_type });
        let _consumer = bench.subscribe(handler.clone()).max_retries(1).start().await.unwrap();
        bench.publish("e", "u").await;
        bench.idle().await;
        tokio::time::sleep(Duration::from_secs(300)).await;
        bench.idle().await;
        assert_eq!(
            handler.reported.load(Ordering::SeqCst),
            2,
            "once an attempt of the one event that was published"
        );
        assert_eq!(bench.store.info().await.unwrap().events, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_handlers_run_at_once_as_the_setting_says_and_one_a_key() {
    let bench = Bench::new().await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    let handler = event_replay_bus::handler(move |_: &Delivery| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    });
    for n in 0..500 {
        bench.publish(&format!("e{n}"), &format!("u{n}")).await;
    }
    let _consumer = bench.subscribe(handler).concurrency(64).start().await.unwrap();
    bench.idle().await;
    assert_eq!(most.load(Ordering::SeqCst), 64);
}

#[tokio::test(start_paused = true)]
async fn segments_are_evened_out_within_two_lease_times() {
    let bench = Bench::new().await;
    let lease = Duration::from_secs(10);
    let mut consumers = Vec::new();
    let shares = async || {
        let status = bench.store.group("g").await.unwrap().unwrap();
        let mut shares: Vec<u16> = status.consumers.iter().map(|consumer| consumer.segments).collect();
        shares.sort_unstable();
        shares
    };
    for expected in [vec![16], vec![8, 8], vec![5, 5, 6], vec![4, 4, 4, 4]] {
        let bus = bus_over(bench.store.clone(), bench.clock).await;
        let notes = Arc::new(Notes::default());
        let subscription = bus.subscribe("g").on_everything(notes.handler(works)).lease(lease);
        consumers.push((subscription.start().await.unwrap(), bus));
        tokio::time::sleep(lease * 2).await;
        assert_eq!(shares().await, expected);
    }
    let (gone, _) = consumers.pop().unwrap();
    gone.abort();
    tokio::time::sleep(lease * 2).await;
    assert_eq!(shares().await, [5, 5, 6]);
    let (leaves, _) = consumers.pop().unwrap();
    leaves.stop().await.unwrap();
    tokio::time::sleep(lease / 2).await;
    assert_eq!(shares().await, [8, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_reset_restarts_a_running_group() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let _consumer = bench.subscribe(notes.handler(works)).start().await.unwrap();
    for n in 0..10 {
        bench.publish(&format!("e{n}"), &format!("u{n}")).await;
    }
    bench.idle().await;
    let mut start = bench.store.head().await.unwrap();
    start.sequences = vec![0];
    bench.store.reset_group("g", &start).await.unwrap();
    eventually("all came again", async || notes.ids().len() == 20).await;
    bench.idle().await;
    assert_eq!(notes.ids().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_ends_when_its_group_is_deleted() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let mut consumer = bench.subscribe(notes.handler(works)).start().await.unwrap();
    consumer.settled().await;
    bench.store.delete_group("g").await.unwrap();
    assert_eq!(consumer.ended().await, Err(ConsumerError::GroupDeleted("g".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_full_ledger_stops_its_segment_and_no_other() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let handler = notes.handler(|delivery| match delivery.stored.event.event_type() {
        "poison" => Err(HandlerError::retry("no")),
        _ => Ok(Duration::ZERO),
    });
    let rest = Duration::from_secs(1_000_000);
    let subscription = bench.subscribe(handler).segments(2).backoff(Backoff { base: rest, cap: rest });
    let in_first = |user: &str| {
        let key = domain::OrderingKey { kind: "user", id: user };
        segment_of(&key, 0, 1, 2) == 0
    };
    let (first, second): (Vec<String>, Vec<String>) =
        (0..22_000).map(|n| format!("u{n}")).partition(|user| in_first(user));
    for (n, user) in first.iter().take(11_000).enumerate() {
        bench.bus.publish(&typed(&format!("p{n}"), user, "poison")).await.unwrap();
    }
    for (n, user) in second.iter().take(50).enumerate() {
        bench.publish(&format!("e{n}"), user).await;
    }
    let _consumer = subscription.start().await.unwrap();
    eventually("the other segment is through", async || {
        notes.ids().iter().filter(|id| id.starts_with('e')).count() == 50
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = bench.store.group("g").await.unwrap().unwrap();
    let blocked = status.segments[0].blocked_keys;
    assert!((9_900..=10_000).contains(&blocked), "{blocked} keys are blocked");
    assert!(status.segments[0].cursor < status.segments[1].cursor);
}

#[tokio::test(start_paused = true)]
async fn a_group_may_be_ordered_by_something_else() {
    for (key, most) in [(GroupKey::All, 1), (GroupKey::Event, 16)] {
        let bench = Bench::new().await;
        let notes = Arc::new(Notes::default());
        let handler = notes.handler(|_| Ok(Duration::from_millis(10)));
        let begun = bench.clock.now();
        for n in 0..64 {
            bench.publish(&format!("e{n:02}"), &format!("u{n}")).await;
        }
        let _consumer = bench.subscribe(handler).ordered_by(key).start().await.unwrap();
        bench.idle().await;
        let took = bench.clock.now().duration_since(begun);
        if most == 1 {
            assert!(notes.ids().is_sorted());
            assert!(took.as_millis() >= 640, "one at a time takes longer than {took}");
        }
        assert_eq!(notes.ids().len(), 64);
    }
}

#[tokio::test(start_paused = true)]
async fn only_wanted_types_come_and_the_cursor_passes_the_others() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let subscription =
        bench.bus.subscribe("g").on("payment.*", notes.handler(works)).start_at(StartAt::Earliest);
    let _consumer = subscription.start().await.unwrap();
    for n in 0..300 {
        let event_type = if n % 100 == 0 { "payment.processed" } else { "user.registered" };
        bench.bus.publish(&typed(&format!("e{n}"), &format!("u{n}"), event_type)).await.unwrap();
    }
    bench.idle().await;
    let mut ids = notes.ids();
    ids.sort();
    assert_eq!(ids, ["e0", "e100", "e200"]);
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_handlers_end_and_what_they_answered_does_not_come_again() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let handler = || notes.handler(|_| Ok(Duration::from_secs(5)));
    let consumer = bench.subscribe(handler()).start().await.unwrap();
    for n in 0..40 {
        bench.publish(&format!("e{n}"), &format!("u{n}")).await;
    }
    eventually("some are with handlers", async || !notes.ids().is_empty()).await;
    consumer.stop().await.unwrap();
    let begun = notes.ids().len();
    assert!((1..40).contains(&begun));
    let status = bench.store.group("g").await.unwrap().unwrap();
    assert!(status.consumers.is_empty() && status.segments.iter().all(|segment| segment.consumer.is_none()));
    let _next = bench.subscribe(handler()).start().await.unwrap();
    bench.idle().await;
    assert_eq!(notes.ids().len(), 40);
}

#[tokio::test(start_paused = true)]
async fn settings_that_make_no_sense_are_refused() {
    let bench = Bench::new().await;
    let notes = Arc::new(Notes::default());
    let subscriptions = [
        bench.bus.subscribe("g"),
        bench.bus.subscribe("").on_everything(notes.handler(works)),
        bench.subscribe(notes.handler(works)).concurrency(0),
        bench.subscribe(notes.handler(works)).concurrency(65),
        bench.subscribe(notes.handler(works)).segments(0),
        bench.subscribe(notes.handler(works)).timeout(Duration::ZERO),
        bench.subscribe(notes.handler(works)).start_at(StartAt::Checkpoint("nowhere".to_owned())),
    ];
    for subscription in subscriptions {
        assert!(subscription.start().await.is_err());
    }
    let store: Arc<dyn Stores> = bench.store.clone();
    assert!(Bus::builder(store.clone()).build().await.is_err(), "validation without a validator");
    assert!(
        Bus::builder(store.clone()).enable_validation(false).enable_event_store(false).build().await.is_err()
    );
    assert!(
        Bus::builder(store).enable_validation(false).default_timeout(Duration::ZERO).build().await.is_err()
    );
}

/// Holds back the answer to the next scan until the test releases it.
#[derive(Default)]
struct HeldScan {
    holds: AtomicBool,
    held: Notify,
    let_go: Notify,
}

#[async_trait]
impl EngineHook for HeldScan {
    async fn after(&self, call: &EngineCall<'_>) -> Result<(), StorageFailure> {
        if call.name() == "scan" && self.holds.swap(false, Ordering::SeqCst) {
            self.held.notify_one();
            self.let_go.notified().await;
        }
        Ok(())
    }
}

/// The log may have lost its end since, and may have other events there. A segment that is leased again with the same
/// cursor must read the log again.
#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_lease_is_not_handed_over_under_it() {
    let clock = TokioClock::start();
    let engine = MemoryEngine::new(Arc::new(clock));
    let (plain, hook) = (Store::new(engine.clone()), Arc::new(HeldScan::default()));
    let bus =
        bus_over(Arc::new(Store::new(FaultyEngine::new(Arc::new(engine), Arc::clone(&hook)))), clock).await;
    let start = plain.head().await.unwrap();
    for n in 1..=3 {
        bus.publish(&event(&format!("e{n}"), &format!("u{n}"))).await.unwrap();
    }
    hook.holds.store(true, Ordering::SeqCst);
    let notes = Arc::new(Notes::default());
    let handler = notes.handler(|_| Ok(Duration::ZERO));
    let lease = Duration::from_secs(1);
    let subscription = bus.subscribe("g").on_everything(handler).start_at(StartAt::Earliest).lease(lease);
    let consumer = subscription.start().await.unwrap();
    hook.held.notified().await;
    plain.reset_group("g", &start).await.unwrap();
    plain.erase(&Entity::new("user", "u2")).await.unwrap();
    // The consumer learns that its leases have expired, and takes other leases.
    tokio::time::sleep(4 * lease).await;
    hook.let_go.notify_one();
    eventually("the group is idle", async || is_idle(&plain, "g").await).await;
    let mut ids = notes.ids();
    ids.sort();
    assert_eq!(ids, ["e1", "e3"]);
    consumer.stop().await.unwrap();
}

/// Delays the lease requests of a consumer, and delays the answers to reads even longer.
#[derive(Default)]
struct SlowLease {
    asked: Notify,
}

#[async_trait]
impl EngineHook for SlowLease {
    async fn before(&self, call: &EngineCall<'_>) -> Result<(), StorageFailure> {
        let leases =
            |write: &Write| matches!(write, Write::Put(row, _) if row.space.kind == SpaceKind::Lease);
        let steps = call.transactions().iter().flat_map(|transaction| &transaction.steps);
        if steps.flat_map(|step| &step.writes).any(leases) {
            self.asked.notify_one();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn after(&self, call: &EngineCall<'_>) -> Result<(), StorageFailure> {
        if call.name() == "get" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_stops_while_it_asks_for_leases_keeps_none() {
    let clock = TokioClock::start();
    let engine = MemoryEngine::new(Arc::new(clock));
    let (plain, hook) = (Store::new(engine.clone()), Arc::new(SlowLease::default()));
    let bus =
        bus_over(Arc::new(Store::new(FaultyEngine::new(Arc::new(engine), Arc::clone(&hook)))), clock).await;
    let handler = Arc::new(Notes::default()).handler(|_| Ok(Duration::ZERO));
    let consumer = bus.subscribe("g").on_everything(handler).start().await.unwrap();
    hook.asked.notified().await;
    consumer.stop().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = plain.group("g").await.unwrap().unwrap();
    assert_eq!(status.consumers, [], "no consumer is left");
    assert!(status.segments.iter().all(|segment| segment.consumer.is_none()), "{:?}", status.segments);
}
