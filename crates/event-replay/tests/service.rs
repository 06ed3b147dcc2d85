//! The guarantees of a service, one per test, on a store in memory under a paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use event_replay::{
    Event, Events, Filter, Published,
    domain::ports::EventValidator,
    prelude::*,
    testing::{TestService, assert_idempotent},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Event, Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[event("order.placed")]
struct OrderPlaced {
    #[entity(key)]
    user_id: String,
    #[entity]
    order_id: Option<String>,
    #[schemars(range(min = 1))]
    cents: u64,
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[event("payment.captured", version = "2.0")]
#[serde(rename_all = "camelCase")]
struct PaymentCaptured {
    #[entity("payer", key)]
    paid_by: String,
    attempt_at: String,
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[event("line.booked")]
struct LineBooked {
    #[entity(key)]
    user_id: String,
    line: u32,
}

#[derive(Events)]
enum Sale {
    Placed(OrderPlaced),
    Captured(PaymentCaptured),
}

/// The notes of handlers.
#[derive(Default)]
struct Notes {
    lines: Mutex<Vec<String>>,
    calls: AtomicU32,
}

impl Notes {
    fn note(&self, line: impl Into<String>) {
        self.lines.lock().unwrap().push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

fn order(user: &str, cents: u64) -> OrderPlaced {
    OrderPlaced { user_id: user.to_owned(), order_id: None, cents }
}

fn service(store: Arc<dyn Stores>) -> Service<Notes> {
    Service::new("shop", store, Notes::default())
        .event::<OrderPlaced>()
        .event::<PaymentCaptured>()
        .event::<LineBooked>()
}

async fn test(define: impl FnOnce(Service<Notes>) -> Service<Notes>) -> TestService<Notes> {
    TestService::start(|store| define(service(store))).await
}

async fn note_order(order: OrderPlaced, cx: Context<Notes>) -> Result {
    cx.state().note(format!("{} {}", order.user_id, order.cents));
    Ok(())
}

/// Emits an event with the time of the attempt. Fails at its first two attempts.
async fn capture(order: OrderPlaced, cx: Context<Notes>) -> Result {
    let attempt_at = cx.delivery().delivered_at.to_string();
    let published = cx.emit(PaymentCaptured { paid_by: order.user_id, attempt_at }).await?;
    cx.state().note(format!("attempt {}: {}", cx.attempt(), matches!(published, Published::Stored(_))));
    if cx.attempt() < 3 {
        return Err(HandlerError::retry("the printer is jammed"));
    }
    Ok(())
}

// --- Typed events.

#[tokio::test(start_paused = true)]
async fn entities_are_members_of_the_event_and_come_back_in_the_value() {
    let service = test(|service| service).await;
    let placed = OrderPlaced { user_id: "ann".into(), order_id: Some("o-7".into()), cents: 500 };
    service.emit(placed.clone()).correlation("wf-7").metadata("via", "web").await.unwrap();
    service.emit(PaymentCaptured { paid_by: "ann".into(), attempt_at: "now".into() }).await.unwrap();
    let log = service.log().await;
    let event: serde_json::Value = log[0].value().unwrap();
    assert_eq!((&event["userId"], &event["orderId"]), (&json!("ann"), &json!("o-7")));
    assert_eq!((&event["data"], &event["metadata"]), (&json!({"cents": 500}), &json!({"via": "web"})));
    assert_eq!((&event["source"], &event["correlationId"]), (&json!("shop"), &json!("wf-7")));
    assert_eq!(log[0].ordering_key().to_string(), "user=ann");
    let event: serde_json::Value = log[1].value().unwrap();
    assert_eq!((&event["payerId"], &event["version"]), (&json!("ann"), &json!("2.0")));
    assert_eq!(event["data"], json!({"attemptAt": "now"}));
    assert_eq!(log[1].ordering_key().to_string(), "payer=ann");
    assert_eq!(service.published::<OrderPlaced>().await, [placed]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_schema_of_the_type_refuses_what_it_does_not_allow() {
    let service = test(|service| service).await;
    let refused = service.emit(order("ann", 0)).await.unwrap_err();
    assert_eq!(refused.kind(), "rejected");
    assert!(refused.to_string().contains("/data/cents"), "{refused}");
    let unknown = service.emit(Event::new("order.lost").user("ann")).await.unwrap_err();
    assert!(unknown.to_string().contains("No schema found for event type: order.lost"), "{unknown}");
    // An event that is built member by member, under the same schema.
    let made = Event::new("order.placed").user("ann").data(&json!({ "cents": 7 }));
    assert!(matches!(service.emit(made).await.unwrap(), Published::Stored(_)));
    let without_user = Event::new("order.placed").data(&json!({ "cents": 7 }));
    assert!(service.emit(without_user).await.unwrap_err().to_string().contains("/userId"));
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_schemas_of_a_service_are_in_its_store_for_every_other_program() {
    let service = test(|service| service).await;
    // The same schemas as the command line reads.
    let records = service.store().list_schemas().await.unwrap();
    let schemas =
        event_replay::app::schemas::registry_of(&records, event_replay::validation::EngineKind::JsonSchema);
    let event = |cents: u64| {
        json!({"id": "e", "type": "order.placed", "version": "1.0", "timestamp": "2026-01-01T00:00:00Z",
               "source": "s", "metadata": {}, "userId": "ann", "data": {"cents": cents}})
    };
    assert!(schemas.validate_event(&event(1)).is_valid);
    let errors = schemas.validate_event(&event(0)).errors;
    assert_eq!(errors.iter().map(|error| error.pointer.as_str()).collect::<Vec<_>>(), ["/data/cents"]);
    assert_eq!(schemas.ordering_member("payment.captured", "2.0"), Some("payerId"));
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_is_there_already_is_not_put_again() {
    let first = test(|service| service).await;
    let store = first.store().clone();
    let before = store.list_schemas().await.unwrap();
    first.stop().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    service(store.clone()).start().await.unwrap().stop().await.unwrap();
    assert_eq!(store.list_schemas().await.unwrap(), before, "also when it was added stays");
}

// --- Handlers.

#[tokio::test(start_paused = true)]
async fn functions_closures_enums_and_raw_events_are_handlers() {
    let service = test(|service| {
        service
            .group("function", |g| g.on(note_order))
            .group("closure", |g| {
                g.on(|order: OrderPlaced| async move {
                    let cents: u64 = order.cents.to_string().parse()?;
                    assert_eq!(cents, order.cents);
                    Ok(())
                })
            })
            .group("enum", |g| {
                g.on(|sale: Sale, cx: Context<Notes>| async move {
                    cx.state().note(match sale {
                        Sale::Placed(order) => format!("enum: placed {}", order.cents),
                        Sale::Captured(payment) => format!("enum: captured {}", payment.paid_by),
                    });
                    Ok(())
                })
            })
            .group("any", |g| {
                g.on_any(|event: Event, cx: Context<Notes>| async move {
                    cx.state().note(format!("any: {}", event.event_type()));
                    Ok(())
                })
            })
            .group("patterns", |g| {
                g.on_types(["payment.*"], |event: Event, cx: Context<Notes>| async move {
                    cx.state().note(format!("pattern: {}", event.event_type()));
                    Ok(())
                })
            })
    })
    .await;
    service.emit(order("ann", 5)).await.unwrap();
    service.emit(PaymentCaptured { paid_by: "bob".into(), attempt_at: String::new() }).await.unwrap();
    service.emit(LineBooked { user_id: "ann".into(), line: 1 }).await.unwrap();
    service.settle().await;
    let mut lines = service.state().lines();
    lines.sort();
    assert_eq!(
        lines,
        [
            "ann 5",
            "any: line.booked",
            "any: order.placed",
            "any: payment.captured",
            "enum: captured bob",
            "enum: placed 5",
            "pattern: payment.captured",
        ]
    );
    for group in ["function", "closure", "enum", "any", "patterns"] {
        assert!(service.dead_letters(group).await.is_empty(), "{group}");
    }
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn any_error_is_tried_again_unless_it_says_otherwise() {
    async fn fails(order: OrderPlaced, cx: Context<Notes>) -> Result {
        cx.state().note(format!("{} {}", order.user_id, cx.delivery().delivered_at));
        match order.user_id.as_str() {
            "anyhow" => Err(anyhow::anyhow!("no ink").context("printing failed"))?,
            "std" => drop("x".parse::<u64>()?),
            "permanent" => drop("x".parse::<u64>().permanent()?),
            "permanent-if" => drop("x".parse::<u64>().permanent_if(|_| true)?),
            "not-permanent-if" => drop("x".parse::<u64>().permanent_if(|_| false)?),
            "later" => drop("x".parse::<u64>().retry_after(Duration::from_secs(120))?),
            "said" => return Err(permanent("no such order")),
            _ => {}
        }
        Ok(())
    }
    let service = test(|service| service.group("g", |g| g.on(fails).max_retries(1))).await;
    let users = ["anyhow", "std", "permanent", "permanent-if", "not-permanent-if", "later", "said", "fine"];
    for user in users {
        service.emit(order(user, 1)).await.unwrap();
    }
    service.settle().await;
    let attempts: BTreeMap<String, u32> = service
        .dead_letters("g")
        .await
        .iter()
        .map(|letter| (letter.event.entities().next().unwrap().1.to_owned(), letter.attempts))
        .collect();
    let expected = [
        ("anyhow", 2),
        ("later", 2),
        ("not-permanent-if", 2),
        ("permanent", 1),
        ("permanent-if", 1),
        ("said", 1),
        ("std", 2),
    ];
    assert_eq!(attempts, expected.map(|(user, attempts)| (user.to_owned(), attempts)).into());
    let letters = service.dead_letters("g").await;
    let errors = |user: &str| {
        let of_user = letters.iter().find(|letter| letter.event.entities().next().unwrap().1 == user);
        of_user.unwrap().last_failure().unwrap().errors.clone()
    };
    assert_eq!(errors("anyhow"), ["printing failed", "no ink"]);
    let times: Vec<event_replay::Timestamp> =
        service.state().lines().iter().filter_map(|line| line.strip_prefix("later ")?.parse().ok()).collect();
    assert!(times[1].duration_since(times[0]).as_secs() >= 120, "{times:?}");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn time_stands_still_while_a_handler_works() {
    let service = test(|service| service).await;
    let clock = service.bus().clock();
    let began = clock.now();
    assert!((0..10_000).all(|_| clock.now() == began));
    service.advance(Duration::from_secs(120)).await;
    assert_eq!(clock.now().duration_since(began).as_secs(), 120);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_as_the_payload_is_a_dead_letter_at_once() {
    #[derive(Event, Serialize, Deserialize, Debug)]
    #[event("order.placed", schema = false)]
    struct Newer {
        currency: String,
    }
    let service = test(|service| {
        service.group("g", |g| g.on(|newer: Newer| async move { Err(permanent(newer.currency)) }))
    })
    .await;
    service.emit(order("ann", 1)).await.unwrap();
    service.settle().await;
    let letters = service.dead_letters("g").await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].attempts, 1);
    let error = &letters[0].last_failure().unwrap().errors[0];
    assert!(
        error.contains("(order.placed 1.0) cannot be read as Newer: missing field `currency`"),
        "{error}"
    );
    service.stop().await;
}

// --- Events that handlers emit.

#[tokio::test(start_paused = true)]
async fn what_a_handler_emits_is_stored_once_at_any_time_of_its_attempts() {
    let service = test(|service| service.group("g", |g| g.on(capture).max_retries(5))).await;
    service.emit(order("ann", 5)).correlation("wf-1").await.unwrap();
    service.settle().await;
    assert_eq!(service.state().lines(), ["attempt 1: true", "attempt 2: false", "attempt 3: false"]);
    assert_eq!(service.published::<PaymentCaptured>().await.len(), 1);
    assert!(service.dead_letters("g").await.is_empty(), "a repeated attempt is no conflict");
    let log = service.log().await;
    assert_eq!((log[1].correlation_id(), log[1].causation_id()), (Some("wf-1"), Some(log[0].id())));
    // A replay does not store it again either.
    let report = service.replay(Filter::types(["order.placed"])).into("g").run().await.unwrap();
    assert_eq!(report.successful_replays, 1);
    service.settle().await;
    assert_eq!(service.log().await.len(), 2);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_of_one_type_from_one_handler_are_told_apart_by_their_turn_or_name() {
    async fn book(order: OrderPlaced, cx: Context<Notes>) -> Result {
        for line in 0..3 {
            cx.emit(LineBooked { user_id: order.user_id.clone(), line }).await?;
        }
        // The order differs in each attempt.
        let mut named = vec![10, 11, 12];
        named.rotate_left(cx.attempt() as usize % 3);
        for line in named {
            cx.emit_named(line.to_string(), LineBooked { user_id: order.user_id.clone(), line }).await?;
        }
        if cx.attempt() < 3 { Err(HandlerError::retry("not yet")) } else { Ok(()) }
    }
    let service = test(|service| service.group("g", |g| g.on(book))).await;
    service.emit(order("ann", 1)).await.unwrap();
    service.settle().await;
    let mut lines: Vec<u32> =
        service.published::<LineBooked>().await.iter().map(|booked| booked.line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [0, 1, 2, 10, 11, 12]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_handlers_of_one_event_emit_for_themselves() {
    async fn book(order: OrderPlaced, cx: Context<Notes>) -> Result {
        cx.emit(LineBooked { user_id: order.user_id, line: 0 }).await?;
        Ok(())
    }
    let service = test(|service| {
        service
            .group("twice", |g| g.on(book).on(|_: PaymentCaptured| async { Ok(()) }).on(book))
            .group("other", |g| g.on(book))
    })
    .await;
    service.emit(order("ann", 1)).await.unwrap();
    service.settle().await;
    assert_eq!(service.published::<LineBooked>().await.len(), 3);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn emissions_in_another_order_for_another_key_are_a_conflict_and_not_lost_in_silence() {
    async fn book(_: OrderPlaced, cx: Context<Notes>) -> Result {
        let users = if cx.attempt() == 1 { ["ann", "bob"] } else { ["bob", "ann"] };
        for user in users {
            cx.emit(LineBooked { user_id: user.to_owned(), line: 0 }).await?;
        }
        Err(HandlerError::retry("not yet"))
    }
    let service = test(|service| service.group("g", |g| g.on(book).max_retries(1))).await;
    service.emit(order("ann", 1)).await.unwrap();
    service.settle().await;
    let letters = service.dead_letters("g").await;
    let error = &letters[0].last_failure().unwrap().errors[0];
    assert!(error.contains("is stored already with other content"), "{error}");
    assert_eq!(service.published::<LineBooked>().await.len(), 2);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_given_is_emitted_once_at_any_time() {
    let service = test(|service| service).await;
    let first = service.emit(order("ann", 5)).id("order-7").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let again = service.emit(order("ann", 5)).id("order-7").await.unwrap();
    assert_eq!((matches!(first, Published::Stored(_)), first.position()), (true, again.position()));
    assert_eq!(again, Published::AlreadyStored(first.position().unwrap()));
    let of_another = service.emit(order("bob", 5)).id("order-7").await.unwrap_err();
    assert_eq!(of_another.kind(), "conflict");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_emission_may_wait_and_waits_once() {
    async fn remind(order: OrderPlaced, cx: Context<Notes>) -> Result {
        let reminder = PaymentCaptured { paid_by: order.user_id, attempt_at: cx.attempt().to_string() };
        cx.emit(reminder).delay(Duration::from_secs(60)).await?;
        if cx.attempt() == 1 { Err(HandlerError::retry("not yet")) } else { Ok(()) }
    }
    let service = test(|service| service.group("g", |g| g.on(remind))).await;
    service.emit(order("ann", 5)).await.unwrap();
    service.settle().await;
    assert!(service.published::<PaymentCaptured>().await.is_empty());
    assert!(service.dead_letters("g").await.is_empty());
    service.advance(Duration::from_secs(61)).await;
    assert_eq!(service.published::<PaymentCaptured>().await.len(), 1);
    service.stop().await;
}

/// More than a thousand retries and crashes: every order is captured once, without a conflict.
#[tokio::test(start_paused = true)]
async fn a_thousand_retries_and_crashes_emit_nothing_twice() {
    const ORDERS: u64 = 400;
    async fn capture_badly(order: OrderPlaced, cx: Context<Notes>) -> Result {
        let attempt_at = cx.delivery().delivered_at.to_string();
        cx.emit(PaymentCaptured { paid_by: order.user_id, attempt_at }).await?;
        cx.state().calls.fetch_add(1, Ordering::SeqCst);
        // A crash can happen between the emission and the answer.
        tokio::time::sleep(Duration::from_millis(50)).await;
        match u64::from(cx.attempt()) <= order.cents % 6 {
            true => Err(HandlerError::retry("not yet")),
            false => Ok(()),
        }
    }
    let define = |service: Service<Notes>| {
        service.group("g", |g| {
            let fast = event_replay::Backoff::new(Duration::from_millis(1), Duration::from_millis(5));
            g.on(capture_badly).max_retries(50).backoff(fast).lease(Duration::from_millis(500))
        })
    };
    let first = test(define).await;
    let store = first.store().clone();
    for n in 0..ORDERS {
        first.emit(order(&format!("u{n}"), n + 1)).await.unwrap();
    }
    first.stop().await;
    let (mut crashes, mut calls) = (0, 0);
    loop {
        let running = define(service(store.clone())).start().await.unwrap();
        let settled = tokio::time::timeout(Duration::from_millis(200), running.settle()).await;
        calls += running.state().calls.load(Ordering::SeqCst);
        if settled.is_ok() {
            running.stop().await.unwrap();
            break;
        }
        running.abort();
        crashes += 1;
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let captured = store.count(&Filter::types(["payment.captured"]).into(), None).await.unwrap();
    assert_eq!(captured, ORDERS);
    assert!(store.count_dead_letters().await.unwrap().is_empty());
    let again = u64::from(calls) - ORDERS;
    assert!(again >= 1_000 && crashes >= 3, "{again} repeated attempts, {crashes} crashes prove too little");
}

// --- Start and stop.

#[tokio::test(start_paused = true)]
async fn a_paused_clock_works_with_a_store_that_is_opened_by_its_location() {
    let store = open("memory:").await.unwrap();
    let running = service(store).group("g", |g| g.on(capture).max_retries(5)).start().await.unwrap();
    running.emit(order("ann", 1)).await.unwrap();
    // Retries and lease renewals use the virtual time. No task waits in the time of the machine.
    running.settle().await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    running.emit(order("bob", 1)).delay(Duration::from_secs(60)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    running.settle().await.unwrap();
    assert_eq!(running.state().lines().len(), 6);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_consumers_stop_at_once_and_in_less_time_than_a_container_is_given() {
    async fn slow(_: OrderPlaced, cx: Context<Notes>) -> Result {
        cx.state().note("begun");
        tokio::time::sleep(Duration::from_secs(18)).await;
        cx.state().note("done");
        Ok(())
    }
    let service = test(|service| {
        service.group("a", |g| g.on(slow)).group("b", |g| g.on(slow)).group("c", |g| g.on(slow))
    })
    .await;
    service.emit(order("ann", 1)).await.unwrap();
    while service.state().lines().len() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let begun = tokio::time::Instant::now();
    let store = service.store().clone();
    service.stop().await;
    // In virtual time: three handlers of 18 seconds in sequence would take 54 seconds.
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    for group in ["a", "b", "c"] {
        assert!(store.group(group).await.unwrap().unwrap().consumers.is_empty());
        assert_eq!(store.pending(group).await.unwrap().unwrap().events, 0, "what ended was committed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_end_early_when_the_service_stops() {
    async fn waits(_: OrderPlaced, cx: Context<Notes>) -> Result {
        cx.state().note("begun");
        tokio::select! {
            () = cx.cancelled() => Err(HandlerError::retry("the service stops")),
            () = tokio::time::sleep(Duration::from_secs(29)) => Ok(()),
        }
    }
    let service = test(|service| service.group("g", |g| g.on(waits))).await;
    service.emit(order("ann", 1)).await.unwrap();
    while service.state().lines().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (begun, store) = (tokio::time::Instant::now(), service.store().clone());
    service.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(store.pending("g").await.unwrap().unwrap().events, 1, "it is delivered again");
}

#[tokio::test(start_paused = true)]
async fn a_service_ends_with_the_reason_when_a_group_is_deleted() {
    let running =
        service(open("memory:").await.unwrap()).group("g", |g| g.on(note_order)).start().await.unwrap();
    let store = running.store().clone();
    let ended = tokio::spawn(running.run_until(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.delete_group("g").await.unwrap();
    let error = ended.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), "group-deleted");
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_and_leaves_nothing_running() {
    let store = open("memory:").await.unwrap();
    let twice = service(store.clone()).group("g", |g| g.on(note_order)).group("g", |g| g.on(note_order));
    assert!(twice.start().await.unwrap_err().to_string().contains("two groups"));
    let nameless = Service::new("", store.clone(), ());
    assert!(nameless.start().await.unwrap_err().to_string().contains("1 to 128 bytes"));
    let bad = service(store.clone())
        .group("good", |g| g.on(note_order))
        .group("bad", |g| g.on(note_order).concurrency(0));
    assert!(bad.start().await.unwrap_err().to_string().contains("handlers at once"));
    let good = store.group("good").await.unwrap().unwrap();
    assert!(good.consumers.is_empty(), "the group that was started is stopped");
    let empty = service(store.clone()).group("empty", |g| g);
    assert!(empty.start().await.unwrap_err().to_string().contains("needs a handler"));
}

// --- Operations.

#[tokio::test(start_paused = true)]
async fn replays_go_into_the_groups_that_are_named_and_live_handlers_decline_them() {
    async fn mail(order: OrderPlaced, cx: Context<Notes>) -> Result {
        cx.state().note(format!("mail {}", order.user_id));
        Ok(())
    }
    let service =
        test(|service| service.group("figures", |g| g.on(note_order)).group("mailer", |g| g.on_live(mail)))
            .await;
    for user in ["ann", "bob"] {
        service.emit(order(user, 1)).await.unwrap();
    }
    service.settle().await;
    assert_eq!(service.state().lines().len(), 4);

    let unnamed = service.replay(Filter::types(["order.*"])).run().await.unwrap_err();
    assert!(unnamed.to_string().contains("name the groups"), "{unnamed}");
    let everything = service.replay(Filter::default()).into("figures").run().await.unwrap_err();
    assert_eq!(everything.kind(), "everything");

    let of_ann = service.replay(Filter::types(["order.*"]).entity("user", "ann"));
    assert_eq!(of_ann.plan().await.unwrap().total_events, 1);
    let report = of_ann.into("figures").rate(1_000.0).run().await.unwrap();
    assert_eq!((report.successful_replays, report.skipped_events), (1, 0));
    let report = service.replay(Filter::types(["order.*"])).into("mailer").run().await.unwrap();
    assert_eq!((report.successful_replays, report.skipped_events), (0, 2));
    let lines = service.state().lines();
    assert_eq!(lines.iter().filter(|line| *line == "ann 1").count(), 2);
    assert_eq!(lines.len(), 5);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_hosts_the_replays_of_its_groups_and_no_others() {
    let service = test(|service| service.group("figures", |g| g.on(note_order))).await;
    let other = {
        let other = Service::new("other", service.store().clone(), Notes::default()).host_replays(false);
        other.group("elsewhere", |g| g.on(note_order)).start().await.unwrap()
    };
    service.emit(order("ann", 1)).await.unwrap();
    service.settle().await;
    let own = service.replay(Filter::types(["order.*"])).into("figures").start().await.unwrap();
    let foreign = service.replay(Filter::types(["order.*"])).into("elsewhere").start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let state = async |id: &str| service.replays().find_replay(id).await.unwrap().state;
    assert_eq!(format!("{:?}", state(&own).await), "Completed");
    assert_eq!(format!("{:?}", state(&foreign).await), "Planned");
    other.stop().await.unwrap();
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_came_after_a_checkpoint_is_recovered() {
    let service = test(|service| service.group("figures", |g| g.on(note_order))).await;
    service.emit(order("before", 1)).await.unwrap();
    service.checkpoint("noon").await.unwrap();
    for user in ["ann", "bob"] {
        service.emit(order(user, 1)).await.unwrap();
    }
    service.settle().await;
    let report = service.recover("noon").into("figures").run().await.unwrap();
    assert_eq!(report.successful_replays, 2);
    let only = service.recover("noon").only(Filter::default().entity("user", "bob"));
    assert_eq!(only.plan().await.unwrap().total_events, 1);
    assert_eq!(
        service.recover("midnight").into("figures").run().await.unwrap_err().kind(),
        "unknown-checkpoint"
    );
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_listed_redriven_and_discarded_and_health_says_so() {
    async fn fails_at_first(order: OrderPlaced, cx: Context<Notes>) -> Result {
        let calls = cx.state().calls.fetch_add(1, Ordering::SeqCst);
        if calls < 3 || order.user_id == "never" { Err(permanent("the printer is gone")) } else { Ok(()) }
    }
    let service = test(|service| service.group("g", |g| g.on(fails_at_first))).await;
    // The consumer has joined the group after this time.
    service.advance(Duration::from_secs(1)).await;
    assert!(service.health().await.unwrap().is_healthy);
    for user in ["ann", "bob", "never"] {
        service.emit(order(user, 1)).await.unwrap();
    }
    service.settle().await;
    let health = service.health().await.unwrap();
    assert_eq!(
        (health.is_healthy, health.groups[0].open_dead_letters, health.groups[0].consumers),
        (false, 3, 1)
    );
    assert_eq!(health.groups[0].pending.events, 0);
    let running = &*service;
    assert_eq!(running.dead_letters("g").list().await.unwrap().len(), 3);
    let of_ann = running.dead_letters("g").only(Filter::default().entity("user", "ann"));
    assert_eq!(of_ann.redrive().await.unwrap().handled, 1);
    let report = running.dead_letters("g").redrive().await.unwrap();
    assert_eq!((report.requested, report.handled, report.failed_again), (2, 1, 1));
    let discarded = running.dead_letters("g").discard("the customer is gone").await.unwrap();
    assert_eq!(discarded.discarded, 1);
    assert!(service.health().await.unwrap().is_healthy);
    let stats = service.stats().await.unwrap();
    assert_eq!((stats.admitted, stats.processing["order.placed"].handled), (3, 2));
    service.stop().await;
}

// --- The test kit.

#[tokio::test(start_paused = true)]
async fn an_idempotent_handler_passes_and_another_one_is_told_what_it_does_twice() {
    async fn sets(order: OrderPlaced, cx: Context<Notes>) -> Result {
        let mut lines = cx.state().lines.lock().map_err(|_| permanent("poisoned"))?;
        *lines = vec![order.user_id];
        Ok(())
    }
    let own = |service: Service<Notes>| service.event::<OrderPlaced>().event::<PaymentCaptured>();
    assert_idempotent(sets, order("ann", 1), Notes::default(), own, Notes::lines).await;
    // The emitted event is stored once.
    async fn emits(order: OrderPlaced, cx: Context<Notes>) -> Result {
        cx.emit(PaymentCaptured { paid_by: order.user_id, attempt_at: String::new() }).await?;
        Ok(())
    }
    assert_idempotent(emits, order("ann", 1), Notes::default(), own, Notes::lines).await;
    let adds =
        tokio::spawn(assert_idempotent(note_order, order("ann", 1), Notes::default(), own, Notes::lines));
    let panicked = adds.await.unwrap_err().into_panic();
    let said = panicked.downcast_ref::<String>().unwrap();
    assert!(said.contains("handling order.placed twice is not the same"), "{said}");
}

// --- Decisions.

/// Books the next line of a user, if no line was booked after the history was read.
async fn book(
    service: &RunningService<Notes>,
    looked: &event_replay::History,
) -> std::result::Result<u32, event_replay::EmitError> {
    let line = looked.events().len() as u32;
    let booked = LineBooked { user_id: "ann".into(), line };
    service.emit(booked).expecting(looked.unchanged().of_key()).await.map(|_| line)
}

#[tokio::test(start_paused = true)]
async fn of_two_decisions_on_one_history_one_is_emitted() {
    let service = test(|service| service).await;
    let lines = || Filter::types(["line.booked"]).entity("user", "ann");
    let looked = service.history(lines()).await.unwrap();
    // An event of another type, and an event of another user.
    service.emit(order("ann", 1)).await.unwrap();
    service.emit(LineBooked { user_id: "bob".into(), line: 0 }).await.unwrap();
    let (one, other) = tokio::join!(book(&service, &looked), book(&service, &looked));
    let refused = match (one, other) {
        (Ok(0), Err(refused)) | (Err(refused), Ok(0)) => refused,
        both => panic!("{both:?}"),
    };
    assert_eq!((refused.kind(), refused.retry()), ("unexpected-event", event_replay::domain::Retry::Never));
    let first = refused.unexpected().expect("the event that was stored first");
    assert_eq!(first.event_type, "line.booked");
    let again = service.history(lines()).await.unwrap();
    assert_eq!(again.values::<LineBooked>().unwrap(), [LineBooked { user_id: "ann".into(), line: 0 }]);
    assert_eq!(again.events()[0].position, first.position);
    assert_eq!(book(&service, &again).await.unwrap(), 1);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_expectation_goes_with_no_delay() {
    let service = test(|service| service).await;
    let never = Expectation::none_of(Filter::types(["order.placed"]));
    let refused = service
        .emit(order("ann", 1))
        .delay(Duration::from_secs(1))
        .expecting(never.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), "expectation-with-delay");
    assert!(service.log().await.is_empty());
    service.emit(order("ann", 1)).expecting(never.clone()).await.unwrap();
    let refused = service.emit(order("bob", 1)).expecting(never).await.unwrap_err();
    assert!(
        refused.to_string().contains("order.placed") && refused.to_string().contains("decide again"),
        "{refused}"
    );
    service.stop().await;
}

/// Emits under an expectation that its own first attempt breaks. Fails at its first two attempts.
async fn book_once(order: OrderPlaced, cx: Context<Notes>) -> Result {
    let lines = cx.history(Filter::types(["line.booked"]).entity("user", &order.user_id)).await?;
    let line = lines.events().len() as u32;
    let booked = LineBooked { user_id: order.user_id, line };
    let published = cx.emit(booked).expecting(lines.unchanged()).await?;
    cx.state().note(format!("{line} {}", matches!(published, Published::Stored(_))));
    if cx.attempt() < 3 {
        return Err(HandlerError::retry("the printer is jammed"));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_repeated_attempt_finds_its_own_decision() {
    let service = test(|service| service.group("lines", |g| g.on(book_once))).await;
    service.emit(order("ann", 1)).await.unwrap();
    service.settle().await;
    assert_eq!(service.state().lines(), ["0 true", "1 false", "1 false"]);
    assert_eq!(service.published::<LineBooked>().await, [LineBooked { user_id: "ann".into(), line: 0 }]);
    assert!(service.dead_letters("lines").await.is_empty());
    service.stop().await;
}

/// Emits a line that a competing publisher stores first, at the first attempt.
async fn book_late(order: OrderPlaced, cx: Context<Notes>) -> Result {
    let lines = cx.history(Filter::types(["line.booked"]).entity("user", &order.user_id)).await?;
    let line = lines.events().len() as u32;
    if cx.attempt() == 1 {
        cx.emit_named("rival", LineBooked { user_id: order.user_id.clone(), line }).await?;
    }
    let booked = LineBooked { user_id: order.user_id, line };
    cx.emit_named("own", booked).expecting(lines.unchanged()).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_too_late_decides_again() {
    let service = test(|service| service.group("lines", |g| g.on(book_late))).await;
    service.emit(order("ann", 1)).await.unwrap();
    service.settle().await;
    let lines: Vec<u32> = service.published::<LineBooked>().await.iter().map(|booked| booked.line).collect();
    assert_eq!(lines, [0, 1], "the second attempt saw the rival");
    service.stop().await;
}
