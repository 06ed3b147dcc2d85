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

/// What was settled when a store was made, and what one call may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// The store's identity.
    pub store: StoreId,
    /// Its namespace.
    pub namespace: String,
    /// What it keeps.
    pub keeps: RetentionMode,
    /// How many partitions it has, at least 1.
    pub partitions: u16,
    /// What one call may ask for.
    pub limits: EngineLimits,
}

/// What one call may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// Most events of one append.
    pub append_events: usize,
    /// Most bytes of one append, counted as the events' JSON; a single event may be larger.
    pub append_bytes: usize,
    /// Most events of one removal.
    pub removal_events: usize,
    /// One removal takes sequences `s` of equal `s / removal_stretch` alone.
    pub removal_stretch: u64,
}

/// Where a log epoch ended that is over. What lies between `last` and `next` was lost, or never given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: u64,
    /// The newest sequence of it that is left.
    pub last: u64,
    /// Sequences of the epochs after it are above this.
    pub next: u64,
    /// Whether an operator ended it by putting an older copy in place of the log. A reader behind what was lost is then
    /// told; after a failover it reads on, since nothing is passed over for that.
    pub restored: bool,
}

/// A partition at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// The newest sequence; 0 where nothing was ever stored.
    pub head: u64,
    /// The log epoch, as cursors name it.
    pub epoch: u64,
    /// Rises by one or more with each log epoch, from 1; below 2^32. Leases carry it.
    pub generation: u64,
    /// The epochs that are over.
    pub ends: Vec<EpochEnd>,
    /// Events in the log.
    pub events: u64,
    /// Bytes of their JSON.
    pub bytes: u64,
    /// The highest sequence that a trim has removed; 0 where none.
    pub trimmed_through: u64,
    /// The store's clock.
    pub now: Timestamp,
}

impl PartitionState {
    /// Whether this partition ever was in a log epoch.
    pub fn knows_epoch(&self, epoch: u64) -> bool {
        epoch == self.epoch || self.ends.iter().any(|end| end.epoch == epoch)
    }

    /// The end of the log epoch that a sequence was given in, where the sequence was lost with what came after that end. An
    /// epoch begins beyond every sequence that was given before, so the sequence alone tells.
    pub fn end_before(&self, sequence: u64) -> Option<EpochEnd> {
        self.ends.iter().find(|end| end.last < sequence && sequence < end.next).copied()
    }
}

/// What the log knows of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdState {
    /// Its event is at this sequence.
    Stored(u64),
    /// Its event was erased: it is refused.
    Erased,
}

/// An event that is there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedEvent {
    /// Where it is.
    pub sequence: u64,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// Bytes of what is left of its JSON.
    pub bytes: u64,
    /// What is wrong, for people.
    pub detail: String,
    /// Whether an index says that it matches the filter of the scan that found it. Where it does not, nothing is known.
    pub indexed: bool,
}

/// What stands at a sequence.
pub type Entry = Result<StoredEvent, DamagedEvent>;

/// What to read of a partition's log.
#[derive(Debug, Clone)]
pub struct Scan<'a> {
    /// Which events.
    pub filter: &'a Arc<Filter>,
    /// In which order.
    pub order: Order,
    /// Behind this sequence, in that order (exclusive); none: from its start.
    pub after: Option<u64>,
    /// Nothing above this sequence, in either order; none: up to the head.
    pub until: Option<u64>,
    /// At most this many entries, at least 1.
    pub limit: usize,
    /// No further entry once the events have this many bytes.
    pub max_bytes: u64,
}

/// A page of a partition's log.
#[derive(Debug, Clone)]
pub struct ScanPage {
    /// What was found, in the order asked for.
    pub entries: Vec<Entry>,
    /// Behind which sequence to go on; none when the scan is complete.
    pub next: Option<u64>,
    /// The partition at a moment not after the newest entry was read.
    pub state: PartitionState,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// One outcome for each event, in order.
    Done(Vec<AppendOutcome>),
    /// A guard of the transaction that was to go with it did not hold; nothing was changed.
    Refused {
        /// Which guard, from 0.
        guard: usize,
    },
}

/// Why events are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalKind {
    /// By retention; they are the oldest of the log.
    Oldest,
    /// By retention; older events stay.
    Among,
    /// On request: their ids are refused from then on, and no byte of them may stay.
    Erase,
}

/// Events that are to be removed.
#[derive(Debug, Clone, Copy)]
pub struct Removal<'a> {
    /// The events as they were read, rising, within [`EngineLimits`].
    pub entries: &'a [Entry],
    /// Why.
    pub kind: RemovalKind,
    /// What is performed in the same step.
    pub with: &'a Transaction,
}

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// They are gone. Events that had gone before are not counted.
    Done {
        /// How many events went.
        events: u64,
        /// Bytes of their JSON.
        bytes: u64,
    },
    /// A guard of the transaction did not hold; nothing was changed.
    Refused {
        /// Which guard, from 0.
        guard: usize,
    },
}

/// The sequence of an entry.
pub fn sequence_of(entry: &Entry) -> u64 {
    match entry {
        Ok(stored) => stored.position.sequence,
        Err(damaged) => damaged.sequence,
    }
}

/// When an entry was stored.
pub fn stored_at(entry: &Entry) -> Timestamp {
    match entry {
        Ok(stored) => stored.stored_at,
        Err(damaged) => damaged.stored_at,
    }
}

/// Bytes of an entry's JSON.
pub fn bytes_of(entry: &Entry) -> u64 {
    match entry {
        Ok(stored) => stored.event.size_bytes() as u64,
        Err(damaged) => damaged.bytes,
    }
}
