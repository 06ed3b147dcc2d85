//! The guarantees of batch handlers, one per test, on a store in memory under a paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use event_replay::{
    Backoff, Batch, Event, Filter, Group, prelude::*, testing::TestService, trace::TraceParent,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

#[derive(Event, Serialize, Deserialize, Debug)]
#[event("order.placed", schema = false)]
struct OrderPlaced {
    #[entity(key)]
    user_id: String,
    n: u64,
}

/// One event in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    user: String,
    n: u64,
    attempt: u32,
    /// The number of events in the batch.
    size: usize,
    at: Instant,
}

#[derive(Default)]
struct Notes {
    calls: Mutex<Vec<Call>>,
    sizes: Mutex<Vec<usize>>,
    /// The users whose events are with a handler.
    running: Mutex<BTreeSet<String>>,
    overlaps: AtomicBool,
    hangs: AtomicBool,
}

/// The keys of a running call. They are released when the call ends or is dropped.
struct Keys<'a>(&'a Notes, Vec<String>);

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        let mut running = self.0.running.lock().unwrap();
        for user in &self.1 {
            running.remove(user);
        }
    }
}

impl Notes {
    /// Notes a call, and checks that no other call has an event of the same user.
    fn begin(&self, orders: &Batch<OrderPlaced, Notes>) -> Keys<'_> {
        let (size, at) = (orders.len(), Instant::now());
        self.sizes.lock().unwrap().push(size);
        let mut calls = self.calls.lock().unwrap();
        let mut running = self.running.lock().unwrap();
        for order in orders {
            let OrderPlaced { user_id, n } = order.value();
            let attempt = order.context().attempt();
            calls.push(Call { user: user_id.clone(), n: *n, attempt, size, at });
            if !running.insert(user_id.clone()) {
                self.overlaps.store(true, Ordering::SeqCst);
            }
        }
        Keys(self, orders.iter().map(|order| order.value().user_id.clone()).collect())
    }

    fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().unwrap().clone()
    }

    /// Returns attempts and batch sizes by user.
    fn of(&self, user: &str) -> Vec<(u32, usize)> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| call.user == user).map(|call| (call.attempt, call.size)).collect()
    }
}

fn order(user: &str, n: u64) -> OrderPlaced {
    OrderPlaced { user_id: user.to_owned(), n }
}

fn service(store: Arc<dyn Stores>) -> Service<Notes> {
    let settings = BusSettings { enable_validation: false, ..BusSettings::default() };
    Service::new("shop", store, Notes::default()).settings(settings)
}

async fn test(define: impl FnOnce(Group<Notes>) -> Group<Notes>) -> TestService<Notes> {
    TestService::start(|store| service(store).group("g", define)).await
}

async fn emit(service: &RunningService<Notes>, users: &[&str]) {
    for user in users {
        service.emit(order(user, 0)).await.unwrap();
    }
}

/// Returns the users and attempts of the dead letters.
async fn letters(service: &TestService<Notes>) -> Vec<(String, u32)> {
    let letters = service.dead_letters("g").await;
    let user = |event: &Event| event.entities().next().unwrap().1.to_owned();
    letters.iter().map(|letter| (user(&letter.event), letter.attempts)).collect()
}

const SECOND: Duration = Duration::from_secs(1);

