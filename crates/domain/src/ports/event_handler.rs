//! The port of handlers: the code of a service that handles events.

use async_trait::async_trait;

use crate::delivery::{Delivery, HandlerError};

/// Handles a group's deliveries.
///
/// Laws for the caller:
/// - Two deliveries of one key MUST NOT be in a handler at the same time, and live deliveries MUST arrive in log
///   order.
/// - A delivery that was answered `Ok`, and committed, MUST NOT be redelivered.
/// - A delivery that was not committed MUST be redelivered. A handler sees an event at least once, so it should be
///   idempotent.
/// - A handler that exceeds its time is dropped at its next `await`, and has failed. It must not block its thread.
/// - A handler that panics has failed.
#[async_trait]
pub trait EventHandler: Send + Sync {
    /// Handles one delivery.
    ///
    /// # Errors
    /// Returns [`HandlerError`] when the delivery was not handled. The delivery is tried again, unless the error
    /// states otherwise.
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError>;

    /// Handles a failed attempt, before the next attempt. Failures of this function are ignored. It is not called for
    /// `system.error` and for events that an error handler published, so that an error handler cannot trigger itself.
    async fn on_error(&self, error: &HandlerError, delivery: &Delivery) {
        let _ = (error, delivery);
    }

    /// Receives a delivery that never comes to [`EventHandler::handle`], because its event could not be upcast. The group
    /// gives up on it at once.
    fn upcast_failed(&self, error: &HandlerError, delivery: &Delivery) {
        let _ = (error, delivery);
    }

    /// Returns whether the handler takes replayed events. A handler that sends mail does not. Every handler gets
    /// redriven dead letters.
    fn takes_replays(&self) -> bool {
        true
    }
}
