//! The rows of groups: the group itself, the leases of its segments, and the batches of its lanes.

use domain::{
    StorageFailure,
    group::{Gap, GroupRecord, GroupSpec, LaneBatch, LaneOrigin, LaneProgress, PassedEvents},
    ports::engine::{Guard, Read, RowId, Snapshot, Space, SpaceKind, Transaction},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    partition::Partition,
    rows::{Rows, corrupt, from_json, named, number_in, text, text_in, to_json, value_at},
};

/// The kinds of rows that belong to a whole group. Kinds that belong to a single segment are not included.
pub(crate) const OF_GROUP: [SpaceKind; 7] = [
    SpaceKind::Segment,
    SpaceKind::Fence,
    SpaceKind::Lease,
    SpaceKind::Consumer,
    SpaceKind::LaneEnd,
    SpaceKind::LaneSize,
    SpaceKind::GroupPause,
];

/// The row of a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GroupRow {
    pub(crate) spec: GroupSpec,
    pub(crate) created: Timestamp,
    /// A random number, drawn when the group is created. A group that is created again under the same name has another
    /// one. It is the same in every partition.
    pub(crate) incarnation: String,
    pub(crate) gaps: Vec<Gap>,
    /// In partition 0 of several: the starting position of the group in each partition, or the position of its last
    /// reset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) marks: Vec<u64>,
    /// The starting position of the group in this partition, or the position of its last reset.
    #[serde(default)]
    pub(crate) began_after: u64,
    /// The events of this partition that the group passed and did not deliver. None if the partition has lost its part
    /// of the group, or if an older version created the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) passed: Option<PassedEvents>,
}

impl GroupRow {
    pub(crate) fn new(spec: &GroupSpec, created: Timestamp, marks: Vec<u64>) -> Self {
        let incarnation = format!("{:016x}", fastrand::u64(..));
        let passed = Some(PassedEvents::default());
        Self { spec: spec.clone(), created, incarnation, gaps: Vec::new(), marks, began_after: 0, passed }
    }

    pub(crate) fn to_value(&self) -> Result<Vec<u8>, StorageFailure> {
        to_json(self)
    }

    pub(crate) fn record(&self, seen: Timestamp) -> GroupRecord {
        GroupRecord {
            spec: self.spec.clone(),
            created_at: self.created,
            last_seen_at: seen,
            gaps: self.gaps.clone(),
        }
    }

    /// Returns the group's segments in a partition.
    pub(crate) fn segments(&self, partition: u16, partitions: u16) -> impl Iterator<Item = u16> {
        (partition..self.spec.segments).step_by(usize::from(partitions.max(1)))
    }
}

/// A group with the values of its rows, which guards need.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) row: GroupRow,
    pub(crate) value: Vec<u8>,
    pub(crate) seen: Timestamp,
    pub(crate) seen_value: Option<Vec<u8>>,
}

impl Group {
    pub(crate) fn read(
        name: &str,
        value: Vec<u8>,
        seen_value: Option<Vec<u8>>,
    ) -> Result<Self, StorageFailure> {
        let row: GroupRow = from_json(&value, format_args!("the group {name:?}"))?;
        let seen = match &seen_value {
            Some(seen) => instant(seen)?,
            None => row.created,
        };
        Ok(Self { row, value, seen, seen_value })
    }

    pub(crate) fn name(&self) -> &str {
        &self.row.spec.name
    }

    pub(crate) fn id(&self) -> RowId {
        named(SpaceKind::Group, self.name())
    }

    pub(crate) fn reads(name: &str) -> [Read; 2] {
        [SpaceKind::Group, SpaceKind::GroupSeen].map(|kind| Read::Row(named(kind, name)))
    }

    /// Decodes the answers to [`Group::reads`]. Returns none if the group does not exist.
    pub(crate) fn of(name: &str, found: &mut Snapshot) -> Result<Option<Self>, StorageFailure> {
        let (value, seen) = (found.row(), found.row());
        value.map(|value| Self::read(name, value, seen)).transpose()
    }

    /// Returns whether both are parts of the same group.
    pub(crate) fn is_of(&self, row: &GroupRow) -> bool {
        self.row.incarnation == row.incarnation
    }

    /// Replaces the group's row. The transaction is refused if the row has changed since the read.
    pub(crate) fn replace(
        &self,
        transaction: &mut Transaction,
        row: &GroupRow,
    ) -> Result<(), StorageFailure> {
        transaction.guard(Guard::Is(self.id(), self.value.clone())).put(self.id(), row.to_value()?);
        Ok(())
    }

    pub(crate) fn record(&self) -> GroupRecord {
        self.row.record(self.seen)
    }
}

/// Encodes an instant.
pub(crate) fn instant_value(at: Timestamp) -> Vec<u8> {
    at.to_string().into_bytes()
}

