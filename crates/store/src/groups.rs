//! Consumer groups: the port, and the group data that a handle caches.

pub(crate) mod commit;
mod create;
mod deliveries;
pub(crate) mod enqueue;
mod lane;
mod lease;
mod letters;
mod pauses;
mod pending;
pub(crate) mod record;
pub(crate) mod status;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use domain::{
    Cursor, StoredEvent,
    group::{
        BlockedKey, EventDelivery, GroupRecord, GroupSpec, GroupStatus, LaneBatch, Lease, NewLaneBatch,
        PassedEvents, Pending,
    },
    ports::{
        CommitOutcome, EnqueueOutcome, GroupStore, GroupStoreError, LeaseRequest, Leases, MadeGroup,
        ReplayLease, SegmentCommit,
    },
};
use futures_util::future::try_join_all;

use self::record::{Group, LaneRow};
use crate::{Store, divided::Divided};

/// The most lane batches in the cache of a handle.
const MOST_BATCHES: usize = 4096;
/// The most leases in the cache of a handle.
const MOST_LEASES: usize = 16 * 1024;

/// The place of a batch: group, segment, and its number in the segment's lane (its replay queue).
type LanePlace = (String, u16, u64);

/// The cache of a handle, so that a commit does not read the same group data again. Every decision that uses the cache
/// is guarded.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    batches: Mutex<Batches>,
    leases: Mutex<HashMap<Lease, KnownLease>>,
}

/// A batch of a lane, as it was read.
#[derive(Debug, Clone)]
pub(crate) struct KnownBatch {
    /// The partition's generation in which it was read.
    pub(crate) generation: u64,
    pub(crate) row: Arc<LaneRow>,
}

/// A lease that this handle took or commits under.
#[derive(Debug, Default)]
struct KnownLease {
    cursor: Option<u64>,
    /// The incarnation of the group of the lease.
    incarnation: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Batches {
    by_place: HashMap<LanePlace, KnownBatch>,
    /// In the order of insertion.
    places: VecDeque<LanePlace>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remembered {
    /// Caches a batch that was read.
    pub(crate) fn note_batch(&self, group: &str, segment: u16, seq: u64, batch: KnownBatch) {
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

    /// Returns the batch at a place of the lane of a lease. It returns none for a batch of an earlier incarnation of
    /// the group or of another generation of the partition. Such a batch is a different batch at the same place.
    pub(crate) fn batch(&self, lease: &Lease, generation: u64, seq: u64) -> Option<Arc<LaneRow>> {
        let place = (lease.group.clone(), lease.segment, seq);
        let known = lock(&self.batches).by_place.get(&place).cloned()?;
        let leases = lock(&self.leases);
        let incarnation = leases.get(lease)?.incarnation.as_deref()?;
        let is_the_same = known.generation == generation && known.row.incarnation.as_bytes() == incarnation;
        is_the_same.then_some(known.row)
    }

    /// Records the incarnation of the group of a lease.
    pub(crate) fn note_incarnation(&self, lease: &Lease, incarnation: &[u8]) {
        self.change_lease(lease, |known| known.incarnation = Some(incarnation.to_vec()));
    }

    /// Records the cursor of a segment under a lease.
    pub(crate) fn note_cursor(&self, lease: &Lease, cursor: u64) {
        self.change_lease(lease, |known| known.cursor = Some(cursor));
    }

    fn change_lease(&self, lease: &Lease, change: impl FnOnce(&mut KnownLease)) {
        let mut leases = lock(&self.leases);
        if let Some(known) = leases.get_mut(lease) {
            return change(known);
        }
        if leases.len() >= MOST_LEASES {
            leases.clear();
        }
        change(leases.entry(lease.clone()).or_default());
    }

    /// Returns the cursor of a segment under a lease, if it is cached.
    pub(crate) fn cursor(&self, lease: &Lease) -> Option<u64> {
        lock(&self.leases).get(lease)?.cursor
    }

    /// Forgets a lease that has ended.
    pub(crate) fn forget_lease(&self, lease: &Lease) {
        lock(&self.leases).remove(lease);
    }
}

#[async_trait]
impl GroupStore for Store {
    async fn make_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<MadeGroup, GroupStoreError> {
        self.find_or_make(spec, at).await
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError> {
        Ok(self.group_records().await?)
    }

    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError> {
        Ok(self.group_status(name).await?)
    }

    async fn pending(&self, name: &str) -> Result<Option<Pending>, GroupStoreError> {
        Ok(self.pending_of(name).await?)
    }

    async fn deliveries(
        &self,
        name: &str,
        events: &[StoredEvent],
    ) -> Result<Option<Vec<EventDelivery>>, GroupStoreError> {
        Ok(self.deliveries_of(name, events).await?)
    }

    async fn passed(&self, name: &str) -> Result<Option<Vec<PassedEvents>>, GroupStoreError> {
        let parts = self.in_all(|partition| partition.group(name)).await?;
        let first = parts.first().and_then(Option::as_ref).map(|group| group.row.clone());
        let Some(first) = first else { return Ok(None) };
        let passed =
            |part: Option<Group>| part.filter(|part| part.is_of(&first)).and_then(|part| part.row.passed);
        Ok(parts.into_iter().map(passed).collect())
    }

    async fn blocked_keys(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<(u16, BlockedKey)>, GroupStoreError> {
        let partitions = self.partition_count();
        let mut rows = self.in_all(|partition| partition.all_blocked(name, partitions)).await?.concat();
        rows.sort_by(|(segment, row), (other, than)| {
            (row.position, segment, &row.key).cmp(&(than.position, other, &than.key))
        });
        rows.truncate(limit);
        Ok(rows)
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
        // If the group was deleted, there is nothing to leave.
        self.in_all(|partition| partition.leave(group, consumer, token)).await?;
        Ok(())
    }

    async fn commit(&self, commits: &[SegmentCommit]) -> Result<Vec<CommitOutcome>, GroupStoreError> {
        let of = |commit: &SegmentCommit| self.partition_of_segment(commit.lease.segment);
        let divided = Divided::new(self, commits.iter().map(|commit| (of(commit), commit)));
        let outcomes =
            divided.ask(CommitOutcome::Fenced, |(partition, commits)| self.commit_in(partition, commits));
        Ok(outcomes.await?)
    }

    async fn enqueue(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        if batches.is_empty() {
            // The runner's lease is checked even without batches.
            return self.first().enqueue(runner, &[]).await;
        }
        let of = |batch: &NewLaneBatch| self.partition_of_segment(batch.segment);
        let divided = Divided::new(self, batches.iter().map(|batch| (of(batch), batch)));
        divided.ask(EnqueueOutcome::NoGroup, |(partition, batches)| partition.enqueue(runner, batches)).await
    }

    async fn lane(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError> {
        let of = |(segment, _): &(u16, u64)| self.partition_of_segment(*segment);
        let divided = Divided::new(self, after.iter().map(|place| (of(place), *place)));
        let limit = limit.div_ceil(divided.parts().len().max(1));
        let asked = divided.parts().map(|(partition, after)| self.lane_in(partition, group, after, limit));
        Ok(try_join_all(asked).await?.concat())
    }

    async fn withdraw(&self, replay_id: &str) -> Result<u64, GroupStoreError> {
        Ok(self.in_all(|partition| partition.withdraw(replay_id)).await?.into_iter().sum())
    }
}
