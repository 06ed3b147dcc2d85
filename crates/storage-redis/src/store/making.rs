//! Making, resetting and deleting a group in all partitions.
//!
//! A group is there when partition 0 has its record. Before anything of it is made, partition 0 notes what is being made:
//! its birth mark, and where it begins. Whoever wants the group then, or finds the note after a crash, makes just that, in
//! the partitions from the last to the first; so all partitions have parts of one group, wherever who made it was
//! interrupted. What has another birth mark is left over from a group that was deleted: it goes before.

use domain::{
    Cursor, StorageFailure,
    group::{GroupKey, GroupRecord, GroupSpec, MAX_SEGMENTS},
    ports::GroupStoreError,
};
use redis::{Value, cmd};

use super::RedisStore;
use crate::{
    group_rows::{self as rows, Group, Row},
    groups::differs,
    partition::Partition,
    state::from_micros,
    tries::Tries,
    write::Write,
};

/// What partition 0 knows of a name.
enum Known {
    /// The group.
    There(Group),
    /// What is being made, and how that is noted.
    Making(Row, Vec<u8>),
    Nothing,
}

impl Known {
    fn born(&self) -> Option<&str> {
        match self {
            Self::There(group) => Some(&group.row.born),
            Self::Making(row, _) => Some(&row.born),
            Self::Nothing => None,
        }
    }
}

impl RedisStore {
    /// What each partition is to have of a group: as many segments as make at least those that were asked for.
    fn divided(&self, spec: &GroupSpec) -> Result<GroupSpec, GroupStoreError> {
        let partitions = self.partition_count();
        if spec.key != GroupKey::Event {
            return Err(GroupStoreError::OrderCrossesPartitions { partitions });
        }
        let segments = spec.segments.clamp(1, MAX_SEGMENTS).div_ceil(partitions);
        Ok(GroupSpec { segments, ..spec.clone() })
    }

    async fn known_group(&self, name: &str) -> Result<Known, StorageFailure> {
        // The note first: it goes when the group is there.
        let mut note = cmd("HGET");
        note.arg(rows::making_key(self.first().keys())).arg(name);
        let note = self.first().link().read(&note).await?;
        if let Some(group) = self.first().group_named(name).await? {
            return Ok(Known::There(group));
        }
        match note {
            Value::BulkString(text) => {
                let row = rows::from_json(&text, || format!("what is being made of the group {name:?}"))?;
                Ok(Known::Making(row, text))
            }
            _ => Ok(Known::Nothing),
        }
    }

    pub(super) async fn make_group_everywhere(
        &self,
        spec: &GroupSpec,
        at: &Cursor,
    ) -> Result<GroupRecord, GroupStoreError> {
        let spec = self.divided(spec)?;
        let mut tries = Tries::new();
        loop {
            match self.known_group(&spec.name).await? {
                Known::There(group) => {
                    if let Some(record) = self.adopt_everywhere(&group, &spec).await? {
                        return Ok(record);
                    }
                }
                Known::Making(row, note) => self.make_noted(row, &note).await?,
                Known::Nothing => {
                    let marks = self.sequences_of(&self.states().await?, at);
                    let marks = marks.map_err(|error| GroupStoreError::BadCursor(error.to_string()))?;
                    let now = from_micros(self.first().now().await?);
                    let row = Row { marks, ..Row::of(&spec, now) };
                    let note = rows::to_json(&row)?;
                    let (first, name) = (self.first(), &spec.name);
                    let making = rows::making_key(first.keys());
                    let mut write = Write::new();
                    write.fenced().if_absent(&rows::groups_key(first.keys()), name);
                    write.if_absent(&making, name).hset(&making, name, &note);
                    if first.is_group_changed(&write, &mut tries).await? {
                        self.make_noted(row, &note).await?;
                    }
                    continue;
                }
            }
            tries.again().await?;
        }
    }

    /// Makes what is noted in every partition, at last in the first. Where another has finished it meanwhile, nothing more.
    async fn make_noted(&self, row: Row, note: &[u8]) -> Result<(), GroupStoreError> {
        for partition in self.others().rev() {
            self.make_part(partition, &row).await?;
        }
        let (first, name) = (self.first(), row.spec.name.clone());
        let (making, mark) = (rows::making_key(first.keys()), mark_of(&row, first));
        let mut tries = Tries::new();
        loop {
            let (mut write, _) = first.making_group(row.clone(), mark)?;
            write.if_is(&making, &name, note).hdel(&making, &name);
            if first.is_group_changed(&write, &mut tries).await?
                || !matches!(self.known_group(&name).await?, Known::Making(now, _) if now.born == row.born)
            {
                return Ok(());
            }
        }
    }

