//! Deliveries that may go to handlers, and their sources.

use domain::{DeliveryOrigin, StoredEvent, group::Key};
use jiff::Timestamp;

use super::rules::Rules;

/// The identity of a delivery of a segment. The lease epoch distinguishes it from deliveries of an earlier lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DeliveryId {
    pub(crate) segment: u16,
    pub(crate) epoch: u64,
    pub(crate) source: DeliverySource,
}

/// The source of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum DeliverySource {
    /// The log, at this sequence.
    Live { seq: u64, key: Key },
    /// The replay lane, with the number of a batch and the index of a reference in it.
    Lane { batch: u64, index: u32 },
}

/// A delivery that may start.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) source: DeliverySource,
    pub(crate) stored: StoredEvent,
    pub(crate) origin: DeliveryOrigin,
    /// The number of the attempt, from 1.
    pub(crate) attempt: u32,
    pub(crate) is_last_attempt: bool,
    /// The time since which the delivery waits, if it waited before it became ready. It then goes before later
    /// deliveries.
    pub(crate) waiting_since: Option<Timestamp>,
}

/// Events that a segment needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FetchRequest {
    /// The first events of a blocked key between two sequences.
    OfKey { key: Key, from: u64, through: u64 },
    /// The events to which a lane batch refers.
    OfBatch { batch: u64 },
}

/// The effects of one step of a segment.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Deliveries that may start when a handler is free.
    pub(crate) work: Vec<Work>,
    /// Events to fetch.
    pub(crate) fetch_requests: Vec<FetchRequest>,
}

/// The context of one step of a segment: its rules, the time, and the effects that the step collects.
#[derive(Debug)]
pub(crate) struct StepContext<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) now: Timestamp,
    pub(crate) effects: Effects,
}

impl<'a> StepContext<'a> {
    pub(crate) fn new(rules: &'a Rules, now: Timestamp) -> Self {
        Self { rules, now, effects: Effects::default() }
    }
}
