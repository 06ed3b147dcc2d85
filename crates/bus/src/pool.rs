//! The pool of a group: deliveries that wait for a receiver, and deliveries that receivers hold.
//!
//! # Design
//! A receiver is code outside of a handler that answers deliveries: a client of the HTTP API, or the loop over a stream.
//! The handler of the group puts each delivery into the pool, and waits for the answer of the receiver. The bus is
//! therefore responsible for the order of keys, leases, retries, parking and dead letters.

mod handler;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use domain::{Delivery, HandlerError, ports::EventHandler};
use tokio::sync::{Notify, mpsc};

use self::handler::PoolHandler;
use crate::trace::{self, TraceParent};

/// The time limit of the handler, and the longest time limit of a receiver.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The deliveries of a group that wait for a receiver or for the answer of a receiver.
#[derive(Debug)]
pub struct DeliveryPool {
    state: Mutex<State>,
    /// Notified each time that a delivery becomes ready.
    ready: Notify,
}

#[derive(Debug)]
struct State {
    next: u64,
    ready: VecDeque<u64>,
    open: HashMap<u64, Open>,
    used: Instant,
    handed_out: usize,
}

#[derive(Debug)]
struct Open {
    delivery: Delivery,
    trace: Option<TraceParent>,
    turn: u32,
    is_handed_out: bool,
    tell: mpsc::UnboundedSender<Told>,
}

/// A message to a handler.
#[derive(Debug)]
enum Told {
    /// A receiver holds the delivery until this time.
    HandedOut(tokio::time::Instant),
    /// No receiver holds the delivery.
    Released,
    /// A receiver has answered.
    Answered(Result<(), HandlerError>),
}

/// A delivery that is handed to a receiver.
#[derive(Debug)]
pub struct Handout {
    /// The number of the delivery in the pool.
    pub number: u64,
    /// The number of times that the delivery was handed out, from 1.
    pub turn: u32,
    /// The delivery. Its deadline is the deadline of the handler, not of the receiver.
    pub delivery: Delivery,
    /// The place of the delivery in its trace.
    pub trace: Option<TraceParent>,
}

/// The answer of a receiver for a delivery.
#[derive(Debug)]
pub enum ReceiverAnswer {
    /// The delivery was handled, or the handling failed.
    Answered(Result<(), HandlerError>),
    /// The receiver returns the delivery for another receiver. This does not count as an attempt.
    Release,
    /// The receiver needs this much more time, from now.
    Extend(Duration),
}

/// The effect of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleEffect {
    /// The answer was accepted.
    Settled,
    /// The delivery is ready for another receiver.
    Released,
    /// The delivery has a later deadline.
    Extended,
    /// The answer changed nothing: the delivery was settled, its deadline passed, or its consumer has ended.
    Expired,
}

impl Default for DeliveryPool {
    fn default() -> Self {
        let state = State {
            next: 0,
            ready: VecDeque::new(),
            open: HashMap::new(),
            used: Instant::now(),
            handed_out: 0,
        };
        Self { state: Mutex::new(state), ready: Notify::new() }
    }
}

impl DeliveryPool {
    /// Returns the handler that puts deliveries into this pool. It waits for the answer of a receiver, without a time
    /// limit until a receiver takes the delivery.
    pub fn handler(self: &Arc<Self>) -> Arc<dyn EventHandler> {
        Arc::new(PoolHandler { pool: Arc::clone(self) })
    }

    /// Adds a delivery. Returns its number, and the channel on which its handler receives messages.
    fn add(&self, delivery: Delivery) -> (u64, mpsc::UnboundedReceiver<Told>) {
        let (tell, told) = mpsc::unbounded_channel();
        let mut state = self.lock();
        state.next += 1;
        let number = state.next;
        let trace = trace::current();
        state.open.insert(number, Open { delivery, trace, turn: 0, is_handed_out: false, tell });
        state.ready.push_back(number);
        drop(state);
        self.ready.notify_one();
        (number, told)
    }

    /// Removes a delivery when its handler stops waiting. Returns whether the pool contained the delivery. If the pool
    /// did not contain it, the answer is already in the channel.
    fn remove(&self, number: u64) -> bool {
        let mut state = self.lock();
        let Some(open) = state.open.remove(&number) else { return false };
        match open.is_handed_out {
            true => state.handed_out -= 1,
            false => state.ready.retain(|ready| *ready != number),
        }
        true
    }

    /// Hands out at most `most` ready deliveries. Each delivery has the deadline of now plus `time`, at most a day.
    pub fn take(&self, most: usize, time: Duration) -> Vec<Handout> {
        let until = tokio::time::Instant::now() + time.min(LONGEST);
        let mut state = self.lock();
        let mut taken = vec![];
        while taken.len() < most {
            let Some(number) = state.ready.pop_front() else { break };
            let Some(open) = state.open.get_mut(&number) else { continue };
            open.turn += 1;
            open.is_handed_out = true;
            // The send fails if the handler has ended. That handler removes the delivery.
            let _ = open.tell.send(Told::HandedOut(until));
            let (delivery, trace) = (open.delivery.clone(), open.trace);
            taken.push(Handout { number, turn: open.turn, delivery, trace });
        }
        state.handed_out += taken.len();
        state.used = Instant::now();
        // Other receivers may wait for the remaining deliveries.
        if !state.ready.is_empty() {
            self.ready.notify_one();
        }
        taken
    }

