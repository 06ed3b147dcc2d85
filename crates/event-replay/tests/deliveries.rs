//! The guarantees of a stream of deliveries, one per test, on a store in memory under a paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use event_replay::{
    Backoff, Event, Filter, Group, TypedDeliveries, TypedDelivery, prelude::*, testing::TestService,
    trace::TraceParent,
};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, timeout};

#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event("order.placed", schema = false)]
struct OrderPlaced {
    #[entity(key)]
    user_id: String,
    n: u64,
}

const SECOND: Duration = Duration::from_secs(1);

type Orders = TypedDeliveries<OrderPlaced, ()>;

fn service(store: Arc<dyn Stores>) -> Service<()> {
    let settings = BusSettings { enable_validation: false, ..BusSettings::default() };
    Service::new("shop", store, ()).settings(settings)
}

/// Sets the pauses between attempts to a few milliseconds.
fn quick(g: Group<()>) -> Group<()> {
    g.backoff(Backoff::new(Duration::from_millis(1), Duration::from_millis(5)))
}

async fn emit(service: &RunningService<()>, user: &str, n: u64) {
    service.emit(OrderPlaced { user_id: user.to_owned(), n }).await.unwrap();
}

/// Returns the next item, or none if there is none within a second.
async fn within_a_second(orders: &mut Orders) -> Option<TypedDelivery<OrderPlaced, ()>> {
    timeout(SECOND, orders.next()).await.ok().flatten()
}

fn facts(order: &TypedDelivery<OrderPlaced, ()>) -> (&str, u64, u32) {
    (&order.value().user_id, order.value().n, order.context().attempt())
}

