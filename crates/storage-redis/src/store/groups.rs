//! The port of consumer groups. A group is in every partition, with the segments that lie there.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::{
    Cursor, Position,
    group::{
        BlockedKey, ConsumerStatus, GroupRecord, GroupSpec, GroupStatus, LaneBatch, Lease, NewLaneBatch,
        SegmentStatus,
    },
    ports::{
        CommitOutcome, EnqueueOutcome, GroupStore, GroupStoreError, LeaseRequest, Leases, ReplayLease,
        SegmentCommit,
    },
};
use futures_util::future::{join_all, try_join_all};

use super::{RedisStore, Unreached, reached};
use crate::partition::Partition;

/// No partition has so high a number.
const NOWHERE: u16 = u16::MAX;

#[async_trait]
impl GroupStore for RedisStore {
    async fn create_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<GroupRecord, GroupStoreError> {
        match self.only() {
            Some(only) => only.create_group(spec, at).await,
            None => self.make_group_everywhere(spec, at).await,
        }
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError> {
        match self.only() {
            Some(only) => only.groups().await,
            None => self.group_records().await,
        }
    }

    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError> {
        match self.only() {
            Some(only) => only.group(name).await,
            None => self.group_status(name).await,
        }
    }

    async fn blocked_keys(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<(u16, BlockedKey)>, GroupStoreError> {
        if let Some(only) = self.only() {
            return only.blocked_keys(name, limit).await;
        }
        let parts = self.partitions().iter().map(|partition| async move {
            let rows = partition.blocked_keys(name, limit).await?;
            let outward = |(segment, row)| (partition.outward_segment(segment), row);
            Ok::<_, GroupStoreError>(rows.into_iter().map(outward).collect::<Vec<_>>())
        });
        let mut rows: Vec<(u16, BlockedKey)> = try_join_all(parts).await?.into_iter().flatten().collect();
        rows.sort_by_key(|(segment, row)| (row.position, *segment));
        rows.truncate(limit);
        Ok(rows)
    }

    async fn delete_group(&self, name: &str) -> Result<bool, GroupStoreError> {
        match self.only() {
            Some(only) => only.delete_group(name).await,
            None => self.delete_group_everywhere(name).await,
        }
    }

    async fn reset_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
        match self.only() {
            Some(only) => only.reset_group(name, at).await,
            None => self.reset_group_everywhere(name, at).await,
        }
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        match self.only() {
            Some(only) => only.lease(request).await,
            None => self.lease_everywhere(request).await,
        }
    }

    async fn leave(&self, group: &str, consumer: &str, token: u64) -> Result<(), GroupStoreError> {
        let parts = self.partitions().iter().map(|partition| partition.leave(group, consumer, token));
        try_join_all(parts).await.map(drop)
    }

    async fn commit(&self, commits: &[SegmentCommit]) -> Result<Vec<CommitOutcome>, GroupStoreError> {
        match self.only() {
            Some(only) => only.commit(commits).await,
            None => self.commit_to_partitions(commits).await,
        }
    }

    async fn enqueue(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        match self.only() {
            Some(only) => only.enqueue(runner, batches).await,
            None => self.enqueue_in_partitions(runner, batches).await,
        }
    }

    async fn lane(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError> {
        match self.only() {
            Some(only) => only.lane(group, after, limit).await,
            None => self.lanes_of_partitions(group, after, limit).await,
        }
    }

    async fn withdraw(&self, replay_id: &str) -> Result<u64, GroupStoreError> {
        let parts = self.partitions().iter().map(|partition| partition.withdraw(replay_id));
        Ok(try_join_all(parts).await?.into_iter().sum())
    }
}

/// What falls to each partition of a list: its own items, and where they stand in the list.
struct Parts<T> {
    parts: Vec<(Vec<T>, Vec<usize>)>,
    length: usize,
}

impl<T> Parts<T> {
    fn of<'i, I: 'i>(
        store: &RedisStore,
        items: &'i [I],
        partition: impl Fn(&I) -> usize,
        inward: impl Fn(&'i I, &Partition) -> T,
    ) -> Self {
        let mut parts: Vec<(Vec<T>, Vec<usize>)> =
            store.partitions().iter().map(|_| (Vec::new(), Vec::new())).collect();
        for (place, item) in items.iter().enumerate() {
            let at = partition(item);
            if let (Some((part, places)), Some(partition)) = (parts.get_mut(at), store.partitions().get(at)) {
                part.push(inward(item, partition));
                places.push(place);
            }
        }
        Self { parts, length: items.len() }
    }

    /// What each partition answered, in the order of the list.
    fn gathered<A: Clone>(&self, none: A, answers: Vec<Vec<A>>) -> Vec<A> {
        let mut all = vec![none; self.length];
        for ((_, places), answers) in self.parts.iter().zip(answers) {
            for (place, answer) in places.iter().zip(answers) {
                if let Some(own) = all.get_mut(*place) {
                    *own = answer;
                }
            }
        }
        all
    }
}

impl RedisStore {
    fn partition_of_segment(&self, segment: u16) -> usize {
        usize::from(segment % self.partition_count())
    }

    /// A partition's part of a group as the world knows it.
    pub(super) fn outward_record(&self, record: &mut GroupRecord) {
        record.spec.segments = record.spec.segments.saturating_mul(self.partition_count());
    }

    async fn group_records(&self) -> Result<Vec<GroupRecord>, GroupStoreError> {
        let mut parts = try_join_all(self.partitions().iter().map(Partition::groups)).await?.into_iter();
        let mut records = parts.next().unwrap_or_default();
        for record in &mut records {
            self.outward_record(record);
        }
        for (partition, part) in (1u16..).zip(parts) {
            for of_partition in part {
                let is_it = |record: &&mut GroupRecord| record.spec.name == of_partition.spec.name;
                if let Some(record) = records.iter_mut().find(is_it) {
                    add_record(record, of_partition, partition);
                }
            }
        }
        Ok(records)
    }

    async fn group_status(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError> {
        let parts = reached(join_all(self.partitions().iter().map(|partition| partition.group(name))).await)?;
        let unreachable: Vec<u16> =
            (0..).zip(&parts).filter(|(_, part)| part.is_none()).map(|(number, _)| number).collect();
        // The first that answers says whether there is the group.
        let mut parts =
            self.partitions().iter().zip(parts).filter_map(|(partition, part)| Some((partition, part?)));
        let Some((first, Some(mut whole))) = parts.next() else { return Ok(None) };
        whole.unreachable = unreachable;
        self.outward_record(&mut whole.record);
        let mut consumers: BTreeMap<String, ConsumerStatus> = BTreeMap::new();
        let mut segments = Vec::new();
        let mut add = |partition: &Partition, part: (Vec<SegmentStatus>, Vec<ConsumerStatus>)| {
            segments.extend(part.0.into_iter().map(|status| SegmentStatus {
                segment: partition.outward_segment(status.segment),
                partition: partition.number(),
                ..status
            }));
            for own in part.1 {
                match consumers.get_mut(&own.name) {
                    Some(known) => {
                        known.alive_until = known.alive_until.max(own.alive_until);
                        known.segments += own.segments;
                    }
                    None => drop(consumers.insert(own.name.clone(), own)),
                }
            }
        };
        let of_first = (std::mem::take(&mut whole.segments), std::mem::take(&mut whole.consumers));
        add(first, of_first);
        for (partition, part) in parts {
            // Where it is about to go, or to be mended.
            let Some(part) = part else { continue };
            add_record(&mut whole.record, part.record, partition.number());
            add(partition, (part.segments, part.consumers));
        }
        segments.sort_by_key(|status| status.segment);
        whole.segments = segments;
        whole.consumers = consumers.into_values().collect();
        Ok(Some(whole))
    }

    async fn lease_everywhere(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        // The first says whether there is the group: what is left or begun of one elsewhere is leased to nobody. Where it
        // cannot be reached, the others go on with what they have.
        let mut parts = vec![self.first().lease(request).await];
        let goes_on =
            |part: &Result<_, GroupStoreError>| part.as_ref().err().is_none_or(Unreached::is_unreached);
        if parts.iter().all(goes_on) {
            parts.extend(join_all(self.others().map(|partition| partition.lease(request))).await);
        }
        let is_first_there = parts.first().is_some_and(Result::is_ok);
        for (partition, part) in self.partitions().iter().zip(&mut parts).skip(1) {
            let Err(GroupStoreError::NoGroup(_)) = part else { continue };
            // Where another has lost it, it is mended; the first says what it was.
            *part = match is_first_there {
                true => self.mend_and_lease(partition, request).await,
                false => Ok(Leases::default()),
            };
        }
        let mut whole = Leases::default();
        // What cannot be reached is not held: whoever held it stops there, and goes on elsewhere.
        for (partition, part) in self.partitions().iter().zip(reached(parts)?) {
            let Some(part) = part else { continue };
            let outward = |lease: Lease| Lease { segment: partition.outward_segment(lease.segment), ..lease };
            whole.held.extend(part.held.into_iter().map(outward));
            for (lease, mut state) in part.taken {
                state.partition = partition.number();
                whole.taken.push((outward(lease), state));
            }
            whole.share += part.share;
            let surplus = part.surplus.into_iter();
            whole.surplus.extend(surplus.map(|segment| partition.outward_segment(segment)));
            whole.gaps.extend(part.gaps.into_iter().map(|mut gap| {
                gap.partition = partition.number();
                gap
            }));
        }
        whole.held.sort_by_key(|lease| lease.segment);
        whole.surplus.sort_unstable();
        whole.gaps.sort_by_key(|gap| gap.at);
        Ok(whole)
    }

    async fn mend_and_lease(
        &self,
        partition: &Partition,
        request: &LeaseRequest,
    ) -> Result<Leases, GroupStoreError> {
        self.mend_group(partition, &request.group).await?;
        partition.lease(request).await
    }

    async fn commit_to_partitions(
        &self,
        commits: &[SegmentCommit],
    ) -> Result<Vec<CommitOutcome>, GroupStoreError> {
        let of = |commit: &SegmentCommit| self.partition_of_segment(commit.lease.segment);
        let parts = Parts::of(self, commits, of, inward_commit);
        let asked = self.partitions().iter().zip(&parts.parts).map(|(partition, (commits, _))| async move {
            match commits.is_empty() {
                true => Ok(Vec::new()),
                false => partition.commit(commits).await,
            }
        });
        // All are let through, whatever becomes of one: committing the same again settles it.
        let answers = join_all(asked).await.into_iter().collect::<Result<_, GroupStoreError>>()?;
        Ok(parts.gathered(CommitOutcome::Fenced, answers))
    }

    async fn enqueue_in_partitions(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        if batches.is_empty() {
            return self.first().enqueue(runner, batches).await;
        }
        let of = |batch: &NewLaneBatch| self.partition_of_segment(batch.segment);
        let inward = |batch: &NewLaneBatch, partition: &Partition| NewLaneBatch {
            segment: partition.inward_segment(batch.segment),
            ..batch.clone()
        };
        let parts = Parts::of(self, batches, of, inward);
        let asked = self.partitions().iter().zip(&parts.parts).map(|(partition, (batches, _))| async move {
            match batches.is_empty() {
                true => Ok(Vec::new()),
                false => partition.enqueue(runner, batches).await,
            }
        });
        let answers = join_all(asked).await.into_iter().collect::<Result<_, GroupStoreError>>()?;
        Ok(parts.gathered(EnqueueOutcome::NoGroup, answers))
    }

    async fn lanes_of_partitions(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError> {
        let of = |(segment, _): &(u16, u64)| self.partition_of_segment(*segment);
        let inward = |(segment, place): &(u16, u64), partition: &Partition| {
            (partition.inward_segment(*segment), *place)
        };
        let parts = Parts::of(self, after, of, inward);
        let asked = parts.parts.iter().filter(|(after, _)| !after.is_empty()).count().max(1);
        let each = limit.div_ceil(asked);
        let asked = self.partitions().iter().zip(&parts.parts).map(|(partition, (after, _))| async move {
            let mut batches = match after.is_empty() {
                true => Vec::new(),
                false => partition.lane(group, after, each).await?,
            };
            for batch in &mut batches {
                batch.segment = partition.outward_segment(batch.segment);
            }
            Ok::<_, GroupStoreError>(batches)
        });
        Ok(try_join_all(asked).await?.into_iter().flatten().collect())
    }
}

/// Adds what a partition knows of a group.
fn add_record(record: &mut GroupRecord, of_partition: GroupRecord, partition: u16) {
    record.last_seen_at = record.last_seen_at.max(of_partition.last_seen_at);
    record.gaps.extend(of_partition.gaps.into_iter().map(|mut gap| {
        gap.partition = partition;
        gap
    }));
    record.gaps.sort_by_key(|gap| gap.at);
}

/// A commit as its segment's partition knows it.
fn inward_commit(commit: &SegmentCommit, partition: &Partition) -> SegmentCommit {
    let mut inward = commit.clone();
    inward.lease.segment = partition.inward_segment(commit.lease.segment);
    for letter in &mut inward.dead_letters {
        // An event of another partition is not of the segment, and not found there.
        let here = if letter.position.partition == partition.number() { 0 } else { NOWHERE };
        letter.position = Position::new(here, letter.position.sequence);
    }
    inward
}
