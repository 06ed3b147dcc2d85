//! What an operator should hear of a command while it runs.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{Mutex, mpsc};

/// Notices that may wait to be taken; further ones are only counted.
const MOST_WAITING: usize = 64;
/// Notices that are told one by one; beyond these, every thousandth.
const TOLD: u64 = 10;

/// What a command does that it should not, in sentences. Clones share them.
#[derive(Debug, Clone)]
pub struct ExecNotices(Arc<Mutex<mpsc::Receiver<String>>>);

impl ExecNotices {
    /// The next one: the first ten, then every thousandth. Waits forever where none can come. Cancel-safe.
    pub async fn next(&self) -> String {
        match self.0.lock().await.recv().await {
            Some(notice) => notice,
            None => std::future::pending().await,
        }
    }
}

/// Where notices come from.
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
            // Where too many wait, they are in the log alone.
            let _ = self.tell.try_send(notice);
        }
    }
}
