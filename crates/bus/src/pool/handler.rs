//! The handler that passes each delivery to a receiver.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Delivery, HandlerError, ports::EventHandler};
use tokio::{sync::mpsc, time::Instant};

use super::{DeliveryPool, Told};

/// Puts a delivery into the pool, and waits until a receiver has settled it.
pub(super) struct PoolHandler {
    pub(super) pool: Arc<DeliveryPool>,
}

/// A delivery in the pool. Dropping the value removes the delivery from the pool.
struct Waiting<'a> {
    pool: &'a DeliveryPool,
    number: u64,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.remove(self.number);
    }
}

impl Waiting<'_> {
    /// Waits for the answer of the receiver. Returns an error that requests a retry when the deadline passes first.
    async fn answer(&mut self) -> Result<(), HandlerError> {
        let mut until: Option<Instant> = None;
        loop {
            let told = tokio::select! {
                biased;
                told = self.told.recv() => told,
                () = expiry(until) => {
                    // An answer that the channel already contains still counts.
                    if self.pool.remove(self.number) {
                        return Err(HandlerError::retry("the client did not settle the delivery before its deadline"));
                    }
                    until = None;
                    continue;
                }
            };
            match told {
                Some(Told::HandedOut(deadline)) => until = Some(deadline),
                Some(Told::Released) => until = None,
                Some(Told::Answered(answer)) => return answer,
                // The pool keeps the sender as long as the pool contains the delivery.
                None => {
                    return Err(HandlerError::retry(
                        "the delivery was removed from the pool without an answer",
                    ));
                }
            }
        }
    }
}

async fn expiry(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[async_trait]
impl EventHandler for PoolHandler {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let (number, told) = self.pool.add(delivery.clone());
        Waiting { pool: &self.pool, number, told }.answer().await
    }
}
