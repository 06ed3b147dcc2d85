//! Creates, resets and deletes groups.
//!
//! A group exists when partition 0 has its row. With several partitions, partition 0 first stores a draft: the group's
//! incarnation and its starting positions. A later caller, or a caller that finds the draft after a crash, creates the
//! group of the draft. It does so from the last partition to the first. All partitions therefore have parts of the same
//! group, wherever the first caller stopped. A part with another incarnation is a remainder of a deleted group, and is
//! deleted first.

use domain::{
    Cursor, StorageFailure,
    group::{GroupKey, GroupRecord, GroupSpec, PassedEvents},
    ports::{
        GroupStoreError, MadeGroup,
        engine::{Guard, Read, RowId, Snapshot, SpaceKind, Transaction},
    },
};

use super::{
    record::{Group, GroupRow, OF_GROUP, cursor_and_claim, instant_value, segment_value},
    status::blocked_keys,
};
use crate::{
    Store,
    partition::Partition,
    retry::OptimisticRetry,
    rows::{HOLDS, Rows, by_segment, counter, from_json, named, of, of_segment, read_values, redrives},
};

/// The state of a group's name in partition 0.
enum Known {
    /// The group exists.
    Made(Group),
    /// A group that is being created, and the value of its draft.
    Draft(GroupRow, Vec<u8>),
    Nothing,
}

impl Known {
    fn incarnation(&self) -> Option<&str> {
        match self {
            Self::Made(group) => Some(&group.row.incarnation),
            Self::Draft(row, _) => Some(&row.incarnation),
            Self::Nothing => None,
        }
    }
}

fn draft_row(name: &str) -> RowId {
    named(SpaceKind::GroupDraft, name)
}

impl Store {
    /// Returns the spec of the group to create. With several partitions, each gets the same number of segments, and
    /// together they have at least the requested number.
    fn divided(&self, spec: &GroupSpec) -> Result<GroupSpec, GroupStoreError> {
        spec.check()?;
        let partitions = self.partition_count();
        if partitions > 1 && spec.key != GroupKey::Event {
            return Err(GroupStoreError::OrderCrossesPartitions { partitions });
        }
        let segments = spec.segments.div_ceil(partitions).saturating_mul(partitions);
        Ok(GroupSpec { segments, ..spec.clone() })
    }

    async fn marks(&self, at: &Cursor) -> Result<Vec<u64>, GroupStoreError> {
        let states = self.states().await?;
        self.sequences_of(&states, at).map_err(|error| GroupStoreError::BadCursor(error.to_string()))
    }

    async fn known_group(&self, name: &str) -> Result<Known, StorageFailure> {
        // The draft is read before the group. The step that creates the group deletes the draft.
        let draft = match self.is_single() {
            true => None,
            false => self.first().row(draft_row(name)).await?,
        };
        if let Some(group) = self.first().group(name).await? {
            return Ok(Known::Made(group));
        }
        let Some(draft) = draft else { return Ok(Known::Nothing) };
        Ok(Known::Draft(from_json(&draft, format_args!("the draft of the group {name:?}"))?, draft))
    }

    pub(super) async fn find_or_make(
        &self,
        spec: &GroupSpec,
        at: &Cursor,
    ) -> Result<MadeGroup, GroupStoreError> {
        let spec = self.divided(spec)?;
        // The group of this call's draft is new, even when another call completes it.
        let mut drafted = None;
        let mut retry = OptimisticRetry::new();
        loop {
            match self.known_group(&spec.name).await? {
                Known::Made(group) => {
                    if let Some(record) = self.adopt(&group, &spec).await? {
                        let is_new = drafted.as_ref() == Some(&group.row.incarnation);
                        return Ok(MadeGroup { record, is_new });
                    }
                }
                Known::Draft(row, draft) => self.make_drafted(row, &draft).await?,
                Known::Nothing => {
                    let marks = self.marks(at).await?;
                    let now = self.first().now().await?;
                    if self.is_single() {
                        let row = GroupRow::new(&spec, now, Vec::new());
                        let mark = marks.first().copied().unwrap_or(0);
                        if self.first().is_committed(&self.making(self.first(), &row, mark)?).await? {
                            return Ok(MadeGroup { record: row.record(row.created), is_new: true });
                        }
                    } else {
                        let row = GroupRow::new(&spec, now, marks);
                        let draft = row.to_value()?;
                        let mut transaction = Transaction::durable();
                        transaction.guard(Guard::Absent(named(SpaceKind::Group, &spec.name)));
                        transaction.guard(Guard::Absent(draft_row(&spec.name)));
                        transaction.put(draft_row(&spec.name), draft.clone());
                        if self.first().is_committed(&transaction).await? {
                            drafted = Some(row.incarnation.clone());
                            self.make_drafted(row, &draft).await?;
                        }
                        continue;
                    }
                }
            }
            retry.again().await?;
        }
    }

