//! Services with upcasters, on a store in memory under a paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use event_replay::{Filter, prelude::*, testing::TestService};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The orders that older versions of the service published.
#[derive(Event, Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[event("order.placed")]
struct OldOrder {
    #[entity(key)]
    user_id: String,
    cents: i64,
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[event("order.placed", version = "2.0")]
struct Order {
    #[entity(key)]
    user_id: String,
    amount: Amount,
}

#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
struct Amount {
    cents: i64,
    currency: String,
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn lines(&self) -> Vec<String> {
        let mut lines = self.0.lock().unwrap().clone();
        lines.sort();
        lines
    }
}

fn old(user: &str, cents: i64) -> OldOrder {
    OldOrder { user_id: user.to_owned(), cents }
}

fn order(user: &str, cents: i64) -> Order {
    Order { user_id: user.to_owned(), amount: Amount { cents, currency: "EUR".to_owned() } }
}

fn with_currency(mut data: Value) -> Result<Value, String> {
    let cents = data["cents"].take().as_i64().ok_or("the order has no cents")?;
    if cents < 0 {
        return Err("the amount is negative".to_owned());
    }
    Ok(json!({ "amount": { "cents": cents, "currency": "EUR" } }))
}

/// The upcaster of a later version of the service, which accepts refunds.
fn with_refunds(mut data: Value) -> Result<Value, String> {
    Ok(json!({ "amount": { "cents": data["cents"].take(), "currency": "EUR" } }))
}

async fn note(order: Order, cx: Context<Notes>) -> Result {
    let (event, amount) = (cx.event(), order.amount);
    let workflow = event.correlation_id().unwrap_or("-");
    let line =
        format!("{} {} {} {} {workflow}", order.user_id, amount.cents, amount.currency, event.version());
    cx.state().0.lock().unwrap().push(line);
    Ok(())
}

fn shop(store: Arc<dyn Stores>) -> Service<Notes> {
    Service::new("shop", store, Notes::default()).event::<OldOrder>().event::<Order>()
}

fn upcasting(store: Arc<dyn Stores>) -> Service<Notes> {
    shop(store)
        .upcast("order.placed", "1.0", "2.0", with_currency)
        .group("figures", |g| g.on(note).max_retries(5))
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_the_later_version_gets_events_of_both() {
    let service = TestService::start(upcasting).await;
    service.emit(old("ann", 5)).correlation("wf-1").await.unwrap();
    service.emit(order("bob", 7)).await.unwrap();
    service.settle().await;
    assert_eq!(service.state().lines(), ["ann 5 EUR 2.0 wf-1", "bob 7 EUR 2.0 -"]);
    // The log keeps the event as it was published.
    let log = service.log().await;
    assert_eq!((log[0].version(), &log[0].value().unwrap()["data"]), ("1.0", &json!({"cents": 5})));
    assert!(service.dead_letters("figures").await.is_empty());
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_upcasts_again_and_its_plan_counts() {
    let service = TestService::start(upcasting).await;
    service.emit(old("ann", 5)).await.unwrap();
    service.emit(old("ann", -6)).await.unwrap();
    service.emit(order("bob", 7)).await.unwrap();
    service.settle().await;
    let placed = || Filter::types(["order.placed"]);
    let plan = service.replay(placed()).plan().await.unwrap();
    assert_eq!((plan.total_events, plan.upcasts.events, plan.upcasts.failed), (3, 2, 1));
    let report = service.replay(placed()).into("figures").run().await.unwrap();
    assert_eq!((report.successful_replays, report.failed_replays), (2, 1));
    let ann = "ann 5 EUR 2.0 -";
    assert_eq!(service.state().lines(), [ann, ann, "bob 7 EUR 2.0 -", "bob 7 EUR 2.0 -"]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_history_has_the_stored_events_and_upcast_values() {
    let service = TestService::start(upcasting).await;
    service.emit(old("ann", 5)).await.unwrap();
    service.emit(order("bob", 7)).await.unwrap();
    let history = service.history(Filter::types(["order.placed"])).await.unwrap();
    let versions: Vec<&str> = history.events().iter().map(|stored| stored.event.version()).collect();
    assert_eq!(versions, ["1.0", "2.0"]);
    assert_eq!(history.values::<Order>().unwrap(), [order("ann", 5), order("bob", 7)]);
    assert_eq!(service.published::<Order>().await, [order("ann", 5), order("bob", 7)]);
    service.emit(old("cid", -1)).await.unwrap();
    let history = service.history(Filter::types(["order.placed"])).await.unwrap();
    let error = history.values::<Order>().unwrap_err();
    assert_eq!(error.reason, "upcasting order.placed 1.0 to 2.0 failed: the amount is negative");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_upcast_is_one_dead_letter_and_a_later_version_handles_it() {
    let first = TestService::start(upcasting).await;
    first.emit(old("ann", -5)).id("order-1").await.unwrap();
    first.emit(old("ann", 6)).await.unwrap();
    first.settle().await;
    assert_eq!(first.state().lines(), ["ann 6 EUR 2.0 -"]);
    let letters = first.dead_letters("figures").await;
    assert_eq!((letters.len(), letters[0].attempts), (1, 1));
    let said = "event \"order-1\" (order.placed 1.0): upcasting order.placed 1.0 to 2.0 failed: the amount is negative";
    assert_eq!(letters[0].last_failure().unwrap().errors, [said]);
    assert_eq!(letters[0].event.version(), "1.0");
    // A redrive without a new version fails in the same way, and opens the same dead letter again.
    let running = &*first;
    let report = running.dead_letters("figures").redrive().await.unwrap();
    assert_eq!((report.handled, report.failed_again), (0, 1));
    assert_eq!(first.dead_letters("figures").await.len(), 1);

    let (store, clock) = (first.store().clone(), Arc::clone(first.bus().clock()));
    first.stop().await;
    let later = shop(store)
        .upcast("order.placed", "1.0", "2.0", with_refunds)
        .group("figures", |g| g.on(note))
        .clock(clock)
        .start()
        .await
        .unwrap();
    let report = later.dead_letters("figures").redrive().await.unwrap();
    assert_eq!((report.handled, report.failed_again), (1, 0));
    assert_eq!(later.state().lines(), ["ann -5 EUR 2.0 -"]);
    later.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_no_handler_takes_is_not_upcast() {
    let service = TestService::start(|store| {
        shop(store).upcast("order.placed", "1.0", "2.0", with_currency).group("mail", |g| g.on_live(note))
    })
    .await;
    service.emit(old("ann", -5)).await.unwrap();
    service.settle().await;
    assert_eq!(service.dead_letters("mail").await.len(), 1);
    let report = service.replay(Filter::types(["order.placed"])).into("mail").run().await.unwrap();
    assert_eq!((report.skipped_events, report.failed_replays), (1, 0));
    assert_eq!(service.dead_letters("mail").await.len(), 1);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn versions_form_a_chain_and_an_upcaster_of_the_event_sees_every_member() {
    let service = TestService::start(|store| {
        shop(store)
            .upcast_event("order.placed", "1.1", "2.0", |mut event: Value| -> Result<Value, String> {
                let currency = event["metadata"]["currency"].take();
                event["data"]["amount"]["currency"] = currency;
                Ok(event)
            })
            .upcast("order.placed", "1.0", "1.1", |data: Value| -> Result<Value, String> {
                Ok(json!({ "amount": { "cents": data["cents"] } }))
            })
            .group("figures", |g| g.on(note))
    })
    .await;
    service.emit(old("ann", 5)).metadata("currency", "CHF").await.unwrap();
    service.settle().await;
    assert_eq!(service.state().lines(), ["ann 5 CHF 2.0 -"]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_order_of_a_key_stays_if_an_upcaster_renames_its_member() {
    let rename = |mut event: Value| -> Result<Value, String> {
        let members = event.as_object_mut().ok_or("it is not an object")?;
        let user = members.remove("userId").unwrap_or_default();
        members.insert("customerId".to_owned(), user);
        Ok(event)
    };
    let service = TestService::start(|store| {
        shop(store).upcast_event("order.placed", "1.0", "2.0", rename).group("slow", |g| {
            g.on_types(["order.placed"], |event: Event, cx: Context<Notes>| async move {
                let value = event.value()?;
                let cents = value["data"]["cents"].as_u64().unwrap_or_default();
                // A later event of another key would be handled first.
                tokio::time::sleep(Duration::from_secs(10 / cents)).await;
                let line = format!("{} {cents}", value["customerId"].as_str().unwrap_or("-"));
                cx.state().0.lock().unwrap().push(line);
                Ok(())
            })
        })
    })
    .await;
    for cents in [1, 2, 5] {
        service.emit(old("ann", cents)).await.unwrap();
    }
    service.settle().await;
    assert_eq!(*service.state().0.lock().unwrap(), ["ann 1", "ann 2", "ann 5"]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn upcasters_without_an_end_are_refused_at_the_start() {
    let store = open("memory:").await.unwrap();
    let service = upcasting(store).upcast("order.placed", "2.0", "1.0", with_refunds);
    let error = service.start().await.unwrap_err();
    assert_eq!(error.kind(), "upcasters");
    let said = "the upcasters of order.placed lead in a circle: 1.0 to 2.0 to 1.0; remove one of them";
    assert_eq!(error.to_string(), said);
    let store = open("memory:").await.unwrap();
    let service = upcasting(store).upcast("order.placed", "1.0", "3.0", with_refunds);
    let said = service.start().await.unwrap_err().to_string();
    assert_eq!(said, "two upcasters take order.placed 1.0; remove one of them");
}
