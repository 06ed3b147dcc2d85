//! Consumer groups: what is kept of each, and the port whose other rooms are leases, commits and lanes.

use async_trait::async_trait;
use domain::{
    Cursor, StorageFailure,
    group::{BlockedKey, GroupKey, GroupRecord, GroupSpec, GroupStatus, LaneBatch, NewLaneBatch},
    ports::{
        CommitOutcome, EnqueueOutcome, GroupStore, GroupStoreError, LeaseRequest, Leases, ReplayLease,
        SegmentCommit,
    },
};

use crate::{
    dead_letter_rows,
    group_rows::{self as rows, Group, GroupKeys, Row},
    partition::Partition,
    state::from_micros,
    tries::Tries,
    write::{Write, Written},
};

/// Fields that one command sets.
const FIELDS_AT_ONCE: usize = 200;

/// What keeps a group's order, for people.
fn ordering(key: &GroupKey) -> String {
    match key {
        GroupKey::Event => "the order of the events' own keys".to_owned(),
        GroupKey::Correlation => "the order of correlation ids".to_owned(),
        GroupKey::Entity(kind) => format!("the order of entities of the kind {kind:?}"),
        GroupKey::All => "one order of everything".to_owned(),
    }
}

/// What a group that exists is frozen to.
pub(crate) fn differs(existing: &GroupSpec) -> GroupStoreError {
    let is = format!("{} and {} segments", ordering(&existing.key), existing.segments);
    GroupStoreError::Differs { name: existing.name.clone(), existing: is }
}

impl Partition {
    /// Does a write that was decided on what was read: whether it is done, or is to be decided again.
    pub(crate) async fn is_group_changed(
        &self,
        write: &Write,
        tries: &mut Tries,
    ) -> Result<bool, StorageFailure> {
        match write.run(self.link(), &self.keys().meta()).await? {
            Written::Done(_) => Ok(true),
            Written::Refused(_) | Written::Moved => {
                tries.again().await?;
                Ok(false)
            }
        }
    }

    /// The sequence that a cursor of this log marks.
    async fn mark_of_group(&self, cursor: &Cursor) -> Result<u64, GroupStoreError> {
        let state = self.state().await?;
        state.sequence_of(cursor).map_err(|error| GroupStoreError::BadCursor(error.to_string()))
    }

    async fn create_group_at(&self, spec: &GroupSpec, at: &Cursor) -> Result<GroupRecord, GroupStoreError> {
        let mut tries = Tries::new();
        loop {
            let (write, record) = match self.group_named(&spec.name).await? {
                Some(group) => self.adopting_group(&group, spec)?,
                None => {
                    let cursor = self.mark_of_group(at).await?;
                    self.making_group(Row::of(spec, from_micros(self.now().await?)), cursor)?
                }
            };
            if write.is_empty() || self.is_group_changed(&write, &mut tries).await? {
                return Ok(record);
            }
        }
    }

    /// Of a group that exists only the types change.
    pub(crate) fn adopting_group(
        &self,
        group: &Group,
        spec: &GroupSpec,
    ) -> Result<(Write, GroupRecord), GroupStoreError> {
        let existing = &group.row.spec;
        if (&existing.key, existing.segments) != (&spec.key, spec.segments) {
            return Err(differs(existing));
        }
        let mut write = Write::new();
        let mut adopted = group.clone();
        adopted.row.spec.types.clone_from(&spec.types);
        if adopted.row.spec.types != existing.types {
            let key = rows::groups_key(self.keys());
            write.if_is(&key, &spec.name, &group.text).hset(&key, &spec.name, rows::to_json(&adopted.row)?);
        }
        Ok((write, adopted.record()))
    }

    pub(crate) fn making_group(&self, row: Row, cursor: u64) -> Result<(Write, GroupRecord), StorageFailure> {
        let name = &row.spec.name;
        let (groups, keys) = (rows::groups_key(self.keys()), GroupKeys::new(self.keys(), name));
        let mut write = Write::new();
        write.fenced().if_absent(&groups, name);
        write.hset(&groups, name, rows::to_json(&row)?);
        write.hset(&rows::seen_key(self.keys()), name, row.created);
        write.hset(&keys.segments(), "born", &row.born).hset(&keys.segments(), "count", row.spec.segments);
        self.put_segments(&mut write, &keys, row.spec.segments, cursor);
        self.put_group_hold(&mut write);
        let created = row.created;
        Ok((write, row.record(created)))
    }

    /// Sets every segment to a cursor, with nothing claimed.
    fn put_segments(&self, write: &mut Write, keys: &GroupKeys, count: u16, cursor: u64) {
        let place = format!("{cursor}:{cursor}");
        let segments: Vec<u16> = (0..count).collect();
        for some in segments.chunks(FIELDS_AT_ONCE) {
            let fields: Vec<(String, &str)> =
                some.iter().map(|segment| (segment.to_string(), place.as_str())).collect();
            write.command("HSET", &keys.segments(), fields);
        }
    }

