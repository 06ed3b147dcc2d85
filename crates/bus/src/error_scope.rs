//! Marks the scope of an error handler. Events that an error handler publishes are marked, and no error handler is
//! called for these events.

use std::future::Future;

tokio::task_local! {
    static HANDLING_AN_ERROR: ();
}

/// Runs an error handler. An event that a [`crate::Publisher`] admits in the same task meanwhile is marked as reporting
/// an error ([`domain::DeliveryOptions::reports_error`]). A task that the handler spawns is outside this scope and must
/// call this function again.
///
/// ```
/// use event_replay_bus::error_scope;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert!(error_scope::within(async { error_scope::is_inside() }).await);
/// assert!(!error_scope::is_inside());
/// # });
/// ```
pub async fn within<F: Future>(handler: F) -> F::Output {
    HANDLING_AN_ERROR.scope((), handler).await
}

/// Returns whether an error handler runs in this task.
pub fn is_inside() -> bool {
    HANDLING_AN_ERROR.try_with(|()| ()).is_ok()
}
