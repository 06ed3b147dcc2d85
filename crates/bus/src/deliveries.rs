//! The deliveries of a group as a stream, for programs that answer each delivery in a loop of their own.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use domain::{Delivery, HandlerError, ports::Clock, time::later};
use futures_core::Stream;
use thiserror::Error;
use tokio::time::Instant;

use crate::{
    consumer::{Consumer, ConsumerError},
    pool::{DeliveryPool, Handout, ReceiverAnswer, SettleEffect},
    trace::TraceParent,
};

/// The interval between two checks for deliveries without an answer, at a stop.
const LOOK_EVERY: Duration = Duration::from_millis(10);

type Wait = Pin<Box<dyn Future<Output = bool> + Send>>;

/// The deliveries of a group. Each item must be answered. Drop the stream to stop at once, or call
/// [`Deliveries::stop`].
///
/// The next delivery of a key is an item after the answer for the one before it. Items of different keys may be
/// unanswered at the same time, at most as many as the concurrency of the subscription. So the stream holds no more
/// deliveries than that, also if the program takes none. The stream ends when its group is deleted.
///
/// ```
/// use std::sync::Arc;
/// use event_replay_bus::Bus;
/// use storage_memory::MemoryEngine;
/// use store::Store;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = Bus::builder(Arc::new(Store::new(MemoryEngine::default()))).enable_validation(false).build().await?;
/// let mut payments = bus.subscribe("ledger").deliveries(["payment.*".to_owned()]).await?;
/// bus.publish(br#"{"id":"e1","type":"payment.processed","version":"1","timestamp":"2024-01-15T10:30:00Z",
///                  "source":"shop","metadata":{}}"#).await?;
/// if let Some(payment) = payments.next().await {
///     match payment.delivery().stored.event.correlation_id() {
///         Some(order) => println!("the order {order} is paid"),
///         None => println!("a payment without an order"),
///     }
///     payment.ack()?;
/// }
/// payments.stop().await?;
/// bus.close().await;
/// # Ok(()) }
/// ```
#[must_use = "a stream that is dropped delivers nothing more"]
pub struct Deliveries {
    pool: Arc<DeliveryPool>,
    consumer: Consumer,
    clock: Arc<dyn Clock>,
    limit: Duration,
    grace: Duration,
    /// The wait for the next delivery, if a poll has begun one.
    wait: Option<Wait>,
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

impl Deliveries {
    pub(crate) fn new(
        pool: Arc<DeliveryPool>,
        consumer: Consumer,
        clock: Arc<dyn Clock>,
        limit: Duration,
        grace: Duration,
    ) -> Self {
        Self { pool, consumer, clock, limit, grace, wait: None }
    }

    /// Returns the next delivery, or `None` after the consumer has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<InFlightDelivery> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Returns the consumer of the stream.
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// Stops the consumer. Items that are in use may be answered within the grace of the subscription. Deliveries that
    /// are not answered by then return to the group, and count no attempt.
    ///
    /// # Errors
    /// Returns the [`ConsumerError`] if the consumer had ended before.
    pub async fn stop(self) -> Result<(), ConsumerError> {
        let begun = Instant::now();
        while self.pool.handed_out() > 0 && begun.elapsed() < self.grace && !self.consumer.has_ended() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.consumer.stop().await
    }

    /// Returns a future that ends when a delivery may be ready. Its value is false if the consumer has ended.
    fn wait(&self) -> Wait {
        let (pool, mut states) = (Arc::clone(&self.pool), self.consumer.states());
        Box::pin(async move {
            tokio::select! {
                () = pool.changed() => true,
                // The consumer owns the sender of its states.
                () = async { while states.changed().await.is_ok() {} } => false,
            }
        })
    }

