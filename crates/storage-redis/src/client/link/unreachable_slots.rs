//! Slots that could not be reached: a call that names one is not to wait as long as the one before it did.
//!
//! A store of several partitions asks all of them many a time, and where one is out of reach for long each of these calls
//! would take as long as a call may. So what was tried in vain for a whole timeout is tried for a moment only, for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long a call may take that names such a slot: longer than it takes to find a server and ask it.
const MOMENT: Duration = Duration::from_millis(300);
/// For how many timeouts: then one call is given all its time again, as a server may be slow and not out of reach.
const TIMEOUTS: u32 = 2;

#[derive(Default)]
pub(super) struct UnreachableSlots {
    slots: Mutex<HashMap<u16, Instant>>,
}

impl UnreachableSlots {
    /// Until when a call that begins now may be tried, and whether that is all the time that it may take.
    pub(super) fn deadline(&self, slot: u16, timeout: Duration) -> (Instant, bool) {
        let now = Instant::now();
        let is_given_up = self.slots().get(&slot).is_some_and(|at| *at + timeout * TIMEOUTS > now);
        match is_given_up && MOMENT < timeout {
            true => (now + MOMENT, false),
            false => (now + timeout, true),
        }
    }

    /// Notes that a slot could not be reached in all the time that a call may take.
    pub(super) fn give_up(&self, slot: u16) {
        self.slots().insert(slot, Instant::now());
    }

    /// Notes that a slot was reached.
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
