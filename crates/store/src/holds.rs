//! The holds of a partition: the events that a trim must keep for the store's checkpoints, replays and groups. Also the
//! gaps: the events that a group lost because nothing held them.
//!
//! The rows of one partition are read one after the other, so a trim may miss a hold that begins meanwhile. A caller
//! that begins a new hold adds to the counter `holds` in the same step. With several partitions it adds to the counter
//! of each before it answers. A removal that was decided before is then refused.

use domain::{
    Cursor, StorageFailure,
    group::{Gap, GroupRecord},
    holds::{Holds, SegmentProgress, Unpassed},
    ports::{
        EventStoreError, GroupHolds, Order,
        engine::{Entry, Guard, PartitionState, Scan, SpaceKind, Transaction, log::sequence_of},
    },
    time::earlier,
};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use crate::{
    Store,
    groups::{
        record::{Group, LaneRow, cursor_and_claim},
        status::blocked_keys,
    },
    partition::Partition,
    rows::{HOLDS, counter, named, number_in, of, of_segment, read_rows, segment_in},
};

/// Makes concurrent trims of these partitions notice a new hold.
pub(crate) async fn bump_hold_versions(
    partitions: impl Iterator<Item = Partition<'_>>,
) -> Result<(), StorageFailure> {
    let mut transaction = Transaction::durable();
    transaction.add(counter(HOLDS), 1);
    let transaction = &transaction;
    try_join_all(partitions.map(|partition| partition.commit_one(transaction))).await.map(drop)
}

/// The holds in one partition, and the events that its groups have not passed.
pub(crate) struct PartitionHolds {
    pub(crate) holds: Holds,
    /// Groups without a visit from a consumer for so long that they hold nothing. Each has the row with its last visit.
    forgotten: Vec<(String, Option<Vec<u8>>)>,
    groups: Vec<HeldGroup>,
}

/// A group with the events that it has not passed, and its current row.
struct HeldGroup {
    group: Group,
    unpassed: Unpassed,
}

/// The gaps that a removal is about to record.
pub(crate) struct RecordedGaps(Vec<(usize, Group)>);

impl Store {
    /// Returns the marks that the store's own checkpoints and replays hold, with their holders.
    ///
    /// The marks lie in partition 0. They are read before any partition removes an event.
    pub(crate) async fn own_marks(
        &self,
        states: &[PartitionState],
    ) -> Result<Vec<(Vec<u64>, String)>, EventStoreError> {
        let checkpoints = self.checkpoints().await?.into_iter().filter(|checkpoint| checkpoint.hold);
        let mut held: Vec<(Cursor, String)> =
            checkpoints.map(|it| (it.mark, format!("checkpoint {}", it.name))).collect();
        for replay in self.open_replays().await? {
            held.extend(replay.hold.map(|mark| (mark, format!("replay {}", replay.id))));
        }
        held.into_iter().map(|(mark, holder)| Ok((self.own_mark(states, &mark, &holder)?, holder))).collect()
    }

    /// Returns the sequences of a mark of the store. A mark in a lost part of the log becomes the end of the remaining
    /// part.
    fn own_mark(
        &self,
        states: &[PartitionState],
        mark: &Cursor,
        holder: &str,
    ) -> Result<Vec<u64>, EventStoreError> {
        let left = |(state, sequence): (&PartitionState, &u64)| {
            state.end_before(*sequence).map_or(*sequence, |end| end.last)
        };
        let sequences: Vec<u64> = states.iter().zip(&mark.sequences).map(left).collect();
        let named = |error| match error {
            EventStoreError::LostCursor(why) => EventStoreError::LostCursor(format!("{holder}: {why}")),
            other => other,
        };
        self.sequences_of(states, &Cursor { sequences, ..mark.clone() }).map_err(named)
    }
}

