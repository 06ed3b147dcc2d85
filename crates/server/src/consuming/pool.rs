//! The pool of a group: deliveries that wait for a client, and deliveries that clients hold.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use domain::HandlerError;
use tokio::sync::{Notify, mpsc};

/// The deliveries of a group that wait for a client or for the answer of a client.
pub(crate) struct Pool {
    state: Mutex<State>,
    /// Notified each time that a delivery becomes ready.
    ready: Notify,
}

struct State {
    next: u64,
    ready: VecDeque<u64>,
    open: HashMap<u64, Open>,
    used: Instant,
    handed_out: usize,
}

struct Open {
    line: Vec<u8>,
    turn: u32,
    is_handed_out: bool,
    tell: mpsc::UnboundedSender<Told>,
}

/// A message to a handler.
#[derive(Debug)]
pub(super) enum Told {
    /// A client holds the delivery until this time.
    HandedOut(tokio::time::Instant),
    /// No client holds the delivery.
    Released,
    /// A client has answered.
    Answered(Result<(), HandlerError>),
}

/// A delivery that is handed to a client.
#[derive(Debug)]
pub(crate) struct Handed {
    /// The number of the delivery in the pool.
    pub(crate) number: u64,
    /// The number of times that the delivery was handed out, from 1.
    pub(crate) turn: u32,
    /// The delivery as JSON, in one line.
    pub(crate) line: Vec<u8>,
}

/// The answer of a client for a delivery.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The delivery was handled, or the handling failed.
    Answered(Result<(), HandlerError>),
    /// The client returns the delivery for another client. This does not count as an attempt.
    Release,
    /// The client needs this much more time, from now.
    Extend(Duration),
}

/// The effect of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SettleEffect {
    /// The answer was accepted.
    Settled,
    /// The delivery is ready for another client.
    Released,
    /// The delivery has a later deadline.
    Extended,
    /// The receipt is expired: the delivery was settled, its deadline passed, or its consumer has ended.
    Expired,
}

impl Default for Pool {
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

impl Pool {
    /// Adds a delivery. Returns its number, and the channel on which its handler receives messages.
    pub(super) fn add(&self, line: Vec<u8>) -> (u64, mpsc::UnboundedReceiver<Told>) {
        let (tell, told) = mpsc::unbounded_channel();
        let mut state = self.lock();
        state.next += 1;
        let number = state.next;
        state.open.insert(number, Open { line, turn: 0, is_handed_out: false, tell });
        state.ready.push_back(number);
        drop(state);
        self.ready.notify_one();
        (number, told)
    }

    /// Removes a delivery when its handler stops waiting. Returns whether the pool contained the delivery. If the pool
    /// did not contain it, the answer is already in the channel.
    pub(super) fn remove(&self, number: u64) -> bool {
        let mut state = self.lock();
        let Some(open) = state.open.remove(&number) else { return false };
        match open.is_handed_out {
            true => state.handed_out -= 1,
            false => state.ready.retain(|ready| *ready != number),
        }
        true
    }

    /// Hands out at most `most` ready deliveries. Each delivery has the deadline of now plus `time`.
    pub(crate) fn take(&self, most: usize, time: Duration) -> Vec<Handed> {
        let until = tokio::time::Instant::now() + time;
        let mut state = self.lock();
        let mut taken = vec![];
        while taken.len() < most {
            let Some(number) = state.ready.pop_front() else { break };
            let Some(open) = state.open.get_mut(&number) else { continue };
            open.turn += 1;
            open.is_handed_out = true;
            // The send fails if the handler has ended. That handler removes the delivery.
            let _ = open.tell.send(Told::HandedOut(until));
            taken.push(Handed { number, turn: open.turn, line: open.line.clone() });
        }
        state.handed_out += taken.len();
        state.used = Instant::now();
        // Other clients may wait for the remaining deliveries.
        if !state.ready.is_empty() {
            self.ready.notify_one();
        }
        taken
    }

