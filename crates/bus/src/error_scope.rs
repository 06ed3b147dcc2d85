//! Knowing that an error handler runs: what it publishes says so, and no error handler is called for it in turn.

use std::future::Future;

tokio::task_local! {
    static HANDLING_AN_ERROR: ();
}

/// Runs an error handler. Whatever a [`crate::Publisher`] admits meanwhile, in the same task, is marked as reporting an
/// error ([`domain::DeliveryOptions::reports_error`]). A task that the handler spawns is outside: it must call this again.
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

/// Whether an error handler runs in this task.
pub fn is_inside() -> bool {
    HANDLING_AN_ERROR.try_with(|()| ()).is_ok()
}