    fn take(&self) -> Option<InFlightDelivery> {
        let Handout { number, turn, mut delivery, trace } = self.pool.take(1, self.limit).pop()?;
        delivery.deadline = later(self.clock.now(), self.limit);
        let (pool, clock) = (Arc::clone(&self.pool), Arc::clone(&self.clock));
        Some(InFlightDelivery { pool, clock, number, turn, delivery, trace, is_answered: false })
    }
}

impl Stream for Deliveries {
    type Item = InFlightDelivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<InFlightDelivery>> {
        loop {
            if let Some(delivery) = self.take() {
                return Poll::Ready(Some(delivery));
            }
            let mut wait = self.wait.take().unwrap_or_else(|| self.wait());
            match wait.as_mut().poll(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(None),
                Poll::Pending => {
                    self.wait = Some(wait);
                    return Poll::Pending;
                }
            }
        }
    }
}

/// The answer came too late and changed nothing. Another receiver may handle the event already.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the answer for event {event_id:?} is too late, and the event is delivered again: answer before the deadline, \
     or extend it"
)]
pub struct DeliveryExpired {
    /// The id of the event.
    pub event_id: String,
}

/// A delivery that waits for its answer. An item that is dropped without an answer counts as a failed attempt, and is
/// tried again. So an event whose handling panics becomes a dead letter after its last attempt.
#[must_use = "a delivery that is dropped without an answer counts as failed"]
pub struct InFlightDelivery {
    pool: Arc<DeliveryPool>,
    clock: Arc<dyn Clock>,
    number: u64,
    turn: u32,
    delivery: Delivery,
    trace: Option<TraceParent>,
    is_answered: bool,
}

impl fmt::Debug for InFlightDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightDelivery").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

impl InFlightDelivery {
    /// Returns the delivery. Its deadline is the end of the time for the answer.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Returns the place of the delivery in its trace, if it has one.
    pub fn trace(&self) -> Option<TraceParent> {
        self.trace
    }

    /// Answers that the delivery was handled.
    ///
    /// # Errors
    /// Returns [`DeliveryExpired`] when the answer is too late.
    pub fn ack(mut self) -> Result<(), DeliveryExpired> {
        self.answer(ReceiverAnswer::Answered(Ok(())))
    }

    /// Answers that the delivery failed. The error decides between a retry and a dead letter.
    ///
    /// # Errors
    /// Returns [`DeliveryExpired`] when the answer is too late.
    pub fn fail(mut self, error: impl Into<HandlerError>) -> Result<(), DeliveryExpired> {
        self.answer(ReceiverAnswer::Answered(Err(error.into())))
    }

    /// Returns the delivery without an answer. It is the next item of the stream, and no attempt is counted.
    ///
    /// # Errors
    /// Returns [`DeliveryExpired`] when the answer is too late.
    pub fn release(mut self) -> Result<(), DeliveryExpired> {
        self.answer(ReceiverAnswer::Release)
    }

    /// Sets the deadline to this time from now.
    ///
    /// # Errors
    /// Returns [`DeliveryExpired`] when the deadline has passed.
    pub fn extend(&mut self, time: Duration) -> Result<(), DeliveryExpired> {
        let effect = self.pool.settle(self.number, self.turn, ReceiverAnswer::Extend(time));
        self.delivery.deadline = later(self.clock.now(), time);
        self.accepted(effect)
    }

    fn answer(&mut self, answer: ReceiverAnswer) -> Result<(), DeliveryExpired> {
        self.is_answered = true;
        let effect = self.pool.settle(self.number, self.turn, answer);
        self.accepted(effect)
    }

    fn accepted(&self, effect: SettleEffect) -> Result<(), DeliveryExpired> {
        match effect {
            SettleEffect::Expired => {
                Err(DeliveryExpired { event_id: self.delivery.stored.event.id().to_owned() })
            }
            SettleEffect::Settled | SettleEffect::Released | SettleEffect::Extended => Ok(()),
        }
    }
}

impl Drop for InFlightDelivery {
    fn drop(&mut self) {
        if !self.is_answered {
            // After the deadline this has no effect.
            let dropped = HandlerError::retry("the delivery was dropped without an answer");
            let _ = self.answer(ReceiverAnswer::Answered(Err(dropped)));
        }
    }
}
