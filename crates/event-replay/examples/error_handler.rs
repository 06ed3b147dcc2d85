//! An error handler that publishes `system.error`. It never triggers itself: a failure of the handler of `system.error`
//! publishes no further error event.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use event_replay::{Backoff, DeadLetterState, Timestamp, domain::ports::DeadLetterQuery, prelude::*};
use serde_json::json;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const PAYMENT: &[u8] = br#"{"id":"evt-1","type":"payment.processed","version":"1.0","timestamp":"2024-01-15T10:30:00Z",
    "source":"payment-service","userId":"user-123","paymentId":"pay-7","correlationId":"workflow-1","metadata":{},
    "data":{"amount":49.9,"currency":"EUR","status":"succeeded","paymentMethod":"card",
            "processedAt":"2024-01-15T10:30:00Z"}}"#;

/// Fails to book payments, and publishes an event about each failure.
struct Bookkeeper {
    bus: Bus,
}

#[async_trait]
impl EventHandler for Bookkeeper {
    async fn handle(&self, _: &Delivery) -> Result<(), HandlerError> {
        // The group retries and makes the dead letter. The handler only returns the error.
        Err(HandlerError::retry("the ledger is closed"))
    }

    async fn on_error(&self, error: &HandlerError, delivery: &Delivery) {
        if !delivery.is_last_attempt {
            return;
        }
        let event = &delivery.stored.event;
        let report = json!({
            // The id depends only on the event, so each event has one report, however often it is delivered.
            "id": format!("error-of-{}", event.id()),
            "type": "system.error",
            "version": "1.0",
            "timestamp": Timestamp::now().to_string(),
            "source": "bookkeeper",
            "correlationId": event.correlation_id(),
            "causationId": event.id(),
            "metadata": { "originalEventId": event.id() },
            "data": { "error": error.message(), "originalEvent": event.event_type() },
        });
        // The bus reports a failure of an error handler to no other handler, so this handler logs it.
        if let Err(error) = self.bus.publish(report.to_string().as_bytes()).await {
            tracing::error!(%error, event_id = event.id(), "a failure was not reported");
        }
    }
}

/// Sends error reports to the engineer on duty. It fails while there is no engineer on duty.
#[derive(Default)]
struct Pager {
    was_told_of_its_errors: AtomicBool,
}

#[async_trait]
impl EventHandler for Pager {
    async fn handle(&self, _: &Delivery) -> Result<(), HandlerError> {
        Err(HandlerError::give_up("nobody is on duty"))
    }

    /// The bus never calls this function: an error handler published the failing event.
    async fn on_error(&self, _: &HandlerError, _: &Delivery) {
        self.was_told_of_its_errors.store(true, Ordering::Relaxed);
    }
}

/// Publishes a payment that cannot be booked.
pub async fn run() -> Outcome {
    let bus = Bus::builder(open("memory:").await?).validator(built_in_schemas()).build().await?;
    let quick = Backoff { base: Duration::from_millis(2), cap: Duration::from_millis(10) };
    let bookkeeper = bus
        .subscribe("bookkeeper")
        .on("payment.*", Arc::new(Bookkeeper { bus: bus.clone() }))
        .max_retries(2)
        .backoff(quick)
        .start()
        .await?;
    let pages = Arc::new(Pager::default());
    let pager = bus.subscribe("pager").on("system.error", pages.clone()).backoff(quick).start().await?;

    bus.publish(PAYMENT).await?;
    until_idle(&**bus.store(), "bookkeeper").await?;
    until_idle(&**bus.store(), "pager").await?;
    bookkeeper.stop().await?;
    pager.stop().await?;

    let store = bus.store();
    assert!(!pages.was_told_of_its_errors.load(Ordering::Relaxed));
    assert_eq!(store.info().await?.events, 2, "the payment and one report of its failure");
    let letters = store.dead_letters(&DeadLetterQuery { limit: 10, ..DeadLetterQuery::default() }).await?;
    let mut given_up: Vec<_> = letters
        .iter()
        .map(|letter| (letter.group.as_str(), letter.event.event_type(), letter.attempts, letter.state))
        .collect();
    given_up.sort_unstable_by_key(|(group, ..)| *group);
    assert_eq!(
        given_up,
        [
            ("bookkeeper", "payment.processed", 3, DeadLetterState::Open),
            ("pager", "system.error", 1, DeadLetterState::Open),
        ]
    );
    bus.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome {
    run().await
}
