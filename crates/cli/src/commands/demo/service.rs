//! The service behind the demo's group. It keeps a read model of the delivered events, and fails at first.
//!
//! A group delivers each event at least once, so the read model applies each id once.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::{Delivery, HandlerError, delivery::DeliveryOrigin, ports::EventHandler};
use generator::{Projection, ReadModel};

/// The event type whose attempts always fail until the service is repaired.
pub(super) const BROKEN: &str = "path.completed";
/// The event type whose first attempt fails.
pub(super) const FLAKY: &str = "course.updated";
/// The event type that the service handles slowly.
pub(super) const SLOW: &str = "system.error";
/// The time that a slow event takes.
pub(super) const SLOWNESS: Duration = Duration::from_millis(5);

/// The service.
#[derive(Default)]
pub(super) struct Service {
    projection: Mutex<Projection>,
    is_repaired: AtomicBool,
    given_up: AtomicU64,
    failures: AtomicU64,
    /// Slow events in flight.
    slow: AtomicU64,
    overtook: AtomicU64,
    replayed: AtomicU64,
    /// The replayed delivery, counted from 1, that is dropped while the service reports success. The value 0 means
    /// none.
    loses: AtomicU64,
}

impl Service {
    /// The read model.
    pub(super) fn model(&self) -> ReadModel {
        self.projection().read_model().clone()
    }

    /// Events that were applied.
    pub(super) fn events(&self) -> u64 {
        self.projection().events()
    }

    /// Events that the group gave up on.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Attempts that failed.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Events that were handled while a slow event was in flight.
    pub(super) fn overtook(&self) -> u64 {
        self.overtook.load(Ordering::Relaxed)
    }

    /// Replayed events that the service received.
    pub(super) fn replayed(&self) -> u64 {
        self.replayed.load(Ordering::Relaxed)
    }

    /// Ends all failures from now on.
    pub(super) fn repair(&self) {
        self.is_repaired.store(true, Ordering::Relaxed);
    }

    /// Clears the read model. If `and_one` names a replayed delivery, the service later drops that delivery silently.
    pub(super) fn lose_everything(&self, and_one: Option<u64>) {
        *self.projection() = Projection::default();
        self.loses.store(and_one.unwrap_or(0), Ordering::Relaxed);
    }

    fn projection(&self) -> MutexGuard<'_, Projection> {
        // Every change is a single step that does not panic, so the value is consistent even after a panic.
        self.projection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the failure of this attempt, if the service is not repaired.
    fn failure(&self, delivery: &Delivery) -> Option<HandlerError> {
        if self.is_repaired.load(Ordering::Relaxed) {
            return None;
        }
        let error = match delivery.stored.event.event_type() {
            BROKEN => HandlerError::retry("certificates cannot be printed: out of paper"),
            FLAKY if delivery.attempt == 1 => HandlerError::retry("the search index is busy"),
            _ => return None,
        };
        self.failures.fetch_add(1, Ordering::Relaxed);
        if delivery.is_last_attempt {
            self.given_up.fetch_add(1, Ordering::Relaxed);
        }
        Some(error)
    }
}

#[async_trait]
impl EventHandler for Service {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        if let Some(error) = self.failure(delivery) {
            return Err(error);
        }
        if let DeliveryOrigin::Replay { .. } = delivery.origin {
            let number = self.replayed.fetch_add(1, Ordering::Relaxed) + 1;
            if number == self.loses.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        let is_slow = delivery.stored.event.event_type() == SLOW && !delivery.is_replay();
        if is_slow {
            self.slow.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(SLOWNESS).await;
            self.slow.fetch_sub(1, Ordering::Relaxed);
        } else if self.slow.load(Ordering::Relaxed) > 0 {
            self.overtook.fetch_add(1, Ordering::Relaxed);
        }
        let value = delivery.stored.event.value()?;
        self.projection().apply(&value);
        Ok(())
    }
}