    /// Makes a group's part in a partition, unless it is there.
    async fn make_part(&self, partition: &Partition, row: &Row) -> Result<(), StorageFailure> {
        let mut tries = Tries::new();
        loop {
            match partition.group_named(&row.spec.name).await? {
                Some(there) if there.row.born == row.born => return Ok(()),
                Some(other) => {
                    // Read before it is asked what is to be there: so it is older.
                    if self.known_group(&row.spec.name).await?.born() != Some(&row.born) {
                        return Ok(());
                    }
                    partition.delete_this_group(&other).await?;
                }
                None => {
                    let part = Row { marks: Vec::new(), gaps: Vec::new(), ..row.clone() };
                    let (write, _) = partition.making_group(part, mark_of(row, partition))?;
                    if partition.is_group_changed(&write, &mut tries).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Mends a partition that has lost its part of a group, if there is still the group.
    pub(super) async fn mend_group(&self, partition: &Partition, name: &str) -> Result<(), GroupStoreError> {
        match self.first().group_named(name).await? {
            Some(group) => Ok(self.make_part(partition, &group.row).await?),
            None => Err(GroupStoreError::NoGroup(name.to_owned())),
        }
    }

    /// Of a group that is there only the types change; none where it has changed meanwhile.
    async fn adopt_everywhere(
        &self,
        group: &Group,
        spec: &GroupSpec,
    ) -> Result<Option<GroupRecord>, GroupStoreError> {
        let existing = &group.row.spec;
        if (&existing.key, existing.segments) != (&spec.key, spec.segments) {
            let segments = existing.segments.saturating_mul(self.partition_count());
            return Err(differs(&GroupSpec { segments, ..existing.clone() }));
        }
        for partition in self.others().rev() {
            self.make_part(partition, &group.row).await?;
        }
        let mut tries = Tries::new();
        for partition in self.partitions().iter().rev() {
            loop {
                let part = partition.group_named(&spec.name).await?;
                let Some(part) = part.filter(|part| part.row.born == group.row.born) else { return Ok(None) };
                let (write, mut record) = partition.adopting_group(&part, spec)?;
                if !write.is_empty() && !partition.is_group_changed(&write, &mut tries).await? {
                    continue;
                }
                if partition.number() == 0 {
                    self.outward_record(&mut record);
                    return Ok(Some(record));
                }
                break;
            }
        }
        Ok(None)
    }

    /// From the first on: without it there is no group, whatever is left in the others.
    pub(super) async fn delete_group_everywhere(&self, name: &str) -> Result<bool, GroupStoreError> {
        let deleted = match self.first().group_named(name).await? {
            Some(group) => self.first().delete_this_group(&group).await?,
            None => false,
        };
        for partition in self.others() {
            let Some(part) = partition.group_named(name).await? else { continue };
            // Read before it is asked what is to be there: so it is not of a group that is made now.
            if self.known_group(name).await?.born() != Some(&part.row.born) {
                partition.delete_this_group(&part).await?;
            }
        }
        Ok(deleted)
    }

    /// Partition by partition: where this is interrupted some are reset and others not, until it is done again.
    pub(super) async fn reset_group_everywhere(
        &self,
        name: &str,
        at: &Cursor,
    ) -> Result<(), GroupStoreError> {
        let marks = self.sequences_of(&self.states().await?, at);
        let marks = marks.map_err(|error| GroupStoreError::BadCursor(error.to_string()))?;
        let no_group = || GroupStoreError::NoGroup(name.to_owned());
        if self.first().group_named(name).await?.is_none() {
            return Err(no_group());
        }
        for (partition, mark) in self.partitions().iter().zip(&marks).rev() {
            let mut tries = Tries::new();
            loop {
                let Some(part) = partition.group_named(name).await? else {
                    self.mend_group(partition, name).await?;
                    tries.again().await?;
                    continue;
                };
                let noted = if partition.number() == 0 { marks.clone() } else { Vec::new() };
                let write = partition.resetting_group(&part, *mark, noted)?;
                if partition.is_group_changed(&write, &mut tries).await? {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Where a group begins in a partition.
fn mark_of(row: &Row, partition: &Partition) -> u64 {
    row.marks.get(usize::from(partition.number())).copied().unwrap_or(0)
}