fn instant(value: &[u8]) -> Result<Timestamp, StorageFailure> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| corrupt("an instant"))
}

/// Encodes the cursor and the claim of a segment.
pub(crate) fn segment_value(cursor: u64, claimed_to: u64) -> Vec<u8> {
    format!("{cursor}:{claimed_to}").into_bytes()
}

/// Decodes the cursor and the claim of a segment.
pub(crate) fn cursor_and_claim(value: &[u8]) -> Result<(u64, u64), StorageFailure> {
    let read = || {
        let (cursor, claimed) = std::str::from_utf8(value).ok()?.split_once(':')?;
        Some((cursor.parse().ok()?, claimed.parse().ok()?))
    };
    read().ok_or_else(|| corrupt("where a segment is"))
}

/// The newest lease of a segment. It may commit until another lease replaces it, even after it expired or was returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) epoch: u64,
    pub(crate) token: u64,
}

impl Fence {
    pub(crate) fn read(value: &[u8]) -> Result<Self, StorageFailure> {
        let (epoch, token) = cursor_and_claim(value).map_err(|_| corrupt("a lease"))?;
        Ok(Self { epoch, token })
    }

    pub(crate) fn value(self) -> Vec<u8> {
        format!("{}:{}", self.epoch, self.token).into_bytes()
    }

    /// Returns the partition's generation in which the lease was granted. The lease may commit only in this generation.
    pub(crate) fn generation(self) -> u64 {
        self.epoch >> 32
    }
}

/// The expiry and the consumer of a segment's lease. Absent after the consumer returned the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseRow {
    pub(crate) until: Timestamp,
    pub(crate) consumer: String,
}

impl LeaseRow {
    pub(crate) fn read(value: &[u8]) -> Result<Self, StorageFailure> {
        from_json(value, "the time of a lease")
    }
}

/// A consumer that counts as alive until an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConsumerRow {
    pub(crate) token: u64,
    pub(crate) until: Timestamp,
}

impl ConsumerRow {
    pub(crate) fn read(value: &[u8]) -> Result<Self, StorageFailure> {
        from_json(value, "a consumer")
    }
}

/// A batch of references to replayed events in a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneRow {
    pub(crate) origin: LaneOrigin,
    /// The group's incarnation.
    pub(crate) incarnation: String,
    pub(crate) positions: Vec<u64>,
}

impl LaneRow {
    pub(crate) fn read(place: u64, value: &[u8]) -> Result<Self, StorageFailure> {
        from_json(value, format_args!("the batch {place} of a lane"))
    }

    /// Returns the number of references, in the type of the lane sizes.
    pub(crate) fn references(&self) -> i64 {
        i64::try_from(self.positions.len()).unwrap_or(i64::MAX)
    }

    pub(crate) fn batch(self, segment: u16, seq: u64, progress: LaneProgress) -> LaneBatch {
        LaneBatch { seq, segment, origin: self.origin, positions: self.positions, progress }
    }
}

pub(crate) fn progress(place: u64, value: &[u8]) -> Result<LaneProgress, StorageFailure> {
    from_json(value, format_args!("the progress of the batch {place} of a lane"))
}

/// Returns the stored progress of the batch at a key, if there is any.
pub(crate) fn progress_at(noted: &Rows, key: &[u8]) -> Result<Option<LaneProgress>, StorageFailure> {
    value_at(noted, key).map(|value| progress(number_in(key)?, value)).transpose()
}

impl Partition<'_> {
    /// Returns every group, sorted by name.
    pub(crate) async fn groups(self) -> Result<Vec<Group>, StorageFailure> {
        let kinds = [SpaceKind::Group, SpaceKind::GroupSeen];
        let mut found = self.all_of(kinds.map(Space::of)).await?;
        let (groups, seen) = (found.range(), found.range());
        let mut groups = groups
            .into_iter()
            .map(|(key, value)| {
                Group::read(&text_in(&key)?, value, value_at(&seen, &key).map(<[u8]>::to_vec))
            })
            .collect::<Result<Vec<_>, _>>()?;
        groups.sort_by(|one, other| one.name().cmp(other.name()));
        Ok(groups)
    }

    /// Returns a group by name.
    pub(crate) async fn group(self, name: &str) -> Result<Option<Group>, StorageFailure> {
        Group::of(name, &mut self.get(&Group::reads(name)).await?)
    }

    /// Returns the incarnation of each of these groups, and none for a group that does not exist.
    pub(crate) async fn incarnations(self, names: &[&str]) -> Result<Vec<Option<String>>, StorageFailure> {
        let reads: Vec<Read> =
            names.iter().map(|name| Read::Row(named(SpaceKind::Incarnation, name))).collect();
        let mut found = self.get(&reads).await?;
        names.iter().map(|_| found.row().map(text).transpose()).collect()
    }
}
