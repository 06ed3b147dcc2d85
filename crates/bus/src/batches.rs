//! Batches: one call of a handler for several deliveries.
//!
//! # Design
//! The consumer hands over one delivery at a time for each key, and several keys at the same time. The batcher is
//! an ordinary handler for it. Deliveries that wait in the batcher form a batch, and one call handles the batch. Each
//! delivery gets its own answer. So leases, retries, order, isolation and dead letters are the same as without batches.
//!
//! A failure of a whole call says nothing about a single delivery. Therefore a delivery is called alone if it was tried
//! before, or if its attempt is the last one. A delivery never becomes a dead letter because of its neighbours.

mod batch;
mod call;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use domain::{Delivery, HandlerError, ports::EventHandler};

pub use self::batch::DeliveryBatch;
use self::{batch::Member, call::Call};
use crate::consumer::MAX_CONCURRENCY;

/// Handles several deliveries in one call.
///
/// The deliveries of a batch have different keys. A live delivery and a replayed delivery may have the same key.
#[async_trait]
pub trait BatchHandler: Send + Sync {
    /// Handles a batch. With `Ok`, every delivery is handled that was not marked with [`DeliveryBatch::fail`].
    ///
    /// # Errors
    /// Returns [`HandlerError`] when the call failed as a whole. Each delivery that was not marked is then tried again,
    /// alone. The verdict that a retry cannot help applies only to a delivery that is alone in its batch.
    async fn handle(&self, batch: Arc<DeliveryBatch>) -> Result<(), HandlerError>;

    /// Returns whether the handler takes replayed events. See [`EventHandler::takes_replays`].
    fn takes_replays(&self) -> bool {
        true
    }
}

/// The limits of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// The highest number of deliveries, 1 to [`MAX_CONCURRENCY`].
    pub max: usize,
    /// The time that the first delivery waits for further deliveries. It is part of the time limit of a delivery.
    pub wait: Duration,
}

impl BatchLimits {
    /// Returns an error text if the limits contradict themselves or the settings of the consumer.
    pub(crate) fn check(self, concurrency: usize, timeout: Duration) -> Result<(), String> {
        let Self { max, wait } = self;
        if !(1..=MAX_CONCURRENCY).contains(&max) {
            return Err(format!("a batch has 1 to {MAX_CONCURRENCY} deliveries, not {max}"));
        }
        if concurrency < max {
            return Err(format!(
                "a batch of {max} deliveries needs a concurrency of {max}, but it is {concurrency}: raise the \
                 concurrency or make the batch smaller"
            ));
        }
        if wait >= call::limit_of(timeout) {
            return Err(format!(
                "a batch waits {wait:?}, but its deliveries have only {timeout:?}: shorten the wait or raise the \
                 time limit"
            ));
        }
        Ok(())
    }
}

/// Returns a handler that collects deliveries, and passes them to a batch handler. The subscription needs the limits too:
/// see [`Subscription::batch_limits`](crate::Subscription::batch_limits).
pub fn batched(limits: BatchLimits, handler: Arc<dyn BatchHandler>) -> Arc<dyn EventHandler> {
    Arc::new(Batcher { handler, limits, filling: Arc::default() })
}

/// The batch that accepts deliveries, if there is one.
#[derive(Default)]
struct Filling(Mutex<Option<Arc<Call>>>);

impl Filling {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Call>>> {
        // Each change of the value is a single assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Batcher {
    handler: Arc<dyn BatchHandler>,
    limits: BatchLimits,
    filling: Arc<Filling>,
}

impl Batcher {
    /// Adds a delivery to the batch that accepts deliveries. Begins a batch if there is none.
    fn join(&self, delivery: &Delivery) -> call::Waiting {
        let mut filling = self.filling.lock();
        let call = filling.take().unwrap_or_else(|| self.begin());
        let (waiting, members) = call.join(delivery);
        match members < self.limits.max {
            true => *filling = Some(call),
            false => call.close(),
        }
        waiting
    }

    /// Begins a batch. Its task waits for deliveries, and then calls the handler.
    fn begin(&self) -> Arc<Call> {
        let call = Arc::new(Call::new(Arc::clone(&self.handler)));
        let (own, filling, wait) = (Arc::clone(&call), Arc::clone(&self.filling), self.limits.wait);
        tokio::spawn(async move {
            if tokio::time::timeout(wait, own.closed()).await.is_err() {
                // Without this batch in its place, no further delivery can join it.
                let mut filling = filling.lock();
                if filling.as_ref().is_some_and(|call| Arc::ptr_eq(call, &own)) {
                    *filling = None;
                }
            }
            own.run().await;
        });
        call
    }

