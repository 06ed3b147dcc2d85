//! One call of a batch handler: collects its deliveries, runs, and answers each delivery.
//!
//! # Design
//! A task runs the call. The handler of each delivery waits for its answer. If a delivery is taken back, its handler is
//! dropped. The running future is then dropped before the drop returns, so the next delivery of the key never meets an
//! old call. The call runs again with the other deliveries. This counts no attempt.
//!
//! All deliveries of a call share one time limit, which ends shortly before the time limit of the first delivery. So the
//! call fails as a whole, and no delivery fails before its neighbours.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{self, Poll, Waker},
    time::Duration,
};

use domain::{Delivery, HandlerError, time::until};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    BatchHandler,
    batch::{DeliveryBatch, Member},
};
use crate::consumer::panics;

/// The longest time between the end of a call and the end of the time limit of its first delivery.
const MARGIN: Duration = Duration::from_millis(100);

/// The pause before a call runs again without a delivery that was taken back. Often several deliveries are taken back
/// together, such as at the end of a consumer.
const REGROUP: Duration = Duration::from_millis(20);

type Outcome = Result<(), HandlerError>;
type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Returns the time limit of a call whose deliveries have this time limit.
pub(super) fn limit_of(timeout: Duration) -> Duration {
    timeout - MARGIN.min(timeout / 20)
}

/// A call of a batch handler, from its first delivery to its answers.
pub(super) struct Call {
    handler: Arc<dyn BatchHandler>,
    state: Mutex<State>,
    closed: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    /// The deliveries without an answer.
    members: BTreeMap<u64, Entry>,
    /// The future of the handler. Empty while no future runs, and after a delivery was taken back.
    running: Option<Running>,
    /// Wakes the task of the call.
    waker: Option<Waker>,
}

struct Entry {
    member: Member,
    timeout: Duration,
    ends: Instant,
    answer: oneshot::Sender<Outcome>,
}

/// The place of a delivery in a call. Dropping the value takes the delivery back.
pub(super) struct Waiting {
    call: Arc<Call>,
    number: u64,
    answer: oneshot::Receiver<Outcome>,
}

impl Waiting {
    /// Waits for the answer of the delivery.
    pub(super) async fn answer(mut self) -> Outcome {
        let answer = (&mut self.answer).await;
        answer.unwrap_or_else(|_| Err(HandlerError::retry("the task of the batch ended without an answer")))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.call.leave(self.number);
    }
}

impl Call {
    pub(super) fn new(handler: Arc<dyn BatchHandler>) -> Self {
        Self { handler, state: Mutex::default(), closed: Notify::new() }
    }

    /// Adds a delivery. Returns its place, and the number of deliveries.
    pub(super) fn join(self: &Arc<Self>, delivery: &Delivery) -> (Waiting, usize) {
        let (tell, answer) = oneshot::channel();
        let timeout = until(delivery.delivered_at, delivery.deadline);
        let ends = Instant::now() + limit_of(timeout);
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.members.insert(number, Entry { member: Member::new(delivery), timeout, ends, answer: tell });
        (Waiting { call: Arc::clone(self), number, answer }, state.members.len())
    }

    /// Ends the wait for further deliveries.
    pub(super) fn close(&self) {
        self.closed.notify_one();
    }

    /// Waits until the call is closed. Cancel-safe.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Runs the handler, and answers the deliveries. The caller ensures that no delivery joins any more.
    pub(super) async fn run(&self) {
        let Some((ends, timeout)) = self.limit() else { return };
        while let Some((batch, numbers)) = self.start() {
            let outcome = tokio::time::timeout_at(ends, poll_fn(|cx| self.poll(cx))).await;
            let outcome = match outcome {
                Ok(Some(outcome)) => outcome,
                Ok(None) if Instant::now() + REGROUP < ends => {
                    tokio::time::sleep(REGROUP).await;
                    continue;
                }
                Ok(None) | Err(_) => {
                    Err(HandlerError::retry(format!("the batch did not end within {timeout:?}")))
                }
            };
            return self.finish(&batch, &numbers, &outcome);
        }
    }

    /// Returns the end of the time limit, and its length.
    fn limit(&self) -> Option<(Instant, Duration)> {
        let state = self.lock();
        let first = state.members.values().min_by_key(|entry| entry.ends)?;
        Some((first.ends, first.timeout))
    }

    /// Starts the handler with the deliveries that wait. Returns nothing if none is left.
    fn start(&self) -> Option<(Arc<DeliveryBatch>, Vec<u64>)> {
        let mut state = self.lock();
        if state.members.is_empty() {
            return None;
        }
        let members = state.members.values().map(|entry| entry.member.clone()).collect();
        let numbers = state.members.keys().copied().collect();
        let batch = Arc::new(DeliveryBatch::new(members));
        let (handler, handed) = (Arc::clone(&self.handler), Arc::clone(&batch));
        state.running = Some(Box::pin(async move { handler.handle(handed).await }));
        Some((batch, numbers))
    }

    /// Polls the handler. Returns nothing after a delivery was taken back.
    fn poll(&self, cx: &mut task::Context<'_>) -> Poll<Option<Outcome>> {
        let mut state = self.lock();
        state.waker = Some(cx.waker().clone());
        let Some(running) = &mut state.running else { return Poll::Ready(None) };
        // The lock is held meanwhile: a delivery is taken back only between two polls.
        let polled = panics::catch(|| running.as_mut().poll(cx));
        polled.unwrap_or_else(|panicked| Poll::Ready(Err(panicked))).map(Some)
    }

    /// Ends the future of the handler, and answers each delivery that still waits.
    fn finish(&self, batch: &DeliveryBatch, numbers: &[u64], outcome: &Outcome) {
        let mut state = self.lock();
        state.running = None;
        for (index, number) in numbers.iter().enumerate() {
            if let Some(entry) = state.members.remove(number) {
                // The send fails if the delivery is taken back at this moment.
                let _ = entry.answer.send(batch.answer(index, outcome));
            }
        }
    }

    /// Takes a delivery back. Ends the future of the handler if it handles the delivery.
    fn leave(&self, number: u64) {
        let mut state = self.lock();
        if state.members.remove(&number).is_none() {
            return;
        }
        state.running = None;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Locks the state. Panics of the handler are caught, so they do not poison the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
