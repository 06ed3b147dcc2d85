//! The last known state of a partition, for one handle. It may be out of date, so the server checks every decision
//! that uses it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::state::State;

/// The head and the epoch of the log, and the size of its dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) head: u64,
    pub(crate) epoch: u64,
    pub(crate) level: u32,
    pub(crate) split: u32,
}

impl From<&State> for Known {
    fn from(state: &State) -> Self {
        Self { head: state.head, epoch: state.epoch, level: state.level, split: state.split }
    }
}

/// The values that were learned last.
#[derive(Debug)]
pub(crate) struct LastKnown {
    known: Mutex<Known>,
    average_bytes: AtomicU64,
    is_sparse: AtomicBool,
}

impl LastKnown {
    pub(crate) fn new(state: &State) -> Self {
        Self {
            known: Mutex::new(Known::from(state)),
            average_bytes: AtomicU64::new(0),
            is_sparse: AtomicBool::new(false),
        }
    }

    pub(crate) fn get(&self) -> Known {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the present values.
    pub(crate) fn set(&self, now: Known) {
        *self.lock() = now;
    }

    /// Records only the log epoch. After a new epoch the known head is old, and the next append learns the new one.
    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.lock().epoch = epoch;
    }

    /// Records the new number of buckets of the dictionary.
    pub(crate) fn set_buckets(&self, level: u32, split: u32) {
        let mut known = self.lock();
        (known.level, known.split) = (level, split);
    }

    /// Records the head of the log, unless a higher head is known.
    pub(crate) fn set_head(&self, head: u64) {
        let mut known = self.lock();
        known.head = known.head.max(head);
    }

    /// Returns the average length of events in bytes, or 0 if it is unknown.
    pub(crate) fn average_bytes(&self) -> u64 {
        self.average_bytes.load(Ordering::Relaxed)
    }

    /// Records the average length of events.
    pub(crate) fn set_bytes(&self, state: &State) {
        let average = (state.bytes / state.events.max(1)).max(u64::from(state.events > 0));
        self.average_bytes.store(average, Ordering::Relaxed);
    }

    /// Returns whether the last read part of the log had events at most of its sequences.
    pub(crate) fn is_dense(&self) -> bool {
        !self.is_sparse.load(Ordering::Relaxed)
    }

    /// Records how many events a range of sequences had.
    pub(crate) fn set_density(&self, events: u64, sequences: u64) {
        self.is_sparse.store(events < sequences / 2, Ordering::Relaxed);
    }
}