impl Partition<'_> {
    /// Returns the holds of groups in this partition, with the firm holds. A firm hold keeps every event after its
    /// mark.
    pub(crate) async fn holds(
        self,
        firm: impl Iterator<Item = (u64, String)>,
        of_groups: GroupHolds,
        now: Timestamp,
    ) -> Result<PartitionHolds, StorageFailure> {
        let mut holds = Holds::new(of_groups.max_hold.map(|most| earlier(now, most)));
        for (mark, holder) in firm {
            holds.hold(mark, holder);
        }
        let forgotten_before = earlier(now, of_groups.forgotten_after);
        let mut found = PartitionHolds { holds, forgotten: Vec::new(), groups: Vec::new() };
        for group in self.groups().await? {
            let unpassed = self.unpassed(&group).await?;
            if group.seen < forgotten_before {
                found.forgotten.push((group.name().to_owned(), group.seen_value.clone()));
            } else {
                found.holds.hold_for_group(unpassed.mark(), format!("group {}", group.name()));
            }
            found.groups.push(HeldGroup { group, unpassed });
        }
        Ok(found)
    }

    /// Returns the events that a group has not passed in this partition.
    async fn unpassed(self, group: &Group) -> Result<Unpassed, StorageFailure> {
        let name = group.name();
        // The cursors are read first. A commit that moves a cursor may block keys. Their events are then after the
        // cursor read here.
        let cursors = self.all(of(SpaceKind::Segment, name)).await?;
        let segments: Vec<(u16, (u64, u64))> = read_rows(cursors, segment_in, cursor_and_claim)?;
        let kinds = [SpaceKind::Blocked, SpaceKind::Lane];
        let spaces = |(segment, _): &(u16, _)| kinds.map(|kind| of_segment(kind, name, *segment));
        let mut found = self.all_of(segments.iter().flat_map(spaces)).await?;
        let mut progress = Vec::with_capacity(segments.len());
        for (_, (cursor, _)) in segments {
            let blocked = blocked_keys(found.range())?;
            let mut lane = Vec::new();
            for (key, value) in found.range() {
                lane.extend(LaneRow::read(number_in(&key)?, &value)?.positions);
            }
            progress.push(SegmentProgress { cursor, blocked, lane });
        }
        Ok(Unpassed::new(group.row.spec.key.clone(), progress))
    }

    /// Returns whether the log has no event between two sequences (both exclusive).
    async fn nothing_between(self, from: u64, to: u64) -> Result<bool, StorageFailure> {
        if from + 1 >= to {
            return Ok(true);
        }
        let filter = std::sync::Arc::default();
        let request = Scan {
            filter: &filter,
            order: Order::OldestFirst,
            after: Some(from),
            until: Some(to - 1),
            limit: 1,
            max_bytes: 1,
        };
        let page = self.scan(&request).await?;
        Ok(page.entries.is_empty() && page.next.is_none())
    }
}

impl PartitionHolds {
    /// Extends a removal, so that it records in each group a gap for the removed events that the group has not passed.
    /// The events must be in ascending order. The removal is refused if a consumer visits a group without holds
    /// meanwhile.
    pub(crate) async fn record_gaps(
        &self,
        partition: Partition<'_>,
        going: &[Entry],
        now: Timestamp,
        transaction: &mut Transaction,
    ) -> Result<RecordedGaps, StorageFailure> {
        for (name, seen) in &self.forgotten {
            transaction.guard(Guard::still(named(SpaceKind::GroupSeen, name), seen.as_deref()));
        }
        let mut recorded = Vec::new();
        for (index, held) in self.groups.iter().enumerate() {
            let is_lost = |entry: &&Entry| {
                held.unpassed.has(sequence_of(entry), entry.as_ref().ok().map(|stored| &stored.event))
            };
            let mut lost = going.iter().filter(is_lost).map(sequence_of);
            let Some(from) = lost.next() else { continue };
            let to = lost.next_back().unwrap_or(from);
            let last = held.group.row.gaps.last().filter(|last| last.partition == partition.number);
            let joins = match last {
                Some(last) => partition.nothing_between(last.to, from).await?,
                None => false,
            };
            let mut after = held.group.clone();
            let gap = Gap { partition: partition.number, from, to, at: now };
            domain::group::note_gap(&mut after.row.gaps, gap, joins);
            after.value = after.row.to_value()?;
            held.group.replace(transaction, &after.row)?;
            recorded.push((index, after));
        }
        Ok(RecordedGaps(recorded))
    }

    /// Stores the recorded gaps in the cached groups after the removal.
    pub(crate) fn recorded(&mut self, gaps: RecordedGaps) {
        for (index, group) in gaps.0 {
            if let Some(held) = self.groups.get_mut(index) {
                held.group = group;
            }
        }
    }
}

/// Adds the gaps of a group in another partition, in the order of their times.
pub(crate) fn add_gaps(record: &mut GroupRecord, gaps: Vec<Gap>) {
    record.gaps.extend(gaps);
    record.gaps.sort_by_key(|gap| gap.at);
}