async fn note(orders: Batch<OrderPlaced, Notes>) -> Result {
    let _keys = orders.state().begin(&orders);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_full_or_has_waited() {
    let service = test(|g| g.on_batch(10, SECOND, note)).await;
    let begun = Instant::now();
    let users: Vec<String> = (0..25).map(|n| format!("u{n}")).collect();
    emit(&service, &users.iter().map(String::as_str).collect::<Vec<_>>()).await;
    service.settle().await;
    assert_eq!(service.state().sizes(), [10, 10, 5]);
    let calls = service.state().calls.lock().unwrap().clone();
    let waits: Vec<Duration> = calls.iter().map(|call| call.at - begun).collect();
    assert!(waits[..20].iter().all(|wait| *wait < SECOND), "{waits:?}");
    assert!(waits[20..].iter().all(|wait| *wait >= SECOND && *wait < 2 * SECOND), "{waits:?}");
    assert_eq!(calls.iter().map(|call| &call.user).collect::<BTreeSet<_>>().len(), 25);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_concurrency_rises_to_the_size_of_a_batch() {
    let service = test(|g| g.on_batch(50, SECOND, note)).await;
    let users: Vec<String> = (0..50).map(|n| format!("u{n}")).collect();
    emit(&service, &users.iter().map(String::as_str).collect::<Vec<_>>()).await;
    service.settle().await;
    assert_eq!(service.state().sizes(), [50]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn limits_that_cannot_be_kept_are_refused() {
    let refused = async |define: fn(Group<Notes>) -> Group<Notes>| {
        let store = open("memory:").await.unwrap();
        service(store).group("g", define).start().await.unwrap_err().to_string()
    };
    let few = refused(|g| g.on_batch(50, SECOND, note).concurrency(10)).await;
    assert!(few.contains("a batch of 50 deliveries needs a concurrency of 50, but it is 10"), "{few}");
    let late = refused(|g| g.on_batch(5, SECOND, note).timeout(SECOND)).await;
    assert!(late.contains("a batch waits 1s, but its deliveries have only 1s"), "{late}");
    for error in
        [refused(|g| g.on_batch(0, SECOND, note)).await, refused(|g| g.on_batch(65, SECOND, note)).await]
    {
        assert!(error.contains("a batch has 1 to 64 deliveries"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_event_has_its_own_result() {
    async fn some_fail(orders: Batch<OrderPlaced, Notes>) -> Result {
        let _keys = orders.state().begin(&orders);
        for order in &orders {
            match order.value().user_id.as_str() {
                "bob" if order.context().attempt() == 1 => order.fail("the printer is jammed"),
                "eve" => order.fail(permanent("no such order")),
                _ => {}
            }
        }
        Ok(())
    }
    let service = test(|g| g.on_batch(4, SECOND, some_fail)).await;
    emit(&service, &["ann", "bob", "eve", "dan"]).await;
    service.settle().await;
    let notes = service.state();
    assert_eq!((notes.of("ann"), notes.of("dan")), (vec![(1, 4)], vec![(1, 4)]));
    assert_eq!(notes.of("bob"), [(1, 4), (2, 1)], "a retry is alone");
    assert_eq!(notes.of("eve"), [(1, 4)]);
    assert_eq!(letters(&service).await, [("eve".to_owned(), 1)]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_decoded_is_a_dead_letter_and_its_neighbours_are_one_batch() {
    let service = test(|g| g.on_batch(3, SECOND, note)).await;
    for (user, data) in
        [("ann", json!({ "n": 1 })), ("bob", json!({ "n": "one" })), ("eve", json!({ "n": 3 }))]
    {
        service.emit(Event::new("order.placed").user(user).data(&data)).await.unwrap();
    }
    service.settle().await;
    assert_eq!(service.state().sizes(), [2]);
    assert_eq!(letters(&service).await, [("bob".to_owned(), 1)]);
    let error = service.dead_letters("g").await[0].last_failure().unwrap().errors[0].clone();
    assert!(error.contains("cannot be read as OrderPlaced"), "{error}");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_panics_is_a_dead_letter_and_none_of_its_neighbours_is() {
    async fn panics(orders: Batch<OrderPlaced, Notes>) -> Result {
        let _keys = orders.state().begin(&orders);
        assert!(orders.iter().all(|order| order.value().user_id != "eve"), "eve is poison");
        Ok(())
    }
    let service = test(|g| g.on_batch(4, SECOND, panics)).await;
    emit(&service, &["ann", "bob", "eve", "dan"]).await;
    service.settle().await;
    assert_eq!(letters(&service).await, [("eve".to_owned(), 4)]);
    for user in ["ann", "bob", "dan"] {
        assert_eq!(service.state().of(user), [(1, 4), (2, 1)], "{user}");
    }
    assert_eq!(service.state().of("eve"), [(1, 4), (2, 1), (3, 1), (4, 1)]);
    let error = service.dead_letters("g").await[0].last_failure().unwrap().errors[0].clone();
    assert!(error.contains("the handler panicked: eve is poison"), "{error}");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_of_a_whole_call_gives_up_no_neighbour() {
    async fn refuses(orders: Batch<OrderPlaced, Notes>) -> Result {
        let _keys = orders.state().begin(&orders);
        match orders.iter().any(|order| order.value().user_id == "eve") {
            true => Err(permanent("the table refuses eve")),
            false => Ok(()),
        }
    }
    let service = test(|g| g.on_batch(3, SECOND, refuses)).await;
    emit(&service, &["ann", "bob", "eve"]).await;
    service.settle().await;
    assert_eq!(letters(&service).await, [("eve".to_owned(), 2)], "alone, it is permanent");
    assert_eq!(service.state().of("ann"), [(1, 3), (2, 1)]);
    assert_eq!(service.state().of("bob"), [(1, 3), (2, 1)]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_is_alone_at_its_last_attempt() {
    let service = test(|g| g.on_batch(4, SECOND, note).max_retries(0)).await;
    emit(&service, &["ann", "bob"]).await;
    service.emit(order("eve", 0)).retries(1).await.unwrap();
    service.settle().await;
    assert_eq!(service.state().of("ann"), [(1, 1)]);
    assert_eq!(service.state().sizes(), [1, 1, 1]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_ends_and_its_events_are_tried_alone() {
    async fn hangs(orders: Batch<OrderPlaced, Notes>) -> Result {
        let _keys = orders.state().begin(&orders);
        if orders.iter().any(|order| order.value().user_id == "eve") {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
    let fast = Backoff::new(Duration::from_millis(1), Duration::from_millis(2));
    let service = test(|g| {
        g.on_batch(3, Duration::from_millis(500), hangs).timeout(2 * SECOND).backoff(fast).max_retries(2)
    })
    .await;
    emit(&service, &["ann", "eve"]).await;
    service.settle().await;
    assert_eq!(letters(&service).await, [("eve".to_owned(), 3)]);
    assert_eq!(service.state().of("ann"), [(1, 2), (2, 1)]);
    assert!(!service.state().overlaps.load(Ordering::SeqCst), "an old call met the retry");
    assert!(service.state().running.lock().unwrap().is_empty());
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_follows_has_its_own_cause_and_trace() {
    async fn follow(orders: Batch<OrderPlaced, Notes>) -> Result {
        let _keys = orders.state().begin(&orders);
        for order in &orders {
            order.context().emit(Event::new("order.booked").user(&order.value().user_id)).await?;
        }
        match orders.iter().any(|order| order.context().attempt() == 1) {
            true => Err("not yet".into()),
            false => Ok(()),
        }
    }
    let service = test(|g| g.on_batch(2, SECOND, follow)).await;
    for (user, digit) in [("ann", "a"), ("bob", "b")] {
        let trace = format!("00-{}-{}-01", digit.repeat(32), digit.repeat(16));
        service.emit(order(user, 0)).metadata("traceparent", trace).await.unwrap();
    }
    service.settle().await;
    assert_eq!(service.state().sizes(), [2, 1, 1]);
    let log = service.log().await;
    assert_eq!(log.len(), 4, "a repeated call stores nothing twice");
    for booked in &log[2..] {
        let cause = log.iter().find(|event| Some(event.id()) == booked.causation_id()).expect("a cause");
        assert_eq!(cause.ordering_key(), booked.ordering_key());
        let trace = |event| TraceParent::of(event).expect("a trace").trace_id();
        assert_eq!(trace(cause), trace(booked));
    }
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_handled_in_batches() {
    let service = test(|g| g.on_batch(3, SECOND, note)).await;
    emit(&service, &["ann", "bob", "eve"]).await;
    service.settle().await;
    let report = service.replay(Filter::types(["order.placed"])).into("g").run().await.unwrap();
    assert_eq!(report.successful_replays, 3);
    assert_eq!(service.state().sizes(), [3, 3]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_live_batch_handler_declines_replays() {
    let service = test(|g| g.on_batch_live(2, SECOND, note)).await;
    emit(&service, &["ann", "bob"]).await;
    service.settle().await;
    let report = service.replay(Filter::types(["order.placed"])).into("g").run().await.unwrap();
    assert_eq!((report.successful_replays, report.skipped_events), (0, 2));
    assert_eq!(service.state().sizes(), [2]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_a_batch_and_takes_back_a_batch_that_waits_longer() {
    for (wait, handled) in [(SECOND, true), (10 * SECOND, false)] {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&sizes);
        let handler = move |orders: Batch<OrderPlaced, Notes>| {
            noted.lock().unwrap().push(orders.len());
            async { Ok(()) }
        };
        let service = test(|g| g.on_batch(4, wait, handler).grace(2 * SECOND)).await;
        emit(&service, &["ann", "bob"]).await;
        service.advance(Duration::from_millis(200)).await;
        assert!(sizes.lock().unwrap().is_empty(), "the batch waits");
        let (store, begun) = (service.store().clone(), Instant::now());
        service.stop().await;
        assert!(begun.elapsed() < 4 * SECOND, "{:?}", begun.elapsed());
        let expected: &[usize] = if handled { &[2] } else { &[] };
        assert_eq!(*sizes.lock().unwrap(), expected);
        let pending = store.pending("g").await.unwrap().unwrap().events;
        assert_eq!(pending, if handled { 0 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn events_that_may_end_their_process_are_called_alone() {
    async fn may_hang(orders: Batch<OrderPlaced, Notes>) -> Result {
        let _keys = orders.state().begin(&orders);
        if orders.state().hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
    let define = |g: Group<Notes>| g.on_batch(3, SECOND, may_hang).lease(Duration::from_millis(500));
    let store = open("memory:").await.unwrap();
    let mut is_new = true;
    // Two processes end while the events are in flight.
    for _ in 0..2 {
        let running = service(store.clone()).group("g", define).start().await.unwrap();
        running.state().hangs.store(true, Ordering::SeqCst);
        if std::mem::take(&mut is_new) {
            emit(&running, &["ann", "bob", "eve"]).await;
        }
        let called = async {
            while running.state().sizes() != [3] {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(60 * SECOND, called).await.expect("one batch of three");
        running.abort();
        tokio::time::sleep(SECOND).await;
    }
    let running = service(store).group("g", define).start().await.unwrap();
    running.settle().await.unwrap();
    assert_eq!(running.state().sizes(), [1, 1, 1]);
    assert!(!running.state().overlaps.load(Ordering::SeqCst));
    running.stop().await.unwrap();
}

// --- Order, under random outcomes.

const USERS: u64 = 5;
const EVENTS: u64 = 8;

/// The outcome of an event in one attempt, by seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Handled,
    Retry,
    Permanent,
    WholeError,
    WholePanic,
    Slow,
}

fn outcome(seed: u64, user: &str, n: u64, attempt: u32) -> Outcome {
    let user: u64 = user.bytes().map(u64::from).sum();
    let mixed = seed.wrapping_mul(31).wrapping_add(user).wrapping_mul(31).wrapping_add(n).wrapping_mul(31);
    match fastrand::Rng::with_seed(mixed.wrapping_add(u64::from(attempt))).u8(..100) {
        0..60 => Outcome::Handled,
        60..75 => Outcome::Retry,
        75..80 => Outcome::Permanent,
        80..85 => Outcome::WholeError,
        85..87 => Outcome::WholePanic,
        _ => Outcome::Slow,
    }
}

/// Returns the first fault of a history of calls: an event of a user before an earlier event of the user was done.
fn fault(calls: &[Call]) -> Option<String> {
    let mut newest: BTreeMap<&str, (u64, u32)> = BTreeMap::new();
    for call in calls {
        let now = (call.n, call.attempt);
        if let Some(before) = newest.insert(&call.user, now) {
            let is_retry = now.0 == before.0 && now.1 == before.1 + 1;
            let is_next = now.0 == before.0 + 1 && now.1 == 1;
            if !is_retry && !is_next {
                return Some(format!("{} after {before:?}: {now:?}", call.user));
            }
        }
    }
    None
}

#[test]
fn a_history_that_breaks_the_order_is_noticed() {
    let call = |n, attempt| Call { user: "ann".to_owned(), n, attempt, size: 1, at: Instant::now() };
    assert_eq!(fault(&[call(0, 1), call(0, 2), call(1, 1)]), None);
    assert!(fault(&[call(0, 1), call(2, 1)]).is_some(), "an event is missing");
    assert!(fault(&[call(1, 1), call(0, 1)]).is_some(), "another order");
    assert!(fault(&[call(0, 1), call(0, 1)]).is_some(), "the same attempt twice");
}

#[tokio::test(start_paused = true)]
async fn events_of_a_key_stay_in_order_under_any_outcome() {
    let (mut batches, mut panics, mut whole, mut retries, mut dead) = (0, 0, 0, 0, 0);
    for seed in 0..20 {
        let random = move |orders: Batch<OrderPlaced, Notes>| async move {
            let _keys = orders.state().begin(&orders);
            let outcomes: Vec<Outcome> = orders
                .iter()
                .map(|order| {
                    let OrderPlaced { user_id, n } = order.value();
                    outcome(seed, user_id, *n, order.context().attempt())
                })
                .collect();
            if outcomes.contains(&Outcome::Slow) {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            for (order, outcome) in orders.iter().zip(&outcomes) {
                match outcome {
                    Outcome::Retry => order.fail("not yet"),
                    Outcome::Permanent => order.fail(permanent("never")),
                    _ => {}
                }
            }
            assert!(!outcomes.contains(&Outcome::WholePanic), "a planned panic");
            match outcomes.contains(&Outcome::WholeError) {
                true => Err("the whole call failed".into()),
                false => Ok(()),
            }
        };
        let fast = Backoff::new(Duration::from_millis(1), Duration::from_millis(20));
        let service = test(|g| g.on_batch(4, Duration::from_millis(10), random).backoff(fast)).await;
        for n in 0..EVENTS {
            for user in 0..USERS {
                service.emit(order(&format!("u{user}"), n)).await.unwrap();
            }
        }
        service.settle().await;
        let calls = service.state().calls.lock().unwrap().clone();
        assert_eq!(fault(&calls), None, "seed {seed}");
        assert!(!service.state().overlaps.load(Ordering::SeqCst), "seed {seed}");
        let events: BTreeSet<(&str, u64)> = calls.iter().map(|call| (call.user.as_str(), call.n)).collect();
        assert_eq!(events.len() as u64, USERS * EVENTS, "seed {seed}");
        let pending = service.store().pending("g").await.unwrap().unwrap();
        assert_eq!(pending.events, 0, "seed {seed}");
        // An event is given up only by its own outcomes: a permanent error, or a failure of its last attempt.
        for letter in service.dead_letters("g").await {
            let value = letter.event.value().unwrap();
            let (user, n) = (value["userId"].as_str().unwrap(), value["data"]["n"].as_u64().unwrap());
            let last = outcome(seed, user, n, letter.attempts);
            let own = match last {
                Outcome::Permanent => true,
                Outcome::Retry | Outcome::WholeError | Outcome::WholePanic => letter.attempts == 4,
                Outcome::Handled | Outcome::Slow => false,
            };
            assert!(
                own,
                "seed {seed}: {user} {n} was given up after {last:?} in attempt {}",
                letter.attempts
            );
            dead += 1;
        }
        batches += service.state().sizes().iter().filter(|size| **size > 1).count();
        let of = |call: &Call| outcome(seed, &call.user, call.n, call.attempt);
        panics += calls.iter().filter(|call| of(call) == Outcome::WholePanic && call.size > 1).count();
        whole += calls.iter().filter(|call| of(call) == Outcome::WholeError && call.size > 1).count();
        retries += calls.iter().filter(|call| call.attempt > 1).count();
        service.stop().await;
    }
    let enough = batches > 50 && panics > 3 && whole > 5 && retries > 100 && dead > 10;
    assert!(
        enough,
        "{batches} batches, {panics} panics, {whole} errors, {retries} retries and {dead} dead letters prove too little"
    );
}
