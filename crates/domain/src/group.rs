//! Consumer groups: their settings, the state of their segments, and the spread of keys over segments.
//!
//! # Constraints
//! Each event is delivered to each group at least once. Events of one key are delivered in log order. Any number of
//! processes share the work. A crash at any moment loses nothing and repeats little. A crash counts only against an
//! event that was in flight then, and never against its neighbours.
//!
//! # Design
//! A group has a fixed number of *segments*. A segment holds the keys whose hash selects it, and lies within one
//! partition. A process leases segments. The store keeps this state of a segment:
//!
//! - its *cursor*: every event of the segment at or before it is done, or belongs to a row of the ledger;
//! - its *claim*: events between cursor and claim may be in flight. The consumer raises and commits the claim before
//!   the delivery. After an orderly end of a consumer, the next consumer finds no event there. After a crash, it
//!   finds the events that were in flight. An event that was in flight at two crashes is *suspect*: it may be the
//!   cause of the crashes;
//! - its *ledger* (the blocked keys): one row for each key that does not follow the cursor. The event of such a key
//!   waits for a retry, runs for long, or is a dead letter behind which the key is parked. The ledger does not copy
//!   later events of the key. They lie between the position of the row and its `through`, and a read by the key finds
//!   them.
//!
//! The bus implements the logic over these facts. A store keeps the facts, and refuses commits under a lost lease.

mod delivery_state;
mod gaps;
mod key;
mod lane;
mod passed;
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
pub use passed::{EarlierTypes, MAX_EARLIER_TYPES, PassedEvents, SkippedRange};
pub use pause::GroupPause;
pub use pending::{MAX_PENDING_LOOKS, Pending};
pub use share::fair_share;
pub use spec::{GroupSpec, GroupSpecError, MAX_NAME_BYTES};

/// Default number of segments of a group.
pub const DEFAULT_SEGMENTS: u16 = 16;
/// Most segments of a group.
pub const MAX_SEGMENTS: u16 = 1024;
/// Most ledger rows (blocked keys) of a segment. At this bound, the segment reads no further events.
pub const MAX_BLOCKED_KEYS: usize = 10_000;
/// Most bytes of a segment's ledger (see [`BlockedKey::size_bytes`]). At this bound, the segment reads no further
/// events.
pub const MAX_LEDGER_BYTES: usize = 16 * 1024 * 1024;
/// Most references that a segment's replay lane (its replay queue) holds.
pub const MAX_LANE_REFERENCES: usize = 10_000;
/// Default time without a visit of a consumer after which a group no longer holds events back from retention.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// A group as the store records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRecord {
    /// Settings of the group.
    #[serde(flatten)]
    pub spec: GroupSpec,
    /// Time at which the group was made.
    pub created_at: Timestamp,
    /// Time at which a consumer last renewed its leases, or at which the group was made.
    pub last_seen_at: Timestamp,
    /// Gaps: events that retention removed before the group had passed them, the oldest gap first.
    pub gaps: Vec<Gap>,
}

/// A lease on a segment: the right to commit to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Name of the group.
    pub group: String,
    /// Number of the segment.
    pub segment: u16,
    /// Fencing token. Each lease of a segment has a higher number than the lease before it.
    pub epoch: u64,
    /// Random number that the consumer draws. With it, two consumers never hold equal leases, even after a store has
    /// lost its newest epochs.
    pub token: u64,
}

/// A blocked or parked key: a key that does not follow its segment's cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockedKey {
    /// The key.
    pub key: Key,
    /// Sequence of the key's first event that is not done.
    pub position: u64,
    /// Highest sequence up to which the cursor has passed events of the key. The group has still to handle the events
    /// from `position` to here.
    pub through: u64,
    /// Claim of the key: events of the key up to here may be in flight. It is below `position` if no event is.
    pub claimed_to: u64,
    /// Number of attempts of the event at `position`.
    pub attempts: u32,
    /// Number of consumers that ended, without release of the segment, while the event at `position` was claimed.
    pub ends: u32,
    /// Earliest time of the next attempt. None if the key is parked behind a dead letter.
    pub due: Option<Timestamp>,
    /// Error message of the last attempt. Empty if there was no attempt.
    pub error: String,
    /// Failures of the attempts of the event at `position`, as [`crate::dead_letter::note_failure`] keeps them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// Time since which the key is blocked.
    pub since: Timestamp,
}

impl BlockedKey {
    /// Returns the approximate size of the row, in bytes.
    pub fn size_bytes(&self) -> usize {
        let failures: usize = self.failures.iter().map(Failure::size_bytes).sum();
        self.key.kind.len() + self.key.id.len() + self.error.len() + failures + 64
    }

    /// Returns the sequence of the key's first event that is still to be handled. For a parked key, it is after
    /// `position`, because the event at `position` is a dead letter.
    pub fn first_open(&self) -> u64 {
        self.position + u64::from(self.due.is_none())
    }

    /// Returns whether the event at `position` may be in flight.
    pub fn is_claimed(&self) -> bool {
        self.claimed_to >= self.position
    }
}

/// State of a segment in the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SegmentState {
    /// Partition of the segment.
    pub partition: u16,
    /// Cursor: every event of the segment at or before this sequence is done, or in the ledger.
    pub cursor: u64,
    /// Claim: events of the segment up to this sequence may be in flight. It is never below the cursor.
    pub claimed_to: u64,
    /// The ledger: the blocked and parked keys.
    pub blocked: Vec<BlockedKey>,
}

/// Status of a segment, for people and for health checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentStatus {
    /// Number of the segment.
    pub segment: u16,
    /// Partition of the segment.
    pub partition: u16,
    /// Consumer that holds the lease, if one does.
    pub consumer: Option<String>,
    /// Cursor of the segment.
    pub cursor: u64,
    /// Number of blocked and parked keys.
    pub blocked_keys: u64,
    /// Number of parked keys: keys that wait behind a dead letter.
    pub parked_keys: u64,
    /// Lowest position in the ledger.
    pub oldest_blocked: Option<u64>,
    /// Number of references in the replay lane.
    pub lane: u64,
}

/// Status of a consumer of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerStatus {
    /// Name of the consumer, unique among the group's consumers.
    pub name: String,
    /// Time until which the consumer counts as alive.
    pub alive_until: Timestamp,
    /// Number of segments that the consumer has leased.
    pub segments: u16,
}

/// Status of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// The group.
    #[serde(flatten)]
    pub record: GroupRecord,
    /// Segments of the group, in order.
    pub segments: Vec<SegmentStatus>,
    /// Consumers of the group whose time is not over, by name.
    pub consumers: Vec<ConsumerStatus>,
    /// Partitions of the store that did not answer. Their segments are not listed, and their consumers may be alive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<u16>,
}

impl GroupStatus {
    /// Returns the lowest cursor of the segments of a partition.
    pub fn cursor(&self, partition: u16) -> Option<u64> {
        self.segments.iter().filter(|s| s.partition == partition).map(|s| s.cursor).min()
    }

    /// Returns the number of blocked and parked keys.
    pub fn blocked_keys(&self) -> u64 {
        self.segments.iter().map(|segment| segment.blocked_keys).sum()
    }
}
