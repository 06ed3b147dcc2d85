//! Consumer groups: who they are, what their segments hold, and how keys are spread over segments.
//!
//! # Constraints
//! Each event is handed to each group at least once; events of one key in log order; any number of processes share the
//! work; a crash at any moment loses nothing, repeats little, and never blames an event for its neighbour.
//!
//! # Design
//! A group has a fixed number of *segments*. A segment takes the keys whose hash falls to it, and lies within one partition.
//! A process leases segments. Of a segment the store keeps:
//!
//! - its *cursor*: everything of it at or below is done, or named by a row of the ledger;
//! - its *claim*: what lies between cursor and claim may have been handed to a handler. It is raised, and committed,
//!   before anything is handed over. The next consumer that leases it finds nothing there if the one before it ended in order; else what
//!   was in hand then. What was in hand at a second end too is *suspect*: it may be what ends processes;
//! - its *ledger*: a row for each key that does not go with the cursor, because its event waits to be tried again, runs
//!   for long, or is parked. Later events of the key are not copied: they lie between the row's position and its `through`,
//!   and are found again by the key.
//!
//! The logic over these facts is in the bus; a store keeps them, and refuses commits under a lost lease.

mod delivery_state;
mod gaps;
mod key;
mod lane;
mod pause;
mod pending;
mod share;
mod spec;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dead_letter::Failure;

pub use delivery_state::{DeliveryState, EventDelivery, SegmentPlace, SkipReason};
pub use gaps::{Gap, MAX_GAPS, note_gap};
pub use key::{GroupKey, Key, partition_of, segment_of};
pub use lane::{
    BitSet, LaneBatch, LaneFailure, LaneOrigin, LaneProgress, LaneResult, LaneRetry, NewLaneBatch, REMOVED,
};
pub use pause::GroupPause;
pub use pending::{MAX_PENDING_LOOKS, Pending};
pub use share::fair_share;
pub use spec::{GroupSpec, GroupSpecError, MAX_NAME_BYTES};

/// Segments of a group that says nothing else.
pub const DEFAULT_SEGMENTS: u16 = 16;
/// Most segments of a group.
pub const MAX_SEGMENTS: u16 = 1024;
/// Rows of the ledger that a segment may have; at this bound it reads no further.
pub const MAX_BLOCKED_KEYS: usize = 10_000;
/// Bytes that a segment's ledger may have (see [`BlockedKey::size_bytes`]); at this bound it reads no further.
pub const MAX_LEDGER_BYTES: usize = 16 * 1024 * 1024;
/// References that a segment's replay lane may hold.
pub const MAX_LANE_REFERENCES: usize = 10_000;
/// A group that no consumer has visited for this long holds no history back, where nothing else is asked for.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// A group as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRecord {
    /// What it is.
    #[serde(flatten)]
    pub spec: GroupSpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a consumer last renewed its leases, or when it was made.
    pub last_seen_at: Timestamp,
    /// History that was removed before the group had passed it, the oldest first.
    pub gaps: Vec<Gap>,
}

/// A lease on a segment: the right to commit to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The group.
    pub group: String,
    /// The segment.
    pub segment: u16,
    /// The fencing number: each lease of a segment has a higher one than the lease before it.
    pub epoch: u64,
    /// Drawn at random by the consumer, so that two consumers never hold equal leases, not even after a store has lost
    /// its newest epochs.
    pub token: u64,
}

/// A key that does not go with its segment's cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockedKey {
    /// The key.
    pub key: Key,
    /// The sequence of its first event that is not done.
    pub position: u64,
    /// The sequence up to which events of the key were passed by the cursor: those from `position` to here are still to
    /// be handled.
    pub through: u64,
    /// Events of the key up to here may have been handed over; below `position` where none was.
    pub claimed_to: u64,
    /// How often the event at `position` has been tried.
    pub attempts: u32,
    /// How often a consumer ended, without giving its segment back, while the event at `position` was claimed.
    pub ends: u32,
    /// When it may be tried next; none where the key is parked behind a dead letter.
    pub due: Option<Timestamp>,
    /// What the last attempt said; empty where there was none.
    pub error: String,
    /// What each attempt of the event at `position` said, as [`crate::dead_letter::note_failure`] keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// Since when the key is blocked.
    pub since: Timestamp,
}

impl BlockedKey {
    /// About what the row takes.
    pub fn size_bytes(&self) -> usize {
        let failures: usize = self.failures.iter().map(Failure::size_bytes).sum();
        self.key.kind.len() + self.key.id.len() + self.error.len() + failures + 64
    }

    /// The sequence of its first event that is still to be handled: a parked key waits behind an event that is a dead letter.
    pub fn first_open(&self) -> u64 {
        self.position + u64::from(self.due.is_none())
    }

    /// Whether its event may have been handed over.
    pub fn is_claimed(&self) -> bool {
        self.claimed_to >= self.position
    }
}

/// What the store keeps of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SegmentState {
    /// The partition it lies in.
    pub partition: u16,
    /// Everything of the segment at or below this sequence is done, or in the ledger.
    pub cursor: u64,
    /// Events of the segment up to here may have been handed over; never below the cursor.
    pub claimed_to: u64,
    /// The ledger.
    pub blocked: Vec<BlockedKey>,
}

/// How a segment is doing, for people and for health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentStatus {
    /// The segment.
    pub segment: u16,
    /// Its partition.
    pub partition: u16,
    /// Who has leased it, if anyone has.
    pub consumer: Option<String>,
    /// Its cursor.
    pub cursor: u64,
    /// Keys in its ledger.
    pub blocked_keys: u64,
    /// Of these, how many are parked behind a dead letter.
    pub parked_keys: u64,
    /// The lowest position of its ledger.
    pub oldest_blocked: Option<u64>,
    /// References that wait in its replay lane.
    pub lane: u64,
}

/// A consumer of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerStatus {
    /// Its name: unique among the group's consumers.
    pub name: String,
    /// Until when it counts as alive.
    pub alive_until: Timestamp,
    /// Segments it has leased.
    pub segments: u16,
}

/// How a group is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// The group.
    #[serde(flatten)]
    pub record: GroupRecord,
    /// Its segments, in order.
    pub segments: Vec<SegmentStatus>,
    /// Its consumers that are alive, by name.
    pub consumers: Vec<ConsumerStatus>,
    /// Partitions of the store that did not answer: their segments are not listed, and their consumers may be alive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<u16>,
}

impl GroupStatus {
    /// The lowest cursor of a partition's segments.
    pub fn cursor(&self, partition: u16) -> Option<u64> {
        self.segments.iter().filter(|s| s.partition == partition).map(|s| s.cursor).min()
    }

    /// Keys in its ledger.
    pub fn blocked_keys(&self) -> u64 {
        self.segments.iter().map(|segment| segment.blocked_keys).sum()
    }
}
