//! The status of groups. It only reads, so that a caller without write permission can use it.

use std::collections::{BTreeMap, HashMap};

use domain::{
    StorageFailure,
    group::{BlockedKey, ConsumerStatus, GroupRecord, GroupStatus, SegmentStatus},
    ports::engine::SpaceKind,
};
use futures_util::future::join_all;
use jiff::Timestamp;

use super::record::{ConsumerRow, Fence, LeaseRow, cursor_and_claim};
use crate::{
    Store,
    holds::add_gaps,
    partition::Partition,
    reached::reached,
    rows::{Rows, from_json, number, of, of_segment, read_rows, read_values, segment_in, text_in},
};

/// The state of a group in one partition.
struct PartitionStatus {
    record: GroupRecord,
    segments: Vec<SegmentStatus>,
    consumers: Vec<ConsumerStatus>,
}

impl Store {
    /// Returns every group, sorted by name. Partition 0 decides which groups exist.
    pub(super) async fn group_records(&self) -> Result<Vec<GroupRecord>, StorageFailure> {
        let mut parts = self.in_all(Partition::groups).await?.into_iter();
        let first = parts.next().unwrap_or_default();
        let mut records: Vec<GroupRecord> = first.iter().map(super::record::Group::record).collect();
        for of_partition in parts.flatten() {
            let is_it = |record: &&mut GroupRecord| record.spec.name == of_partition.row.spec.name;
            if let Some(record) = records.iter_mut().find(is_it) {
                add_record(record, of_partition.record());
            }
        }
        Ok(records)
    }

    pub(super) async fn group_status(&self, name: &str) -> Result<Option<GroupStatus>, StorageFailure> {
        let asks = self.partitions().map(|partition| partition.part_status(name, self.partition_count()));
        let parts = reached(join_all(asks).await)?;
        let is_missing = |(_, part): &(u16, &Option<Option<PartitionStatus>>)| part.is_none();
        let unreachable = (0u16..).zip(&parts).filter(is_missing).map(|(number, _)| number).collect();
        // The first reachable partition decides whether the group exists.
        let mut parts = parts.into_iter().flatten();
        let Some(Some(first)) = parts.next() else { return Ok(None) };
        let mut whole = GroupStatus {
            record: first.record,
            segments: first.segments,
            consumers: Vec::new(),
            unreachable,
        };
        let mut consumers: BTreeMap<String, ConsumerStatus> = BTreeMap::new();
        let mut add_consumers = |of_part: Vec<ConsumerStatus>| {
            for own in of_part {
                let known = consumers
                    .entry(own.name.clone())
                    .or_insert(ConsumerStatus { segments: 0, ..own.clone() });
                known.alive_until = known.alive_until.max(own.alive_until);
                known.segments += own.segments;
            }
        };
        add_consumers(first.consumers);
        // A partition without its part of the group is about to lose the group, or to be repaired.
        for part in parts.flatten() {
            add_record(&mut whole.record, part.record);
            whole.segments.extend(part.segments);
            add_consumers(part.consumers);
        }
        whole.segments.sort_by_key(|status| status.segment);
        whole.consumers = consumers.into_values().collect();
        Ok(Some(whole))
    }
}

/// Adds the record of another partition to a group's record.
fn add_record(record: &mut GroupRecord, of_partition: GroupRecord) {
    record.last_seen_at = record.last_seen_at.max(of_partition.last_seen_at);
    add_gaps(record, of_partition.gaps);
}

impl Partition<'_> {
    async fn part_status(
        self,
        name: &str,
        partitions: u16,
    ) -> Result<Option<PartitionStatus>, StorageFailure> {
        let Some(group) = self.group(name).await? else { return Ok(None) };
        let kinds = [
            SpaceKind::Segment,
            SpaceKind::Fence,
            SpaceKind::Lease,
            SpaceKind::LaneSize,
            SpaceKind::Consumer,
        ];
        let numbers: Vec<u16> = group.row.segments(self.number, partitions).collect();
        let blocked = numbers.iter().map(|segment| of_segment(SpaceKind::Blocked, name, *segment));
        let mut found = self.all_of(kinds.map(|kind| of(kind, name)).into_iter().chain(blocked)).await?;
        let cursors: HashMap<u16, (u64, u64)> = read_rows(found.range(), segment_in, cursor_and_claim)?;
        let fences: HashMap<u16, Fence> = read_rows(found.range(), segment_in, Fence::read)?;
        let mut owners: HashMap<u16, LeaseRow> = read_rows(found.range(), segment_in, LeaseRow::read)?;
        let is_of_now =
            |segment: &u16| fences.get(segment).is_some_and(|fence| fence.generation() == found.generation);
        owners.retain(|segment, lease| is_of_now(segment) && found.now < lease.until);
        let lanes: HashMap<u16, u64> = read_rows(found.range(), segment_in, |value| number(Some(value)))?;
        let consumers = alive(found.range(), found.now)?;
        let mut segments = Vec::with_capacity(numbers.len());
        for segment in numbers {
            let blocked = blocked_keys(found.range())?;
            let Some((cursor, _)) = cursors.get(&segment) else { continue };
            segments.push(SegmentStatus {
                segment,
                partition: self.number,
                consumer: owners.get(&segment).map(|lease| lease.consumer.clone()),
                cursor: *cursor,
                blocked_keys: blocked.len() as u64,
                parked_keys: blocked.iter().filter(|row| row.due.is_none()).count() as u64,
                oldest_blocked: blocked.iter().map(|row| row.position).min(),
                lane: lanes.get(&segment).copied().unwrap_or(0),
            });
        }
        let count = |name: &String| {
            segments.iter().filter(|status| status.consumer.as_ref() == Some(name)).count() as u16
        };
        let consumers = consumers.into_iter().map(|(name, alive_until)| ConsumerStatus {
            segments: count(&name),
            name,
            alive_until,
        });
        Ok(Some(PartitionStatus { record: group.record(), consumers: consumers.collect(), segments }))
    }

    /// Returns every blocked key of a group in this partition, with its segment.
    pub(super) async fn all_blocked(
        self,
        name: &str,
        partitions: u16,
    ) -> Result<Vec<(u16, BlockedKey)>, StorageFailure> {
        let Some(group) = self.group(name).await? else { return Ok(Vec::new()) };
        let segments: Vec<u16> = group.row.segments(self.number, partitions).collect();
        let of_blocked = |segment: &u16| of_segment(SpaceKind::Blocked, name, *segment);
        let mut found = self.all_of(segments.iter().map(of_blocked)).await?;
        let mut all = Vec::new();
        for segment in segments {
            all.extend(blocked_keys(found.range())?.into_iter().map(|row| (segment, row)));
        }
        Ok(all)
    }
}

/// Decodes the blocked keys of a segment, sorted by position.
pub(crate) fn blocked_keys(rows: Rows) -> Result<Vec<BlockedKey>, StorageFailure> {
    let mut blocked: Vec<BlockedKey> = read_values(rows, |value| from_json(value, "a blocked key"))?;
    blocked.sort_by_key(|row| row.position);
    Ok(blocked)
}

/// Returns the names of the consumers whose time is not over, each with its expiry, sorted by name.
fn alive(rows: Rows, now: Timestamp) -> Result<Vec<(String, Timestamp)>, StorageFailure> {
    let rows: BTreeMap<String, ConsumerRow> = read_rows(rows, text_in, ConsumerRow::read)?;
    let alive = rows.into_iter().filter(|(_, row)| now < row.until);
    Ok(alive.map(|(name, row)| (name, row.until)).collect())
}
