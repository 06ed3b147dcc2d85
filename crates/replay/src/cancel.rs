//! Cancellation of a run after its current batch.

use std::sync::Arc;

use tokio::sync::watch;

/// A switch that is set once and stays set. Clones share the same switch.
/// ```
/// let cancel = event_replay_replay::Cancel::default();
/// let from_elsewhere = cancel.clone();
/// from_elsewhere.cancel();
/// assert!(cancel.is_cancelled());
/// ```
#[derive(Debug, Clone)]
pub struct Cancel(Arc<watch::Sender<bool>>);

impl Default for Cancel {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Cancel {
    /// Requests the cancellation. A repeated call changes nothing.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Returns whether the cancellation was requested.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the cancellation is requested. Cancel-safe.
    pub async fn cancelled(&self) {
        // The sender lives as long as this switch, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}
