//! Requests and answers about the log of one partition.

use std::sync::Arc;

use jiff::Timestamp;

use super::transaction::Transaction;
use crate::{
    filter::Filter,
    ports::event_store::{AppendOutcome, Order, RetentionMode},
    position::StoreId,
    stored::StoredEvent,
};

/// Settings that were fixed when a store was made, and the limits of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Identity of the store.
    pub store: StoreId,
    /// Name of the namespace.
    pub namespace: String,
    /// Retention mode of the namespace.
    pub keeps: RetentionMode,
    /// Number of partitions, at least 1.
    pub partitions: u16,
    /// Limits of one call.
    pub limits: EngineLimits,
}

/// Limits of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// Most events of one append.
    pub append_events: usize,
    /// Most bytes of one append, counted as the events' JSON. A single event may be larger.
    pub append_bytes: usize,
    /// Most events of one removal.
    pub removal_events: usize,
    /// Size of a range of sequences. All sequences `s` of one removal have the same `s / removal_stretch`.
    pub removal_stretch: u64,
}

/// The end of a log epoch. The sequences between `last` and `next` were lost, or never assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// Number of the ended epoch.
    pub epoch: u64,
    /// Newest sequence of the epoch that is left.
    pub last: u64,
    /// Sequences of later epochs are above this.
    pub next: u64,
    /// Whether an operator ended the epoch by a restore of an older copy of the log. After a restore, a reader at a
    /// lost sequence gets an error. After a failover, such a reader continues, because it misses no event.
    pub restored: bool,
}

/// State of a partition at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// Newest sequence. It is 0 if no event was ever stored.
    pub head: u64,
    /// Log epoch, as cursors name it.
    pub epoch: u64,
    /// Number that rises by one or more with each log epoch. It starts at 1 and is below 2^32. Leases carry it.
    pub generation: u64,
    /// Ends of the earlier epochs.
    pub ends: Vec<EpochEnd>,
    /// Number of events in the log.
    pub events: u64,
    /// Number of bytes of their JSON.
    pub bytes: u64,
    /// Highest sequence that a trim has removed. It is 0 if there is none.
    pub trimmed_through: u64,
    /// Current time of the store's clock.
    pub now: Timestamp,
}

impl PartitionState {
    /// Returns whether this partition is or was in a log epoch.
    pub fn knows_epoch(&self, epoch: u64) -> bool {
        epoch == self.epoch || self.ends.iter().any(|end| end.epoch == epoch)
    }

    /// Returns the end of the log epoch in which a lost sequence was assigned, or none if the sequence was not lost.
    /// Each epoch begins beyond every sequence that was assigned before, so the sequence alone identifies the epoch.
    pub fn end_before(&self, sequence: u64) -> Option<EpochEnd> {
        self.ends.iter().find(|end| end.last < sequence && sequence < end.next).copied()
    }
}

/// State of an id in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdState {
    /// The event of the id is at this sequence.
    Stored(u64),
    /// The event of the id was erased, so the id is refused.
    Erased,
}

/// An event that exists but cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedEvent {
    /// Sequence of the event.
    pub sequence: u64,
    /// Stored time of the event.
    pub stored_at: Timestamp,
    /// Number of remaining bytes of its JSON.
    pub bytes: u64,
    /// Description of the damage, for people.
    pub detail: String,
    /// Whether an index lists the event as a match of the scan's filter. If not, it is unknown whether the event
    /// matches.
    pub indexed: bool,
}

/// The event at a sequence.
pub type Entry = Result<StoredEvent, DamagedEvent>;

/// A request for a page of a partition's log.
#[derive(Debug, Clone)]
pub struct Scan<'a> {
    /// Filter of the events.
    pub filter: &'a Arc<Filter>,
    /// Direction of the scan.
    pub order: Order,
    /// Sequence after which the scan starts, in its direction (exclusive). None starts at the beginning of the order.
    pub after: Option<u64>,
    /// Highest sequence of the scan, in either direction. None means the head.
    pub until: Option<u64>,
    /// Most entries to return, at least 1.
    pub limit: usize,
    /// Number of bytes of events after which the scan adds no further entry.
    pub max_bytes: u64,
}

/// A page of a partition's log.
#[derive(Debug, Clone)]
pub struct ScanPage {
    /// Entries that the scan found, in the requested order.
    pub entries: Vec<Entry>,
    /// Sequence after which the next page starts. None if the scan is complete.
    pub next: Option<u64>,
    /// State of the partition at a moment not after the read of the newest entry.
    pub state: PartitionState,
}

/// Result of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// One outcome for each event, in order.
    Done(Vec<AppendOutcome>),
    /// A guard of the append's transaction did not hold. Nothing was changed.
    Refused {
        /// Number of the guard, from 0.
        guard: usize,
    },
}

/// Reason for the removal of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalKind {
    /// Retention, and the events are the oldest of the log.
    Oldest,
    /// Retention, and older events stay.
    Among,
    /// A request to erase. The ids are refused from then on, and no byte of the events may stay.
    Erase,
}

/// A request to remove events.
#[derive(Debug, Clone, Copy)]
pub struct Removal<'a> {
    /// Events as they were read, in rising order, within [`EngineLimits`].
    pub entries: &'a [Entry],
    /// Reason for the removal.
    pub kind: RemovalKind,
    /// Transaction that is performed in the same step.
    pub with: &'a Transaction,
}

/// Result of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// The events are removed. Events that had been removed before are not counted.
    Done {
        /// Number of removed events.
        events: u64,
        /// Number of bytes of their JSON.
        bytes: u64,
    },
    /// A guard of the transaction did not hold. Nothing was changed.
    Refused {
        /// Number of the guard, from 0.
        guard: usize,
    },
}

/// Returns the sequence of an entry.
pub fn sequence_of(entry: &Entry) -> u64 {
    match entry {
        Ok(stored) => stored.position.sequence,
        Err(damaged) => damaged.sequence,
    }
}

/// Returns the stored time of an entry.
pub fn stored_at(entry: &Entry) -> Timestamp {
    match entry {
        Ok(stored) => stored.stored_at,
        Err(damaged) => damaged.stored_at,
    }
}

/// Returns the number of bytes of an entry's JSON.
pub fn bytes_of(entry: &Entry) -> u64 {
    match entry {
        Ok(stored) => stored.event.size_bytes() as u64,
        Err(damaged) => damaged.bytes,
    }
}