#[tokio::test(start_paused = true)]
async fn each_answer_has_its_effect() {
    let service = TestService::start(service).await;
    let mut orders: Orders = service.deliveries("g", |g| quick(g).max_retries(1)).await.unwrap();
    for user in ["acked", "failed", "permanent", "dropped"] {
        emit(&service, user, 0).await;
    }
    let mut seen = Vec::new();
    while let Some(order) = within_a_second(&mut orders).await {
        let (user, _, attempt) = facts(&order);
        seen.push((user.to_owned(), attempt));
        match user {
            "acked" => order.ack().unwrap(),
            "failed" => order.fail("the printer is jammed").unwrap(),
            "permanent" => order.fail(permanent("no such order")).unwrap(),
            _ => drop(order),
        }
    }
    seen.sort();
    let expected =
        [("acked", 1), ("dropped", 1), ("dropped", 2), ("failed", 1), ("failed", 2), ("permanent", 1)];
    assert_eq!(seen, expected.map(|(user, attempt)| (user.to_owned(), attempt)));
    let letters: BTreeMap<String, String> = service
        .dead_letters("g")
        .await
        .iter()
        .map(|letter| {
            let user = letter.event.entities().next().unwrap().1.to_owned();
            (user, letter.last_failure().unwrap().errors[0].clone())
        })
        .collect();
    let expected = [
        ("dropped", "the delivery was dropped without an answer"),
        ("failed", "the printer is jammed"),
        ("permanent", "no such order"),
    ];
    assert_eq!(letters, expected.map(|(user, error)| (user.to_owned(), error.to_owned())).into());
    orders.stop().await.unwrap();
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_next_event_of_a_key_is_an_item_after_the_answer() {
    let service = TestService::start(service).await;
    let mut orders: Orders = service.deliveries("g", |g| g).await.unwrap();
    emit(&service, "ann", 1).await;
    emit(&service, "ann", 2).await;
    emit(&service, "bob", 1).await;
    let first = within_a_second(&mut orders).await.unwrap();
    let other = within_a_second(&mut orders).await.unwrap();
    assert_eq!((facts(&first), facts(&other)), (("ann", 1, 1), ("bob", 1, 1)));
    assert!(within_a_second(&mut orders).await.is_none(), "ann's second event waits");
    first.ack().unwrap();
    let second = within_a_second(&mut orders).await.unwrap();
    assert_eq!(facts(&second), ("ann", 2, 1));
    second.ack().unwrap();
    other.ack().unwrap();
    orders.stop().await.unwrap();
    assert_eq!(service.store().pending("g").await.unwrap().unwrap().events, 0);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn unanswered_items_are_at_most_as_many_as_the_concurrency() {
    let service = TestService::start(service).await;
    let mut orders: Orders = service.deliveries("g", |g| g.concurrency(3)).await.unwrap();
    for n in 0..10 {
        emit(&service, &format!("u{n}"), n).await;
    }
    let mut held = Vec::new();
    while let Some(order) = within_a_second(&mut orders).await {
        held.push(order);
    }
    assert_eq!(held.len(), 3);
    held.pop().unwrap().ack().unwrap();
    assert!(within_a_second(&mut orders).await.is_some());
    drop(held);
    orders.stop().await.unwrap();
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_the_deadline_is_refused_and_the_event_is_delivered_again() {
    let service = TestService::start(service).await;
    let mut orders: Orders = service.deliveries("g", |g| quick(g).timeout(5 * SECOND)).await.unwrap();
    emit(&service, "ann", 1).await;
    let late = within_a_second(&mut orders).await.unwrap();
    let now = service.bus().clock().now();
    assert_eq!(late.context().delivery().deadline.duration_since(now).as_secs(), 5);
    service.advance(6 * SECOND).await;
    let mut again = within_a_second(&mut orders).await.unwrap();
    assert_eq!(facts(&again), ("ann", 1, 2));
    let refused = late.ack().unwrap_err();
    assert!(refused.to_string().contains("is too late, and the event is delivered again"), "{refused}");
    // More time, in two steps.
    for _ in 0..2 {
        service.advance(4 * SECOND).await;
        again.extend(5 * SECOND).unwrap();
    }
    service.advance(4 * SECOND).await;
    again.ack().unwrap();
    assert!(within_a_second(&mut orders).await.is_none());
    assert!(service.dead_letters("g").await.is_empty());
    orders.stop().await.unwrap();
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_released_item_is_the_next_item_and_counts_no_attempt() {
    let service = TestService::start(service).await;
    let mut orders: Orders = service.deliveries("g", |g| g.max_retries(0)).await.unwrap();
    emit(&service, "ann", 1).await;
    for _ in 0..5 {
        let order = within_a_second(&mut orders).await.unwrap();
        assert_eq!(facts(&order), ("ann", 1, 1));
        order.release().unwrap();
    }
    within_a_second(&mut orders).await.unwrap().ack().unwrap();
    orders.stop().await.unwrap();
    assert!(service.dead_letters("g").await.is_empty());
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_answers_and_returns_the_rest_without_an_attempt() {
    let service = TestService::start(service).await;
    let mut orders: Orders = service.deliveries("g", |g| g.grace(3 * SECOND)).await.unwrap();
    for user in ["ann", "bob", "eve"] {
        emit(&service, user, 1).await;
    }
    let soon = within_a_second(&mut orders).await.unwrap();
    let never = within_a_second(&mut orders).await.unwrap();
    let begun = Instant::now();
    let answered = tokio::spawn(async move {
        tokio::time::sleep(SECOND).await;
        soon.ack()
    });
    orders.stop().await.unwrap();
    answered.await.unwrap().unwrap();
    assert!(begun.elapsed() >= 3 * SECOND && begun.elapsed() < 5 * SECOND, "{:?}", begun.elapsed());
    never.ack().unwrap_err();
    assert_eq!(service.store().pending("g").await.unwrap().unwrap().events, 2);
    let mut orders: Orders = service.deliveries("g", |g| g).await.unwrap();
    for _ in 0..2 {
        let order = within_a_second(&mut orders).await.unwrap();
        assert_eq!(order.context().attempt(), 1);
        order.ack().unwrap();
    }
    orders.stop().await.unwrap();
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_without_items_in_use_is_quick() {
    let service = TestService::start(service).await;
    let orders: Orders = service.deliveries("g", |g| g.grace(60 * SECOND)).await.unwrap();
    emit(&service, "ann", 1).await;
    service.advance(SECOND).await;
    let begun = Instant::now();
    orders.stop().await.unwrap();
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    assert_eq!(service.store().pending("g").await.unwrap().unwrap().events, 1);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_with_its_service() {
    let service = TestService::start(service).await;
    let mut orders: Orders = service.deliveries("g", |g| g).await.unwrap();
    let waits = tokio::spawn(async move {
        let ended = orders.next().await.is_none();
        (ended, orders.next().await.is_none(), orders.stop().await)
    });
    service.advance(SECOND).await;
    assert!(!waits.is_finished());
    service.stop().await;
    assert_eq!(waits.await.unwrap(), (true, true, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_with_its_group_and_the_stop_says_why() {
    let service = TestService::start(service).await;
    let mut orders: Orders = service.deliveries("g", |g| g).await.unwrap();
    service.advance(SECOND).await;
    service.store().delete_group("g").await.unwrap();
    assert!(timeout(60 * SECOND, orders.next()).await.unwrap().is_none());
    let error = orders.stop().await.unwrap_err();
    assert!(error.to_string().contains("was deleted"), "{error}");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_decoded_is_a_dead_letter_and_no_item() {
    let service = TestService::start(service).await;
    let mut orders: Orders = service.deliveries("g", |g| g).await.unwrap();
    service.emit(Event::new("order.placed").user("bob").data(&json!({ "n": "one" }))).await.unwrap();
    emit(&service, "ann", 1).await;
    let order = within_a_second(&mut orders).await.unwrap();
    assert_eq!(facts(&order), ("ann", 1, 1));
    order.ack().unwrap();
    assert!(within_a_second(&mut orders).await.is_none());
    let letters = service.dead_letters("g").await;
    assert_eq!((letters.len(), letters[0].attempts), (1, 1));
    orders.stop().await.unwrap();
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_a_stream_for_the_combinators_of_futures() {
    let service = TestService::start(service).await;
    let orders: Orders = service.deliveries("g", |g| g).await.unwrap();
    for n in 0..4 {
        emit(&service, &format!("u{n}"), n).await;
    }
    let numbers: BTreeSet<u64> = orders
        .take(4)
        .map(|order| {
            let n = order.value().n;
            order.ack().unwrap();
            n
        })
        .collect()
        .await;
    assert_eq!(numbers, (0..4).collect());
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_goes_into_the_stream() {
    let service = TestService::start(service).await;
    let mut orders: Orders = service.deliveries("g", |g| g).await.unwrap();
    emit(&service, "ann", 1).await;
    within_a_second(&mut orders).await.unwrap().ack().unwrap();
    let id = service.replay(Filter::types(["order.placed"])).into("g").start().await.unwrap();
    let again = timeout(10 * SECOND, orders.next()).await.unwrap().unwrap();
    assert!(again.context().is_replay());
    again.ack().unwrap();
    service.advance(10 * SECOND).await;
    let state = service.replays().find_replay(&id).await.unwrap().state;
    assert_eq!(format!("{state:?}"), "Completed");
    orders.stop().await.unwrap();
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_follows_has_its_cause_and_its_trace() {
    let service = TestService::start(service).await;
    let mut orders: Orders = service.deliveries("g", quick).await.unwrap();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    service.emit(OrderPlaced { user_id: "ann".into(), n: 1 }).metadata("traceparent", trace).await.unwrap();
    // The second attempt emits the same event.
    for _ in 0..2 {
        let order = within_a_second(&mut orders).await.unwrap();
        order.context().emit(Event::new("order.booked").user("ann")).await.unwrap();
        if order.context().attempt() == 1 { order.fail("not yet").unwrap() } else { order.ack().unwrap() }
    }
    let log = service.log().await;
    assert_eq!(log.len(), 2);
    assert_eq!(log[1].causation_id(), Some(log[0].id()));
    let booked = TraceParent::of(&log[1]).expect("a trace");
    assert_eq!(booked.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    orders.stop().await.unwrap();
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_fits_no_stream_is_refused() {
    let start = |store| service(store).group("taken", |g| g.on_any(|_: Event| async { Ok(()) }));
    let service = TestService::start(start).await;
    let taken = service.deliveries::<OrderPlaced>("taken", |g| g).await.unwrap_err();
    assert!(taken.to_string().contains("the service has a group of this name"), "{taken}");
    let handler = service.deliveries::<OrderPlaced>("g", |g| g.on(|_: OrderPlaced| async { Ok(()) }));
    let handler = handler.await.unwrap_err();
    assert!(handler.to_string().contains("adds a handler or a layer"), "{handler}");
    let hasty = service.deliveries::<OrderPlaced>("g", |g| g.timeout(Duration::ZERO)).await.unwrap_err();
    assert!(hasty.to_string().contains("a handler needs time"), "{hasty}");
    service.stop().await;
}

/// Takes every item, and answers at random. Returns the items in their order.
async fn answer_at_random(orders: &mut Orders, random: &mut fastrand::Rng) -> Vec<(String, u64, u32)> {
    let (mut seen, mut held) = (Vec::new(), Vec::new());
    loop {
        if held.len() < 4
            && let Some(order) = within_a_second(orders).await
        {
            let (user, n, attempt) = facts(&order);
            let keys: Vec<&str> = held.iter().map(|held| facts(held).0).collect();
            assert!(!keys.contains(&user), "two events of {user} are unanswered");
            seen.push((user.to_owned(), n, attempt));
            held.push(order);
            continue;
        }
        if held.is_empty() {
            return seen;
        }
        let order = held.swap_remove(random.usize(..held.len()));
        match random.u8(..10) {
            0..6 => order.ack().unwrap(),
            6..8 => order.fail("not yet").unwrap(),
            8 => order.fail(permanent("never")).unwrap(),
            _ => drop(order),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_a_key_stay_in_order_under_any_answer() {
    let (mut retries, mut letters) = (0, 0);
    for seed in 0..20 {
        let service = TestService::start(service).await;
        let mut orders: Orders = service.deliveries("g", quick).await.unwrap();
        for n in 0..8 {
            for user in ["ann", "bob", "eve", "dan", "joe"] {
                emit(&service, user, n).await;
            }
        }
        let seen = answer_at_random(&mut orders, &mut fastrand::Rng::with_seed(seed)).await;
        let mut newest: BTreeMap<&str, (u64, u32)> = BTreeMap::new();
        for (user, n, attempt) in &seen {
            let before = newest.insert(user, (*n, *attempt));
            let is_next = match before {
                None => (*n, *attempt) == (0, 1),
                Some((last, tried)) => [(last, tried + 1), (last + 1, 1)].contains(&(*n, *attempt)),
            };
            assert!(is_next, "seed {seed}: {user} {n} in attempt {attempt} after {before:?}");
        }
        assert!(newest.len() == 5 && newest.values().all(|(n, _)| *n == 7), "seed {seed}: {newest:?}");
        orders.stop().await.unwrap();
        assert_eq!(service.store().pending("g").await.unwrap().unwrap().events, 0, "seed {seed}");
        retries += seen.iter().filter(|(.., attempt)| *attempt > 1).count();
        letters += service.dead_letters("g").await.len();
        service.stop().await;
    }
    assert!(retries > 50 && letters > 10, "{retries} retries and {letters} dead letters prove too little");
}
