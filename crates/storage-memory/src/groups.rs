//! Consumer groups: what is kept of each, and the port whose other rooms are leases, commits and lanes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::{
    Cursor,
    group::{
        BlockedKey, ConsumerStatus, GroupKey, GroupRecord, GroupSpec, GroupStatus, Key, LaneBatch,
        NewLaneBatch, SegmentState, SegmentStatus,
    },
    ports::{
        CommitOutcome, EnqueueOutcome, GroupStore, GroupStoreError, LeaseRequest, Leases, ReplayLease,
        SegmentCommit,
    },
};
use jiff::Timestamp;

use crate::{
    MemoryStore, commits, lanes,
    lanes::Lane,
    leases::{self, Consumer, SegmentLease},
    state::{PARTITION, State},
};

/// Every group.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_name: BTreeMap<String, Group>,
    /// The newest epoch of any lease. One count for all groups, so that no epoch comes twice, not even where a group is
    /// deleted and made again.
    last_epoch: u64,
}

impl Groups {
    pub(crate) fn get(&self, name: &str) -> Option<&Group> {
        self.by_name.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Group> {
        self.by_name.get_mut(name)
    }

    /// A group and the count of epochs.
    pub(crate) fn with_epochs(&mut self, name: &str) -> Option<(&mut Group, &mut u64)> {
        Some((self.by_name.get_mut(name)?, &mut self.last_epoch))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Group> {
        self.by_name.values()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.by_name.values_mut()
    }
}

/// A group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) record: GroupRecord,
    pub(crate) segments: Vec<Segment>,
    /// Its consumers by name; those whose time is over are forgotten when another calls.
    pub(crate) consumers: BTreeMap<String, Consumer>,
}

/// A segment of a group.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) cursor: u64,
    pub(crate) claimed_to: u64,
    pub(crate) blocked: BTreeMap<Key, BlockedKey>,
    /// The newest lease; none after a reset.
    pub(crate) lease: Option<SegmentLease>,
    pub(crate) lane: Lane,
}

impl Segment {
    fn at(cursor: u64) -> Self {
        Self { cursor, claimed_to: cursor, blocked: BTreeMap::new(), lease: None, lane: Lane::default() }
    }

    pub(crate) fn state(&self) -> SegmentState {
        let mut blocked: Vec<BlockedKey> = self.blocked.values().cloned().collect();
        blocked.sort_by_key(|row| row.position);
        SegmentState { partition: PARTITION, cursor: self.cursor, claimed_to: self.claimed_to, blocked }
    }

    fn status(&self, segment: u16, now: Timestamp) -> SegmentStatus {
        let lease = self.lease.as_ref().filter(|lease| lease.is_good(now));
        SegmentStatus {
            segment,
            partition: PARTITION,
            consumer: lease.map(|lease| lease.consumer.clone()),
            cursor: self.cursor,
            blocked_keys: self.blocked.len() as u64,
            parked_keys: self.blocked.values().filter(|row| row.due.is_none()).count() as u64,
            oldest_blocked: self.blocked.values().map(|row| row.position).min(),
            lane: self.lane.references() as u64,
        }
    }
}

impl Group {
    fn new(spec: &GroupSpec, cursor: u64, now: Timestamp) -> Self {
        let record = GroupRecord { spec: spec.clone(), created_at: now, last_seen_at: now, gaps: Vec::new() };
        let segments = (0..spec.segments).map(|_| Segment::at(cursor)).collect();
        Self { record, segments, consumers: BTreeMap::new() }
    }

    fn reset(&mut self, cursor: u64) {
        for segment in &mut self.segments {
            *segment = Segment { lane: std::mem::take(&mut segment.lane), ..Segment::at(cursor) };
        }
        self.record.gaps.clear();
    }

    fn status(&self, now: Timestamp) -> GroupStatus {
        let segments =
            self.segments.iter().zip(0..).map(|(segment, at)| segment.status(at, now)).collect::<Vec<_>>();
        let alive = self.consumers.iter().filter(|(_, consumer)| consumer.is_alive(now));
        let status = |(name, consumer): (&String, &Consumer)| ConsumerStatus {
            name: name.clone(),
            alive_until: consumer.alive_until,
            segments: segments.iter().filter(|segment| segment.consumer.as_ref() == Some(name)).count()
                as u16,
        };
        let consumers = alive.map(status).collect();
        GroupStatus { record: self.record.clone(), segments, consumers, unreachable: Vec::new() }
    }

