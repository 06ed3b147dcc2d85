//! Deliveries that may start, in the order of their turn.
//!
//! The turn of a delivery is the time at which it became ready, plus a delay that grows as its priority falls. So a
//! higher priority goes first, but a delivery that has waited long enough overtakes it. For a delivery from the ledger,
//! the waiting time counts from the moment at which its key was blocked. Otherwise a key with a long queue would start
//! to wait again with each of its events.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::Duration,
};

use domain::{Priority, time::until};
use jiff::Timestamp;
use tokio::time::Instant;

use super::work::{DeliveryId, Work};

/// The longest waiting time that counts.
const MOST_WAITED: Duration = Duration::from_secs(5);

/// Returns the time by which a delivery lets deliveries of the highest priority go first.
fn patience(priority: Priority) -> Duration {
    match priority {
        Priority::Critical => Duration::ZERO,
        Priority::High => Duration::from_secs(2),
        Priority::Medium => Duration::from_secs(10),
        Priority::Low => Duration::from_secs(60),
    }
}

/// A delivery that may start.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) unit: DeliveryId,
    pub(crate) work: Work,
    turn: Instant,
    /// The order of arrival, for deliveries with the same turn.
    number: u64,
}

impl Ready {
    pub(crate) fn new(unit: DeliveryId, work: Work, now: Timestamp) -> Self {
        let waited = work.waiting_since.map_or(Duration::ZERO, |since| until(since, now)).min(MOST_WAITED);
        let begun = Instant::now();
        let turn =
            begun.checked_sub(waited).unwrap_or(begun) + patience(work.stored.event.options().priority);
        Self { unit, work, turn, number: 0 }
    }
}

impl PartialEq for Ready {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ready {}

impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ready {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.turn, self.number).cmp(&(other.turn, other.number))
    }
}

/// The queue of deliveries that may start.
#[derive(Debug, Default)]
pub(crate) struct ReadyQueue {
    waiting: BinaryHeap<Reverse<Ready>>,
    next: u64,
}

impl ReadyQueue {
    pub(crate) fn push(&mut self, ready: Ready) {
        self.next += 1;
        self.waiting.push(Reverse(Ready { number: self.next, ..ready }));
    }

    pub(crate) fn pop(&mut self) -> Option<Ready> {
        self.waiting.pop().map(|Reverse(ready)| ready)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
