//! A handler that counts the outcomes of another handler, reports dead letters and limits the number of deliveries.
//!
//! With a limit, each delivery acquires a permit. A handled delivery keeps its permit permanently, and a failed one
//! returns it. A delivery without a permit waits. When the consumer ends, the delivery is handed back as if it had
//! never arrived.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    Delivery, HandlerError, Position,
    delivery::Verdict,
    ports::{Clock, EventHandler, SystemClock},
};
use tokio::sync::{Notify, Semaphore, mpsc};

/// Lines that may wait for printing. Further lines are dropped, and only counted.
const MOST_LINES: usize = 1024;

/// A delivery that the group gave up on.
#[derive(Debug)]
pub(super) struct GivenUp {
    pub(super) event_id: String,
    pub(super) event_type: String,
    pub(super) position: Position,
    pub(super) attempts: u32,
    pub(super) error: String,
}

/// Counts the outcomes of a handler.
pub(super) struct Counted {
    inner: Arc<dyn EventHandler>,
    takes_replays: bool,
    limit: Option<(u64, Semaphore)>,
    begun: AtomicU64,
    open: AtomicU64,
    handled: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    tell: mpsc::Sender<GivenUp>,
    enough: Notify,
}

impl Counted {
    /// Wraps a handler. Returns the counting handler and the receiver of the deliveries that were given up on.
    pub(super) fn new(
        inner: Arc<dyn EventHandler>,
        limit: Option<u64>,
        takes_replays: bool,
    ) -> (Arc<Self>, mpsc::Receiver<GivenUp>) {
        let (tell, told) = mpsc::channel(MOST_LINES);
        let permits = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let counted = Self {
            inner,
            takes_replays,
            limit: limit.map(|limit| (limit, Semaphore::new(permits(limit)))),
            begun: AtomicU64::new(0),
            open: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            tell,
            enough: Notify::new(),
        };
        (Arc::new(counted), told)
    }

    /// Deliveries that began.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Deliveries that were handled.
    pub(super) fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    /// Attempts that failed.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Deliveries that the group gave up on.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Waits until the limit is reached. Without a limit, waits forever. Cancel-safe.
    pub(super) async fn enough(&self) {
        self.enough.notified().await;
    }

    /// With a limit, lets no further delivery begin, and waits for the open deliveries for at most `most`.
    pub(super) async fn settle(&self, most: Duration) {
        let Some((_, permits)) = &self.limit else { return };
        permits.close();
        let settled = async {
            while self.open.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // A delivery that is still open after that time is handed back.
        let _ = tokio::time::timeout(most, settled).await;
    }

    fn count_handled(&self) {
        let handled = self.handled.fetch_add(1, Ordering::Relaxed) + 1;
        if self.limit.as_ref().is_some_and(|(limit, _)| handled >= *limit) {
            self.enough.notify_one();
        }
    }

    fn count_failed(&self, delivery: &Delivery, given_up: bool, error: impl FnOnce() -> String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if !given_up {
            return;
        }
        self.given_up.fetch_add(1, Ordering::Relaxed);
        // If too many lines wait, only the count includes this delivery.
        let _ = self.tell.try_send(GivenUp {
            event_id: delivery.stored.event.id().to_owned(),
            event_type: delivery.stored.event.event_type().to_owned(),
            position: delivery.stored.position,
            attempts: delivery.attempt,
            error: error(),
        });
    }
}

#[async_trait]
impl EventHandler for Counted {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let permit = match &self.limit {
            None => None,
            Some((_, permits)) => match permits.acquire().await {
                Ok(permit) => Some(permit),
                // The consumer ends: this delivery is handed back.
                Err(_) => return std::future::pending().await,
            },
        };
        let open = Open::begin(self, delivery);
        let answer = self.inner.handle(delivery).await;
        open.end(&answer);
        if let (Ok(()), Some(permit)) = (&answer, permit) {
            permit.forget();
        }
        answer
    }

    async fn on_error(&self, error: &HandlerError, delivery: &Delivery) {
        self.inner.on_error(error, delivery).await;
    }

    fn upcast_failed(&self, error: &HandlerError, delivery: &Delivery) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.count_failed(delivery, true, || error.to_string());
    }

    fn takes_replays(&self) -> bool {
        self.takes_replays
    }
}

/// A delivery whose handler is running. The consumer drops it at its deadline.
struct Open<'a> {
    counted: &'a Counted,
    delivery: &'a Delivery,
    ended: bool,
}

impl<'a> Open<'a> {
    fn begin(counted: &'a Counted, delivery: &'a Delivery) -> Self {
        counted.begun.fetch_add(1, Ordering::Relaxed);
        counted.open.fetch_add(1, Ordering::Relaxed);
        Self { counted, delivery, ended: false }
    }

    fn end(mut self, answer: &Result<(), HandlerError>) {
        self.ended = true;
        match answer {
            Ok(()) => self.counted.count_handled(),
            Err(error) => {
                let gives_up = self.delivery.is_last_attempt || error.verdict == Verdict::GiveUp;
                self.counted.count_failed(self.delivery, gives_up, || error.to_string());
            }
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.counted.open.fetch_sub(1, Ordering::Relaxed);
        if !self.ended && SystemClock.now() >= self.delivery.deadline {
            self.counted.count_failed(self.delivery, self.delivery.is_last_attempt, || {
                "it did not end in time".to_owned()
            });
        }
    }
}
