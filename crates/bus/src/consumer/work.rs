//! What is handed to handlers, and where it came from.

use domain::{DeliveryOrigin, StoredEvent, group::Key};
use jiff::Timestamp;

use super::rules::Rules;

/// Which delivery of a segment this is. The lease's epoch tells it from those of an earlier lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Unit {
    pub(crate) segment: u16,
    pub(crate) epoch: u64,
    pub(crate) way: Way,
}

/// How a delivery came in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// From the log, at this sequence.
    Live { seq: u64, key: Key },
    /// From the replay lane: a batch's place and a reference of it.
    Lane { batch: u64, index: u32 },
}

/// A delivery that may be handed over.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) way: Way,
    pub(crate) stored: StoredEvent,
    pub(crate) origin: DeliveryOrigin,
    /// Which attempt it is, from 1.
    pub(crate) attempt: u32,
    pub(crate) is_last_attempt: bool,
    /// Since when it waits, where that is longer than it has been ready: it goes before what came later.
    pub(crate) waiting_since: Option<Timestamp>,
}

/// Events that a segment wants to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    /// Those of a blocked key, from one sequence up to another, the first of them.
    OfKey { key: Key, from: u64, through: u64 },
    /// Those that a batch in the lane refers to.
    OfBatch { batch: u64 },
}

/// What a segment wants done after something has happened to it.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// May be handed over, as soon as a handler is free.
    pub(crate) work: Vec<Work>,
    /// Events to fetch.
    pub(crate) wants: Vec<Want>,
}

/// A moment in which something happens to a segment: the rules that hold, what time it is, and what is wished for in it.
#[derive(Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) now: Timestamp,
    pub(crate) wishes: Wishes,
}

impl<'a> Moment<'a> {
    pub(crate) fn new(rules: &'a Rules, now: Timestamp) -> Self {
        Self { rules, now, wishes: Wishes::default() }
    }
}