    /// Creates a drafted group in every partition, in partition 0 last. Stops when another caller has finished the
    /// group.
    async fn make_drafted(&self, row: GroupRow, draft: &[u8]) -> Result<(), StorageFailure> {
        for partition in self.others().rev() {
            self.make_part(partition, &row).await?;
        }
        let name = &row.spec.name;
        let mut transaction = self.making(self.first(), &row, mark_in(&row, 0))?;
        transaction.guard(Guard::Is(draft_row(name), draft.to_vec())).delete(draft_row(name));
        let mut retry = OptimisticRetry::new();
        while !self.first().is_committed(&transaction).await? {
            match self.known_group(name).await? {
                Known::Draft(now, _) if now.incarnation == row.incarnation => retry.again().await?,
                _ => break,
            }
        }
        Ok(())
    }

    /// Creates a group's part in a partition, unless the part exists.
    async fn make_part(&self, partition: Partition<'_>, row: &GroupRow) -> Result<(), StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            match partition.group(&row.spec.name).await? {
                Some(there) if there.is_of(row) => return Ok(()),
                Some(other) => {
                    // The part was read before the name's state in partition 0. A different incarnation in the part is
                    // therefore the older one.
                    if self.known_group(&row.spec.name).await?.incarnation() != Some(&row.incarnation) {
                        return Ok(());
                    }
                    self.delete_part(partition, &other).await?;
                }
                None => {
                    let part = GroupRow { marks: Vec::new(), gaps: Vec::new(), ..row.clone() };
                    let transaction = self.making(partition, &part, mark_in(row, partition.number))?;
                    if partition.is_committed(&transaction).await? {
                        return Ok(());
                    }
                }
            }
            retry.again().await?;
        }
    }

    /// Restores the part of a group in a partition that has lost it. Fails if the group no longer exists. The events that
    /// the lost part had passed are then unknown.
    pub(super) async fn mend_group(
        &self,
        partition: Partition<'_>,
        name: &str,
    ) -> Result<(), GroupStoreError> {
        match self.first().group(name).await? {
            Some(group) => Ok(self.make_part(partition, &restored(&group.row)).await?),
            None => Err(GroupStoreError::NoGroup(name.to_owned())),
        }
    }

    /// Returns the transaction that creates a group's rows in a partition. It is refused if the group exists there.
    fn making(
        &self,
        partition: Partition<'_>,
        row: &GroupRow,
        mark: u64,
    ) -> Result<Transaction, StorageFailure> {
        let name = &row.spec.name;
        let group = named(SpaceKind::Group, name);
        let mut transaction = Transaction::durable();
        let passed = row.passed.as_ref().map(|_| PassedEvents::of_new_group(mark));
        let value = GroupRow { began_after: mark, passed, ..row.clone() }.to_value()?;
        transaction.guard(Guard::Absent(group.clone())).put(group, value);
        transaction.put(named(SpaceKind::Incarnation, name), row.incarnation.as_bytes());
        transaction.put(named(SpaceKind::GroupSeen, name), instant_value(row.created));
        self.place_segments(&mut transaction, partition, row, mark);
        Ok(transaction)
    }

    /// Sets the cursor and the claim of every segment of a partition to a mark.
    fn place_segments(
        &self,
        transaction: &mut Transaction,
        partition: Partition<'_>,
        row: &GroupRow,
        mark: u64,
    ) {
        for segment in row.segments(partition.number, self.partition_count()) {
            let id = by_segment(SpaceKind::Segment, &row.spec.name, segment);
            transaction.put(id, segment_value(mark, mark));
        }
        transaction.add(counter(HOLDS), 1);
    }

    /// Updates the event types of an existing group. Nothing else changes. Returns none if the group was deleted
    /// meanwhile.
    async fn adopt(&self, group: &Group, spec: &GroupSpec) -> Result<Option<GroupRecord>, GroupStoreError> {
        let existing = &group.row.spec;
        if (&existing.key, existing.segments) != (&spec.key, spec.segments) {
            let (name, existing) = (spec.name.clone(), existing.describe());
            return Err(GroupStoreError::Differs { name, existing });
        }
        for partition in self.others().rev() {
            self.make_part(partition, &restored(&group.row)).await?;
        }
        let name = &spec.name;
        for partition in self.partitions().rev() {
            let known = match partition.number {
                0 => Some(group.clone()),
                _ => partition.group(name).await?,
            };
            // The segments and the blocked keys are read only for a change. If they were not read, no event counts as
            // passed.
            let reads = match known.filter(|known| known.row.spec.types != spec.types) {
                Some(known) => self.reads_of_passed(partition, &known.row),
                None => Group::reads(name).to_vec(),
            };
            let decision = |mut found: Snapshot| {
                let part = Group::of(name, &mut found)?.filter(|part| part.is_of(&group.row));
                let Some(mut part) = part else { return Ok((None, None)) };
                if part.row.spec.types == spec.types {
                    return Ok((Some(part.record()), None));
                }
                let segments = part.row.segments(partition.number, self.partition_count()).count();
                if let Some(passed) = &mut part.row.passed {
                    let through = passed_by_all(&mut found, segments)?;
                    passed.change_types(part.row.spec.types.clone(), through);
                }
                let mut transaction = Transaction::durable();
                part.row.spec.types.clone_from(&spec.types);
                part.replace(&mut transaction, &part.row)?;
                Ok::<_, StorageFailure>((Some(part.record()), Some(transaction)))
            };
            let record = partition.decide(&reads, decision).await?;
            if record.is_none() || partition.number == 0 {
                return Ok(record);
            }
        }
        Ok(None)
    }

    /// Returns the reads of a group, followed by the reads of its segments and of the blocked keys of each segment.
    fn reads_of_passed(&self, partition: Partition<'_>, row: &GroupRow) -> Vec<Read> {
        let name = &row.spec.name;
        let segments = row.segments(partition.number, self.partition_count());
        let blocked = segments.map(|segment| Read::all(of_segment(SpaceKind::Blocked, name, segment)));
        reads_with_segments(name).into_iter().chain(blocked).collect()
    }

    /// Deletes a group, from partition 0 on. Without its row in partition 0 the group does not exist, even if other
    /// partitions still have parts of it.
    pub(super) async fn remove_group(&self, name: &str) -> Result<bool, StorageFailure> {
        let deleted = match self.first().group(name).await? {
            Some(group) => self.delete_part(self.first(), &group).await?,
            None => false,
        };
        for partition in self.others() {
            let Some(part) = partition.group(name).await? else { continue };
            // The part was read before the name's state in partition 0. It therefore cannot belong to a group that is
            // being created now.
            if self.known_group(name).await?.incarnation() != Some(&part.row.incarnation) {
                self.delete_part(partition, &part).await?;
            }
        }
        Ok(deleted)
    }

    /// Deletes a group's part if it still has the incarnation that was read. It first reopens dead letters in redrive,
    /// because their references are deleted with the group.
    async fn delete_part(&self, partition: Partition<'_>, group: &Group) -> Result<bool, StorageFailure> {
        let name = group.name();
        let mut retry = OptimisticRetry::new();
        loop {
            let now = partition.group(name).await?.filter(|now| now.is_of(&group.row));
            let Some(now) = now else { return Ok(false) };
            let redriven = partition.row(redrives(name)).await?;
            partition.reopen_redriving(name).await?;
            let mut transaction = Transaction::durable();
            transaction.guard(Guard::Is(now.id(), now.value.clone()));
            transaction.guard(Guard::still(redrives(name), redriven.as_deref()));
            for kind in [SpaceKind::Group, SpaceKind::Incarnation, SpaceKind::GroupSeen] {
                transaction.delete(named(kind, name));
            }
            transaction.delete(redrives(name));
            for kind in OF_GROUP {
                transaction.clear(of(kind, name));
            }
            for segment in now.row.segments(partition.number, self.partition_count()) {
                for kind in [SpaceKind::Blocked, SpaceKind::Lane, SpaceKind::LaneProgress] {
                    transaction.clear(of_segment(kind, name, segment));
                }
            }
            if partition.is_committed(&transaction).await? {
                return Ok(true);
            }
            retry.again().await?;
        }
    }

    /// Resets a group, one partition after the other. After an interruption some partitions are reset and others are
    /// not, until the caller repeats the reset.
    pub(super) async fn move_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
        let marks = self.marks(at).await?;
        if self.first().group(name).await?.is_none() {
            return Err(GroupStoreError::NoGroup(name.to_owned()));
        }
        for partition in self.partitions().rev() {
            let mut retry = OptimisticRetry::new();
            while !self.move_part(partition, name, &marks).await? {
                if partition.number == 0 {
                    return Err(GroupStoreError::NoGroup(name.to_owned()));
                }
                self.mend_group(partition, name).await?;
                retry.again().await?;
            }
        }
        Ok(())
    }

    /// Resets a group's part. Returns whether the part exists. The lanes keep their batches and their last places.
    async fn move_part(
        &self,
        partition: Partition<'_>,
        name: &str,
        marks: &[u64],
    ) -> Result<bool, StorageFailure> {
        let decision = |mut found: Snapshot| {
            let Some(group) = Group::of(name, &mut found)? else { return Ok((false, None)) };
            let keeps_marks = partition.number == 0 && !self.is_single();
            let kept = if keeps_marks { marks.to_vec() } else { Vec::new() };
            let mark = marks.get(usize::from(partition.number)).copied().unwrap_or(0);
            let segments = found.range();
            let passed = passed_by_reset(&group.row, &segments, mark)?;
            let row =
                GroupRow { gaps: Vec::new(), marks: kept, began_after: mark, passed, ..group.row.clone() };
            let mut transaction = Transaction::durable();
            group.replace(&mut transaction, &row)?;
            if row.passed.is_some() {
                // A claim that is committed meanwhile would be left out of the events that were read.
                for (key, value) in segments {
                    let segment = of(SpaceKind::Segment, name).into_row(key);
                    transaction.guard(Guard::Is(segment, value));
                }
            }
            for kind in [SpaceKind::Fence, SpaceKind::Lease] {
                transaction.clear(of(kind, name));
            }
            for segment in row.segments(partition.number, self.partition_count()) {
                transaction.clear(of_segment(SpaceKind::Blocked, name, segment));
            }
            self.place_segments(&mut transaction, partition, &row, mark);
            Ok::<_, StorageFailure>((true, Some(transaction)))
        };
        partition.decide(&reads_with_segments(name), decision).await
    }
}

