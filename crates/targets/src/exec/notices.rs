//! Notices for an operator about a running command.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{Mutex, mpsc};

/// The highest number of waiting notices. Further notices are only counted.
const MOST_WAITING: usize = 64;
/// The number of first notices that are all reported. After them, every thousandth is reported.
const TOLD: u64 = 10;

/// Notices about faults of a command, as sentences. Clones share the notices.
#[derive(Debug, Clone)]
pub struct ExecNotices(Arc<Mutex<mpsc::Receiver<String>>>);

impl ExecNotices {
    /// Returns the next notice: the first ten, then every thousandth. Waits forever if no notice can follow.
    /// Cancel-safe.
    pub async fn next(&self) -> String {
        match self.0.lock().await.recv().await {
            Some(notice) => notice,
            None => std::future::pending().await,
        }
    }
}

/// The sender of notices.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    count: Arc<AtomicU64>,
    tell: mpsc::Sender<String>,
}

impl Teller {
    pub(super) fn new() -> (Self, ExecNotices) {
        let (tell, told) = mpsc::channel(MOST_WAITING);
        let count = Arc::default();
        (Self { count, tell }, ExecNotices(Arc::new(Mutex::new(told))))
    }

    pub(super) fn tell(&self, notice: impl FnOnce() -> String) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if count <= TOLD || count.is_multiple_of(1000) {
            let notice = notice();
            tracing::warn!(count, "{notice}");
            // If too many notices wait, the notice is only in the log.
            let _ = self.tell.try_send(notice);
        }
    }
}