    fn ledger(&self, limit: usize) -> Vec<(u16, BlockedKey)> {
        let rows = self
            .segments
            .iter()
            .zip(0..)
            .flat_map(|(segment, at)| segment.blocked.values().map(move |row| (at, row.clone())));
        let mut rows: Vec<(u16, BlockedKey)> = rows.collect();
        rows.sort_by_key(|(_, row)| row.position);
        rows.truncate(limit);
        rows
    }
}

fn create(
    state: &mut State,
    spec: &GroupSpec,
    at: &Cursor,
    now: Timestamp,
) -> Result<GroupRecord, GroupStoreError> {
    if let Some(group) = state.groups.get_mut(&spec.name) {
        let existing = &mut group.record.spec;
        if (&existing.key, existing.segments) != (&spec.key, spec.segments) {
            let existing = format!("{} and {} segments", ordering(&existing.key), existing.segments);
            return Err(GroupStoreError::Differs { name: spec.name.clone(), existing });
        }
        existing.types.clone_from(&spec.types);
        return Ok(group.record.clone());
    }
    let group = Group::new(spec, mark(state, at)?, now);
    let record = group.record.clone();
    state.groups.by_name.insert(spec.name.clone(), group);
    Ok(record)
}

/// What keeps a group's order, for people.
fn ordering(key: &GroupKey) -> String {
    match key {
        GroupKey::Event => "the order of the events' own keys".to_owned(),
        GroupKey::Correlation => "the order of correlation ids".to_owned(),
        GroupKey::Entity(kind) => format!("the order of entities of the kind {kind:?}"),
        GroupKey::All => "one order of everything".to_owned(),
    }
}

/// Dead letters that were on their way are open again: what carried them went with the group.
fn delete(state: &mut State, name: &str, now: Timestamp) -> bool {
    if state.groups.by_name.remove(name).is_none() {
        return false;
    }
    state.dead_letters.strand(name, now);
    state.replays.forget_group(name);
    true
}

fn reset(state: &mut State, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
    let cursor = mark(state, at)?;
    let group = state.groups.get_mut(name).ok_or_else(|| GroupStoreError::NoGroup(name.to_owned()))?;
    group.reset(cursor);
    Ok(())
}

/// The sequence that a cursor of this log marks.
fn mark(state: &State, cursor: &Cursor) -> Result<u64, GroupStoreError> {
    state.sequence_of(cursor).map_err(|error| GroupStoreError::BadCursor(error.to_string()))
}

#[async_trait]
impl GroupStore for MemoryStore {
    async fn create_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<GroupRecord, GroupStoreError> {
        create(&mut self.state_mut(), spec, at, self.now())
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError> {
        Ok(self.state().groups.values().map(|group| group.record.clone()).collect())
    }

    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError> {
        Ok(self.state().groups.get(name).map(|group| group.status(self.now())))
    }

    async fn blocked_keys(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<(u16, BlockedKey)>, GroupStoreError> {
        Ok(self.state().groups.get(name).map(|group| group.ledger(limit)).unwrap_or_default())
    }

    async fn delete_group(&self, name: &str) -> Result<bool, GroupStoreError> {
        Ok(delete(&mut self.state_mut(), name, self.now()))
    }

    async fn reset_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
        reset(&mut self.state_mut(), name, at)
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        leases::lease(&mut self.state_mut(), request, self.now())
    }

    async fn leave(&self, group: &str, consumer: &str, token: u64) -> Result<(), GroupStoreError> {
        leases::leave(&mut self.state_mut(), group, consumer, token);
        Ok(())
    }

    async fn commit(&self, commits: &[SegmentCommit]) -> Result<Vec<CommitOutcome>, GroupStoreError> {
        let mut state = self.state_mut();
        let now = self.now();
        Ok(commits.iter().map(|commit| commits::commit(&mut state, commit, now)).collect())
    }

    async fn enqueue(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        lanes::enqueue(&mut self.state_mut(), runner, batches)
    }

    async fn lane(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError> {
        Ok(lanes::lane(&self.state(), group, after, limit))
    }

    async fn withdraw(&self, replay_id: &str) -> Result<u64, GroupStoreError> {
        Ok(lanes::withdraw(&mut self.state_mut(), replay_id))
    }
}