/// Returns the reads of a group, followed by the read of its segments.
fn reads_with_segments(name: &str) -> Vec<Read> {
    let segments = Read::all(of(SpaceKind::Segment, name));
    Group::reads(name).into_iter().chain([segments]).collect()
}

/// Returns the sequence up to which every segment has passed the log, and before the events of blocked keys. The group
/// reads the later events of a blocked key again. Cursors only rise, and so do the events of blocked keys, so a
/// transaction needs no guard for them.
fn passed_by_all(found: &mut Snapshot, segments: usize) -> Result<u64, StorageFailure> {
    let cursors = read_values(found.range(), cursor_and_claim)?.into_iter();
    let mut through = cursors.map(|(cursor, _)| cursor).min().unwrap_or(0);
    for _ in 0..segments {
        let first = blocked_keys(found.range())?.first().map(|row| row.position);
        through = first.map_or(through, |first| through.min(first.saturating_sub(1)));
    }
    Ok(through)
}

/// Returns the row from which a lost part of a group is restored.
fn restored(row: &GroupRow) -> GroupRow {
    GroupRow { passed: None, ..row.clone() }
}

/// Returns the events that a group has passed without delivering them, after a reset to a mark.
fn passed_by_reset(
    row: &GroupRow,
    segments: &Rows,
    mark: u64,
) -> Result<Option<PassedEvents>, StorageFailure> {
    let Some(mut passed) = row.passed.clone() else { return Ok(None) };
    let mut read_to = None;
    for (_, value) in segments {
        let (_, claimed_to) = cursor_and_claim(value)?;
        read_to = read_to.max(Some(claimed_to).filter(|claimed_to| *claimed_to > row.began_after));
    }
    passed.reset(mark, read_to);
    Ok(Some(passed))
}

/// Returns the starting position of a group in a partition, as the group's row states it.
fn mark_in(row: &GroupRow, partition: u16) -> u64 {
    row.marks.get(usize::from(partition)).copied().unwrap_or(0)
}