    async fn alone(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let batch = Arc::new(DeliveryBatch::new(vec![Member::new(delivery)]));
        let outcome = self.handler.handle(Arc::clone(&batch)).await;
        batch.answer(0, &outcome)
    }
}

#[async_trait]
impl EventHandler for Batcher {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        if self.limits.max == 1 || delivery.attempt > 1 || delivery.is_last_attempt {
            return self.alone(delivery).await;
        }
        self.join(delivery).answer().await
    }

    fn takes_replays(&self) -> bool {
        self.handler.takes_replays()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::Notify;

    use super::*;
    use crate::fixtures::delivery;

    /// Waits in its first call. Notes the events of each call.
    #[derive(Default)]
    struct Slow {
        calls: Mutex<Vec<Vec<String>>>,
        begun: Notify,
        /// Whether the future of the first call exists.
        is_first_running: Arc<AtomicBool>,
    }

    struct Flag(Arc<AtomicBool>);

    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }

    #[async_trait]
    impl BatchHandler for Slow {
        async fn handle(&self, batch: Arc<DeliveryBatch>) -> Result<(), HandlerError> {
            let ids = batch.deliveries().map(|delivery| delivery.stored.event.id().to_owned()).collect();
            let calls = {
                let mut calls = self.calls.lock().unwrap();
                calls.push(ids);
                calls.len()
            };
            if calls == 1 {
                self.is_first_running.store(true, Ordering::SeqCst);
                let _flag = Flag(Arc::clone(&self.is_first_running));
                self.begun.notify_one();
                std::future::pending::<()>().await;
            }
            batch.fail(0, HandlerError::give_up("the first is bad"));
            Ok(())
        }
    }

    const LIMITS: BatchLimits = BatchLimits { max: 3, wait: Duration::from_secs(1) };

    #[tokio::test(start_paused = true)]
    async fn a_delivery_that_is_taken_back_ends_the_call_and_the_others_are_called_again() {
        let slow = Arc::new(Slow::default());
        let handler = batched(LIMITS, slow.clone());
        let mut tasks: Vec<_> = (1..=3)
            .map(|seq| {
                let handler = Arc::clone(&handler);
                tokio::spawn(async move { handler.handle(&delivery(seq)).await })
            })
            .collect();
        slow.begun.notified().await;
        assert!(slow.is_first_running.load(Ordering::SeqCst));
        let taken_back = tasks.remove(0);
        taken_back.abort();
        assert!(taken_back.await.unwrap_err().is_cancelled());
        assert!(!slow.is_first_running.load(Ordering::SeqCst), "the call has ended with the delivery");
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        assert_eq!(answers, [Err(HandlerError::give_up("the first is bad")), Ok(())]);
        assert_eq!(*slow.calls.lock().unwrap(), [vec!["e1", "e2", "e3"], vec!["e2", "e3"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_without_deliveries_calls_no_handler() {
        let slow = Arc::new(Slow::default());
        let handler = batched(LIMITS, slow.clone());
        let call = handler.clone();
        let task = tokio::spawn(async move { call.handle(&delivery(1)).await });
        tokio::time::sleep(Duration::from_millis(500)).await;
        task.abort();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(slow.calls.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_before_the_time_limit_of_its_first_delivery() {
        let slow = Arc::new(Slow::default());
        let handler = batched(LIMITS, slow.clone());
        let begun = tokio::time::Instant::now();
        let (first, second) = (delivery(1), delivery(2));
        let later = async {
            tokio::time::sleep(Duration::from_millis(900)).await;
            handler.handle(&second).await
        };
        let (first, second) = tokio::join!(handler.handle(&first), later);
        let error = first.unwrap_err();
        assert_eq!(error.message(), "the batch did not end within 30s");
        assert!(!error.is_permanent());
        assert_eq!(second.unwrap_err(), error, "both fail together");
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        assert!(!slow.is_first_running.load(Ordering::SeqCst));
    }

    #[test]
    fn limits_that_contradict_the_settings_are_refused() {
        let check = |max, wait, concurrency, timeout| {
            let (wait, timeout) = (Duration::from_millis(wait), Duration::from_millis(timeout));
            BatchLimits { max, wait }.check(concurrency, timeout)
        };
        assert_eq!(check(10, 100, 10, 1000), Ok(()));
        for (max, wait, concurrency, timeout) in
            [(0, 100, 10, 1000), (65, 100, 65, 1000), (11, 100, 10, 1000), (10, 1000, 10, 1000)]
        {
            check(max, wait, concurrency, timeout).unwrap_err();
        }
    }
}
