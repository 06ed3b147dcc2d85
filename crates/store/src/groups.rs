//! Consumer groups: the port, and what a handle remembers of them.

pub(crate) mod commit;
mod create;
pub(crate) mod lane;
mod lease;
mod letters;
pub(crate) mod record;
mod status;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use domain::{
    Cursor,
    group::{BlockedKey, GroupRecord, GroupSpec, GroupStatus, LaneBatch, Lease, NewLaneBatch},
    ports::{
        CommitOutcome, EnqueueOutcome, GroupStore, GroupStoreError, LeaseRequest, Leases, ReplayLease,
        SegmentCommit,
    },
};

use self::record::LaneRow;
use crate::Store;

/// Batches of lanes that a handle remembers.
const MOST_BATCHES: usize = 4096;
/// Segments whose cursors a handle remembers.
const MOST_CURSORS: usize = 16 * 1024;

/// The place of a batch: group, segment, and its number in the segment's lane.
type LanePlace = (String, u16, u64);

/// What a handle remembers of groups, so that commits need not read it again. Whatever is decided by it is guarded.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    batches: Mutex<Batches>,
    cursors: Mutex<HashMap<Lease, u64>>,
}

#[derive(Debug, Default)]
struct Batches {
    by_place: HashMap<LanePlace, Arc<LaneRow>>,
    /// In the order in which they came.
    places: VecDeque<LanePlace>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remembered {
    /// Remembers a batch that was read.
    pub(crate) fn note_batch(&self, group: &str, segment: u16, seq: u64, batch: Arc<LaneRow>) {
        let mut batches = lock(&self.batches);
        let place = (group.to_owned(), segment, seq);
        if batches.by_place.insert(place.clone(), batch).is_none() {
            batches.places.push_back(place);
        }
        while batches.places.len() > MOST_BATCHES {
            if let Some(oldest) = batches.places.pop_front() {
                batches.by_place.remove(&oldest);
            }
        }
    }

    pub(crate) fn batch(&self, group: &str, segment: u16, seq: u64) -> Option<Arc<LaneRow>> {
        lock(&self.batches).by_place.get(&(group.to_owned(), segment, seq)).cloned()
    }

    /// Notes where a segment is under a lease.
    pub(crate) fn note_cursor(&self, lease: &Lease, cursor: u64) {
        let mut cursors = lock(&self.cursors);
        if cursors.len() >= MOST_CURSORS {
            cursors.clear();
        }
        cursors.insert(lease.clone(), cursor);
    }

    /// Where a segment was under a lease, if that is known.
    pub(crate) fn cursor(&self, lease: &Lease) -> Option<u64> {
        lock(&self.cursors).get(lease).copied()
    }

    /// Forgets a lease that is over.
    pub(crate) fn forget_cursor(&self, lease: &Lease) {
        lock(&self.cursors).remove(lease);
    }
}

#[async_trait]
impl GroupStore for Store {
    async fn create_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<GroupRecord, GroupStoreError> {
        self.make_group(spec, at).await
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError> {
        Ok(self.group_records().await?)
    }

    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError> {
        Ok(self.group_status(name).await?)
    }

    async fn blocked_keys(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<(u16, BlockedKey)>, GroupStoreError> {
        Ok(self.first_blocked_keys(name, limit).await?)
    }

    async fn delete_group(&self, name: &str) -> Result<bool, GroupStoreError> {
        Ok(self.remove_group(name).await?)
    }

    async fn reset_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
        self.move_group(name, at).await
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
