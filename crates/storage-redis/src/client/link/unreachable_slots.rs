//! Slots that could not be reached. A call to such a slot waits less than the call before it.
//!
//! A store of several partitions reads all of them many times. While one is unreachable, each of these reads would
//! take the full timeout. So after one full timeout without success, calls to the slot get only a short time, for a
//! while.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The time limit of a call to such a slot. It is longer than finding a server and asking it takes.
const MOMENT: Duration = Duration::from_millis(300);
/// How many timeouts the short limit lasts. Then one call gets its full time again, since a server may be slow and
/// reachable.
const TIMEOUTS: u32 = 2;

#[derive(Default)]
pub(super) struct UnreachableSlots {
    slots: Mutex<HashMap<u16, Instant>>,
}

impl UnreachableSlots {
    /// Returns the deadline of a call that starts now, and whether the call has its full time.
    pub(super) fn deadline(&self, slot: u16, timeout: Duration) -> (Instant, bool) {
        let now = Instant::now();
        let is_given_up = self.slots().get(&slot).is_some_and(|at| *at + timeout * TIMEOUTS > now);
        match is_given_up && MOMENT < timeout {
            true => (now + MOMENT, false),
            false => (now + timeout, true),
        }
    }

    /// Records that a slot could not be reached within the full time of a call.
    pub(super) fn give_up(&self, slot: u16) {
        self.slots().insert(slot, Instant::now());
    }

    /// Records that a slot was reached.
    pub(super) fn reached(&self, slot: u16) {
        let mut slots = self.slots();
        if !slots.is_empty() {
            slots.remove(&slot);
        }
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<u16, Instant>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_given_up_is_tried_for_a_moment_and_later_with_the_full_timeout_again() {
        let (unreachable_slots, timeout) = (UnreachableSlots::default(), Duration::from_secs(5));
        let all = |slot| unreachable_slots.deadline(slot, timeout) == (Instant::now() + timeout, true);
        assert!(all(1));
        unreachable_slots.give_up(1);
        assert_eq!(unreachable_slots.deadline(1, timeout), (Instant::now() + MOMENT, false));
        assert!(all(2), "another slot");
        tokio::time::advance(timeout * 2).await;
        assert!(all(1), "after a while");
        unreachable_slots.give_up(1);
        unreachable_slots.reached(1);
        assert!(all(1), "it was reached");
        unreachable_slots.give_up(1);
        let short = Duration::from_millis(200);
        assert_eq!(
            unreachable_slots.deadline(1, short),
            (Instant::now() + short, true),
            "no longer than the caller says"
        );
    }
}
