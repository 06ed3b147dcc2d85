//! What a service does with its events.

use async_trait::async_trait;

use crate::delivery::{Delivery, HandlerError};

/// Handles a group's deliveries.
///
/// Laws for the caller:
/// - Two deliveries of one key MUST NOT be handed over at once, and live ones MUST come in log order.
/// - A delivery that was answered `Ok`, and committed, MUST NOT be redelivered.
/// - A delivery that was not committed MUST be redelivered: handlers see an event once or more, so their effects should be
///   the same however often it comes.
/// - A handler whose time is up is dropped at its next `await`, and has failed. It must not block its thread.
/// - A handler that panics has failed.
#[async_trait]
pub trait EventHandler: Send + Sync {
    /// Handles one delivery.
    ///
    /// # Errors
    /// Whatever kept it from being handled. It is tried again, unless the error says otherwise.
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError>;

    /// Receives each failed attempt, before the next one. Its own failures go nowhere. It is not called for events
    /// that an error handler published, nor for `system.error`: error handlers never feed themselves.
    async fn on_error(&self, error: &HandlerError, delivery: &Delivery) {
        let _ = (error, delivery);
    }

    /// Whether it takes replays. A mailer does not. Redriven dead letters it always gets.
    fn takes_replays(&self) -> bool {
        true
    }
}
