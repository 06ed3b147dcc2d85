//! What a handle last knew of its partition. It may be old: the server checks what is decided by it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::state::State;

/// Where the log and its dictionary are.
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

/// What was learned last.
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

    /// Notes where all is now.
    pub(crate) fn set(&self, now: Known) {
        *self.lock() = now;
    }

    /// Notes the log epoch alone. Where one has begun the head is old, and the next append is told.
    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.lock().epoch = epoch;
    }

    /// Notes that the dictionary has other buckets.
    pub(crate) fn set_buckets(&self, level: u32, split: u32) {
        let mut known = self.lock();
        (known.level, known.split) = (level, split);
    }

    /// Notes how far the log is.
    pub(crate) fn set_head(&self, head: u64) {
        let mut known = self.lock();
        known.head = known.head.max(head);
    }

    /// How long events are on average, in bytes, as far as that is known; else 0.
    pub(crate) fn average_bytes(&self) -> u64 {
        self.average_bytes.load(Ordering::Relaxed)
    }

    /// Notes how long events are.
    pub(crate) fn set_bytes(&self, state: &State) {
        let average = (state.bytes / state.events.max(1)).max(u64::from(state.events > 0));
        self.average_bytes.store(average, Ordering::Relaxed);
    }

    /// Whether the log had an event at about every sequence where it was read last.
    pub(crate) fn is_dense(&self) -> bool {
        !self.is_sparse.load(Ordering::Relaxed)
    }

    /// Notes how many events some sequences had.
    pub(crate) fn set_density(&self, events: u64, sequences: u64) {
        self.is_sparse.store(events < sequences / 2, Ordering::Relaxed);
    }
}