    /// Waits until a delivery may be ready. Cancel-safe.
    pub async fn changed(&self) {
        self.ready.notified().await;
    }

    /// Applies the answer of a receiver.
    pub fn settle(&self, number: u64, turn: u32, answer: ReceiverAnswer) -> SettleEffect {
        let mut state = self.lock();
        state.used = Instant::now();
        let is_current = |open: &&mut Open| open.turn == turn && open.is_handed_out;
        let Some(open) = state.open.get_mut(&number).filter(is_current) else { return SettleEffect::Expired };
        match answer {
            ReceiverAnswer::Extend(time) => {
                let until = tokio::time::Instant::now() + time.min(LONGEST);
                match open.tell.send(Told::HandedOut(until)) {
                    Ok(()) => SettleEffect::Extended,
                    Err(_) => SettleEffect::Expired,
                }
            }
            ReceiverAnswer::Release => {
                open.is_handed_out = false;
                let is_told = open.tell.send(Told::Released).is_ok();
                state.handed_out -= 1;
                state.ready.push_front(number);
                drop(state);
                self.ready.notify_one();
                if is_told { SettleEffect::Released } else { SettleEffect::Expired }
            }
            ReceiverAnswer::Answered(result) => {
                let is_told = open.tell.send(Told::Answered(result)).is_ok();
                state.open.remove(&number);
                state.handed_out -= 1;
                if is_told { SettleEffect::Settled } else { SettleEffect::Expired }
            }
        }
    }

    /// Records that a receiver uses the pool.
    pub fn touch(&self) {
        self.lock().used = Instant::now();
    }

    /// Returns whether no receiver has used the pool for `time`.
    pub fn is_idle_for(&self, time: Duration) -> bool {
        self.lock().used.elapsed() >= time
    }

    /// Returns the number of deliveries that receivers hold.
    pub fn handed_out(&self) -> usize {
        self.lock().handed_out
    }

    /// Locks the state. A poisoned lock is usable, because no panic can leave the state incomplete.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::delivery;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_delivery_is_handed_to_one_receiver_and_settled_once() {
        let pool = DeliveryPool::default();
        let (number, mut told) = pool.add(delivery(1));
        let taken = pool.take(10, MINUTE);
        assert_eq!((taken.len(), taken[0].number, taken[0].turn), (1, number, 1));
        assert!(pool.take(10, MINUTE).is_empty());
        assert_eq!(pool.handed_out(), 1);
        assert_eq!(pool.settle(number, 2, ReceiverAnswer::Answered(Ok(()))), SettleEffect::Expired);
        assert_eq!(pool.settle(number, 1, ReceiverAnswer::Answered(Ok(()))), SettleEffect::Settled);
        assert_eq!(pool.settle(number, 1, ReceiverAnswer::Answered(Ok(()))), SettleEffect::Expired);
        assert!(matches!(told.try_recv(), Ok(Told::HandedOut(_))));
        assert!(matches!(told.try_recv(), Ok(Told::Answered(Ok(())))));
        assert_eq!((pool.handed_out(), pool.remove(number)), (0, false));
    }

    #[test]
    fn a_released_delivery_goes_to_the_next_receiver_first() {
        let pool = DeliveryPool::default();
        let (first, _told) = pool.add(delivery(1));
        let (second, _told) = pool.add(delivery(1));
        assert_eq!(pool.take(1, MINUTE)[0].number, first);
        assert_eq!(pool.settle(first, 1, ReceiverAnswer::Release), SettleEffect::Released);
        let taken: Vec<_> = pool.take(2, MINUTE).iter().map(|handed| (handed.number, handed.turn)).collect();
        assert_eq!(taken, [(first, 2), (second, 1)]);
        assert_eq!(pool.settle(first, 1, ReceiverAnswer::Answered(Ok(()))), SettleEffect::Expired);
    }

    #[test]
    fn a_delivery_whose_handler_has_ended_is_not_handed_out() {
        let pool = DeliveryPool::default();
        let (number, told) = pool.add(delivery(1));
        drop(told);
        assert!(pool.remove(number));
        assert!(pool.take(1, MINUTE).is_empty());
        let (number, told) = pool.add(delivery(1));
        pool.take(1, MINUTE);
        drop(told);
        assert!(pool.remove(number));
        assert_eq!(
            (pool.handed_out(), pool.settle(number, 1, ReceiverAnswer::Release)),
            (0, SettleEffect::Expired)
        );
    }
}
