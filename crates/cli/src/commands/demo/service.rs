//! The service behind the demo's group: it keeps a read model of what it is handed, and is not well at first.
//!
//! A group hands events over once or more, so the read model takes each id once.

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

/// Events of this type fail always, until the service is repaired.
pub(super) const BROKEN: &str = "path.completed";
/// Events of this type fail the first time.
pub(super) const FLAKY: &str = "course.updated";
/// Events of this type take their time.
pub(super) const SLOW: &str = "system.error";
/// As much time as this.
pub(super) const SLOWNESS: Duration = Duration::from_millis(5);

/// The service.
#[derive(Default)]
pub(super) struct Service {
    projection: Mutex<Projection>,
    is_repaired: AtomicBool,
    given_up: AtomicU64,
    failures: AtomicU64,
    /// Slow events that are being handled.
    slow: AtomicU64,
    overtook: AtomicU64,
    replayed: AtomicU64,
    /// The replayed delivery, from 1, that is lost while the service says that all is well; 0 for none.
    loses: AtomicU64,
}

impl Service {
    /// What it knows.
    pub(super) fn model(&self) -> ReadModel {
        self.projection().read_model().clone()
    }

    /// Events that it has taken in.
    pub(super) fn events(&self) -> u64 {
        self.projection().events()
    }

    /// Events that its group gave up on.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Attempts that failed.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Events that were handled while a slow one was.
    pub(super) fn overtook(&self) -> u64 {
        self.overtook.load(Ordering::Relaxed)
    }

    /// Replayed events that came to it.
    pub(super) fn replayed(&self) -> u64 {
        self.replayed.load(Ordering::Relaxed)
    }

    /// From now on nothing fails.
    pub(super) fn repair(&self) {
        self.is_repaired.store(true, Ordering::Relaxed);
    }

    /// It loses all that it knows; and then, perhaps, one of the replayed events, without a word.
    pub(super) fn lose_everything(&self, and_one: Option<u64>) {
        *self.projection() = Projection::default();
        self.loses.store(and_one.unwrap_or(0), Ordering::Relaxed);
    }

    fn projection(&self) -> MutexGuard<'_, Projection> {
        // It is changed in single steps that do not panic, so what is there is whole.
        self.projection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with a service that is not well.
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
