//! Shows how a service tests its handlers, with a store in memory and a paused clock. The clock stands still while
//! tasks have work. Retries over minutes and time limits finish at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use event_replay::{
    Cancel, DeadLetter, Filter, GroupReplayOptions, JobRunner, PlanRequest, RuntimeClock, Store,
    domain::ports::DeadLetterQuery, memory::MemoryEngine, prelude::*,
};
use serde_json::json;

/// The service under test. It sends one invoice for each payment.
struct Invoices {
    /// Payments with an invoice. A real service has a table here, and writes it in the transaction of the invoice.
    sent: Mutex<BTreeSet<String>>,
    /// The number of further failures of the printer.
    jams: AtomicU32,
}

impl Invoices {
    fn with_a_printer_that_jams(times: u32) -> Arc<Self> {
        Arc::new(Self { sent: Mutex::default(), jams: AtomicU32::new(times) })
    }

    fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().iter().cloned().collect()
    }
}

#[async_trait]
impl EventHandler for Invoices {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let event = &delivery.stored.event;
        let jams = |left: u32| left.checked_sub(1);
        if self.jams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, jams).is_ok() {
            return Err(HandlerError::retry_after(Duration::from_secs(60), "the printer is jammed"));
        }
        // Printing takes 2 s. Under the paused clock it finishes at once.
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.sent.lock().unwrap().insert(event.id().to_owned());
        Ok(())
    }

    /// A replay does not send an invoice again.
    fn takes_replays(&self) -> bool {
        false
    }
}

/// Returns a new bus for each test, with the clock of the test runtime.
async fn bus() -> (Bus, Arc<RuntimeClock>) {
    let clock = Arc::new(RuntimeClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
    let store = Arc::new(Store::new(MemoryEngine::new(clock.clone())));
    let bus = Bus::builder(store).validator(built_in_schemas()).clock(clock.clone()).build().await.unwrap();
    (bus, clock)
}

async fn pay(bus: &Bus, id: &str) {
    let event = json!({
        "id": id, "type": "payment.processed", "version": "1.0", "timestamp": "2026-01-01T00:00:00Z",
        "source": "payment-service", "userId": "user-1", "correlationId": "order-7",
        "paymentId": id, "metadata": {},
        "data": { "amount": 10, "currency": "EUR", "status": "succeeded", "paymentMethod": "card",
                  "processedAt": "2026-01-01T00:00:00Z" },
    });
    bus.publish(event.to_string().as_bytes()).await.unwrap();
}

async fn letters(bus: &Bus) -> Vec<DeadLetter> {
    let query = DeadLetterQuery { limit: 10, ..DeadLetterQuery::default() };
    bus.store().dead_letters(&query).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_jam_is_waited_out_and_later_payments_of_the_user_wait_behind_it() {
    let ((bus, _), invoices) = (bus().await, Invoices::with_a_printer_that_jams(2));
    let consumer = bus.subscribe("invoices").on("payment.processed", invoices.clone()).start().await.unwrap();
    pay(&bus, "pay-1").await;
    pay(&bus, "pay-2").await;
    until_idle(&**bus.store(), "invoices").await.unwrap();
    assert_eq!(invoices.sent(), ["pay-1", "pay-2"]);
    assert!(letters(&bus).await.is_empty());
    consumer.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_printer_that_stays_jammed_leaves_a_dead_letter_and_the_next_payment_goes_on() {
    let ((bus, _), invoices) = (bus().await, Invoices::with_a_printer_that_jams(4));
    let consumer = bus.subscribe("invoices").on("payment.processed", invoices.clone()).start().await.unwrap();
    pay(&bus, "pay-1").await;
    pay(&bus, "pay-2").await;
    until_idle(&**bus.store(), "invoices").await.unwrap();
    assert_eq!(invoices.sent(), ["pay-2"]);
    let letters = letters(&bus).await;
    assert_eq!(letters.iter().map(|letter| letter.event.id()).collect::<Vec<_>>(), ["pay-1"]);
    assert_eq!(letters[0].last_failure().unwrap().errors, ["the printer is jammed"]);
    consumer.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_replay_sends_no_invoice_again() {
    let ((bus, clock), invoices) = (bus().await, Invoices::with_a_printer_that_jams(0));
    let consumer = bus.subscribe("invoices").on("payment.processed", invoices.clone()).start().await.unwrap();
    pay(&bus, "pay-1").await;
    until_idle(&**bus.store(), "invoices").await.unwrap();
    invoices.sent.lock().unwrap().clear();
    let manager = replay_manager(bus.store(), None, clock);
    let plan = manager.plan(PlanRequest::new(Filter::correlation("order-7")), None).await.unwrap();
    assert_eq!(plan.total_events, 1);
    let replay = manager.start_group_replay(&plan, &GroupReplayOptions::to(["invoices"])).await.unwrap();
    let report = JobRunner::new(manager).run(&replay.id, &(), &Cancel::default()).await.unwrap();
    assert_eq!((report.successful_replays, report.skipped_events), (0, 1));
    assert!(invoices.sent().is_empty());
    consumer.stop().await.unwrap();
}