    /// Waits until a delivery may be ready. Cancel-safe.
    pub(crate) async fn changed(&self) {
        self.ready.notified().await;
    }

    /// Applies the answer of a client.
    pub(crate) fn settle(&self, number: u64, turn: u32, outcome: Outcome) -> SettleEffect {
        let mut state = self.lock();
        state.used = Instant::now();
        let is_theirs = |open: &&mut Open| open.turn == turn && open.is_handed_out;
        let Some(open) = state.open.get_mut(&number).filter(is_theirs) else { return SettleEffect::Expired };
        match outcome {
            Outcome::Extend(time) => {
                let until = tokio::time::Instant::now() + time;
                match open.tell.send(Told::HandedOut(until)) {
                    Ok(()) => SettleEffect::Extended,
                    Err(_) => SettleEffect::Expired,
                }
            }
            Outcome::Release => {
                open.is_handed_out = false;
                let is_told = open.tell.send(Told::Released).is_ok();
                state.handed_out -= 1;
                state.ready.push_front(number);
                drop(state);
                self.ready.notify_one();
                if is_told { SettleEffect::Released } else { SettleEffect::Expired }
            }
            Outcome::Answered(answer) => {
                let is_told = open.tell.send(Told::Answered(answer)).is_ok();
                state.open.remove(&number);
                state.handed_out -= 1;
                if is_told { SettleEffect::Settled } else { SettleEffect::Expired }
            }
        }
    }

    /// Records that a client uses the pool.
    pub(super) fn touch(&self) {
        self.lock().used = Instant::now();
    }

    /// Whether no client has used the pool for `time`.
    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        self.lock().used.elapsed() >= time
    }

    /// Number of deliveries that clients hold.
    pub(crate) fn handed_out(&self) -> usize {
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

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_delivery_is_handed_to_one_client_and_settled_once() {
        let pool = Pool::default();
        let (number, mut told) = pool.add(b"{}".to_vec());
        let taken = pool.take(10, MINUTE);
        assert_eq!((taken.len(), taken[0].number, taken[0].turn), (1, number, 1));
        assert!(pool.take(10, MINUTE).is_empty());
        assert_eq!(pool.handed_out(), 1);
        assert_eq!(pool.settle(number, 2, Outcome::Answered(Ok(()))), SettleEffect::Expired);
        assert_eq!(pool.settle(number, 1, Outcome::Answered(Ok(()))), SettleEffect::Settled);
        assert_eq!(pool.settle(number, 1, Outcome::Answered(Ok(()))), SettleEffect::Expired);
        assert!(matches!(told.try_recv(), Ok(Told::HandedOut(_))));
        assert!(matches!(told.try_recv(), Ok(Told::Answered(Ok(())))));
        assert_eq!((pool.handed_out(), pool.remove(number)), (0, false));
    }

    #[test]
    fn what_is_released_goes_to_the_next_client_first() {
        let pool = Pool::default();
        let (first, _told) = pool.add(vec![]);
        let (second, _told) = pool.add(vec![]);
        assert_eq!(pool.take(1, MINUTE)[0].number, first);
        assert_eq!(pool.settle(first, 1, Outcome::Release), SettleEffect::Released);
        let taken: Vec<_> = pool.take(2, MINUTE).iter().map(|handed| (handed.number, handed.turn)).collect();
        assert_eq!(taken, [(first, 2), (second, 1)]);
        assert_eq!(pool.settle(first, 1, Outcome::Answered(Ok(()))), SettleEffect::Expired);
    }

    #[test]
    fn a_delivery_whose_handler_has_ended_is_not_handed_out() {
        let pool = Pool::default();
        let (number, told) = pool.add(vec![]);
        drop(told);
        assert!(pool.remove(number));
        assert!(pool.take(1, MINUTE).is_empty());
        let (number, told) = pool.add(vec![]);
        pool.take(1, MINUTE);
        drop(told);
        assert!(pool.remove(number));
        assert_eq!((pool.handed_out(), pool.settle(number, 1, Outcome::Release)), (0, SettleEffect::Expired));
    }
}