    /// Tells trims that something is held that was not before.
    fn put_group_hold(&self, write: &mut Write) {
        write.command("HINCRBY", &self.keys().meta(), ("holds", 1));
    }

    async fn delete_group_named(&self, name: &str) -> Result<bool, StorageFailure> {
        let mut tries = Tries::new();
        loop {
            let Some(group) = self.group_named(name).await? else { return Ok(false) };
            // What carries them goes with the group: they would be on their way for ever.
            self.strand_letters(name).await?;
            if self.is_group_changed(&self.deleting_group(&group), &mut tries).await? {
                return Ok(true);
            }
        }
    }

    /// Deletes a group if it is still the one that was read.
    pub(crate) async fn delete_this_group(&self, group: &Group) -> Result<bool, StorageFailure> {
        let mut tries = Tries::new();
        loop {
            match self.group_named(group.name()).await? {
                Some(now) if now.row.born == group.row.born => {
                    self.strand_letters(group.name()).await?;
                    if self.is_group_changed(&self.deleting_group(&now), &mut tries).await? {
                        return Ok(true);
                    }
                }
                _ => return Ok(false),
            }
        }
    }

    fn deleting_group(&self, group: &Group) -> Write {
        let (groups, keys) = (rows::groups_key(self.keys()), GroupKeys::new(self.keys(), group.name()));
        let mut write = Write::new();
        write.if_is(&groups, group.name(), &group.text);
        write.if_none(&dead_letter_rows::redriving_key(self.keys(), group.name()));
        write.hdel(&groups, group.name()).hdel(&rows::seen_key(self.keys()), group.name());
        for key in [keys.consumers(), keys.segments(), keys.owners(), keys.lanes()] {
            write.del(&key);
        }
        for segment in 0..group.row.spec.segments {
            write.del(&keys.ledger(segment)).del(&keys.lane(segment)).del(&keys.places(segment));
        }
        write
    }

    async fn reset_group_to(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
        let mut tries = Tries::new();
        loop {
            let cursor = self.mark_of_group(at).await?;
            let group = self.group_named(name).await?;
            let group = group.ok_or_else(|| GroupStoreError::NoGroup(name.to_owned()))?;
            if self.is_group_changed(&self.resetting_group(&group, cursor, Vec::new())?, &mut tries).await? {
                return Ok(());
            }
        }
    }

    /// The lanes stay, with their last places.
    pub(crate) fn resetting_group(
        &self,
        group: &Group,
        cursor: u64,
        marks: Vec<u64>,
    ) -> Result<Write, StorageFailure> {
        let (groups, keys) = (rows::groups_key(self.keys()), GroupKeys::new(self.keys(), group.name()));
        let mut write = Write::new();
        write.fenced().if_is(&groups, group.name(), &group.text);
        let row = Row { gaps: Vec::new(), marks, ..group.row.clone() };
        write.hset(&groups, group.name(), rows::to_json(&row)?);
        self.put_segments(&mut write, &keys, group.row.spec.segments, cursor);
        write.del(&keys.owners());
        for segment in 0..group.row.spec.segments {
            write.del(&keys.ledger(segment));
        }
        self.put_group_hold(&mut write);
        Ok(write)
    }
}

#[async_trait]
impl GroupStore for Partition {
    async fn create_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<GroupRecord, GroupStoreError> {
        self.create_group_at(spec, at).await
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError> {
        Ok(self.all_groups().await?.iter().map(Group::record).collect())
    }

    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError> {
        Ok(self.status_of(name).await?)
    }

    async fn blocked_keys(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<(u16, BlockedKey)>, GroupStoreError> {
        Ok(self.ledger_of(name, limit).await?)
    }

    async fn delete_group(&self, name: &str) -> Result<bool, GroupStoreError> {
        Ok(self.delete_group_named(name).await?)
    }

    async fn reset_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
        self.reset_group_to(name, at).await
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        self.lease_segments(request).await
    }

    async fn leave(&self, group: &str, consumer: &str, token: u64) -> Result<(), GroupStoreError> {
        Ok(self.leave_group(group, consumer, token).await?)
    }

    async fn commit(&self, commits: &[SegmentCommit]) -> Result<Vec<CommitOutcome>, GroupStoreError> {
        Ok(self.commit_segments(commits).await?)
    }

    async fn enqueue(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        self.enqueue_batches(runner, batches).await
    }

    async fn lane(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError> {
        Ok(self.lane_batches(group, after, limit).await?)
    }

    async fn withdraw(&self, replay_id: &str) -> Result<u64, GroupStoreError> {
        Ok(self.withdraw_batches(replay_id).await?)
    }
}
