//! The lease of a replay: the right to run it.
//!
//! Partition 0 grants the lease. Every other partition gets a copy as a fence before the runner writes there. The fence
//! refuses the runner of an earlier lease. The fence carries the partition's generation. A partition that lost data
//! therefore refuses too, until the lease is granted again.

use std::time::Duration;

use domain::{
    StorageFailure,
    ports::{
        ReplayLease,
        engine::{Guard, Read, RowId, Snapshot, SpaceKind, Transaction},
    },
    time::later,
};
use futures_util::future::try_join_all;

use super::record::Seen;
use crate::{
    Store,
    partition::Partition,
    rows::{named, number},
};

/// The value of the fence of a finished replay.
pub(super) const OVER: &[u8] = b"over";

pub(crate) fn fence_row(id: &str) -> RowId {
    named(SpaceKind::ReplayFence, id)
}

/// Returns the fence value of a lease in a partition of this generation.
fn fence_value(lease: &ReplayLease, generation: u64) -> Vec<u8> {
    format!("{}:{}:{generation}", lease.epoch, lease.token).into_bytes()
}

/// Returns whether a fence belongs to a lease, in a partition of this generation.
pub(crate) fn is_fence_of(lease: &ReplayLease, fence: Option<&[u8]>, generation: u64) -> bool {
    fence == Some(&fence_value(lease, generation)[..])
}

/// Guards a transaction by a runner's lease.
pub(crate) fn fence_guards(transaction: &mut Transaction, lease: &ReplayLease, generation: u64) {
    transaction.guard(Guard::Generation(generation));
    transaction.guard(Guard::Is(fence_row(&lease.replay_id), fence_value(lease, generation)));
}

/// Returns the epoch, token and generation of a fence. Returns none for the fence of a finished replay.
pub(super) fn read_fence(value: &[u8]) -> Option<(u64, u64, u64)> {
    let mut numbers = std::str::from_utf8(value).ok()?.split(':').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

impl Partition<'_> {
    /// Takes or renews the lease of a replay. Also returns whether the lease is new. `demand_new` replaces a lease that
    /// the token already has.
    async fn take_replay(
        self,
        id: &str,
        token: u64,
        duration: Duration,
        demand_new: bool,
    ) -> Result<Option<(ReplayLease, bool)>, StorageFailure> {
        let decision = |seen: &Seen| {
            let held = seen.lease().filter(|(_, holder)| *holder == token && !demand_new);
            let is_others = seen.lease().is_some_and(|(_, holder)| holder != token);
            if seen.row.state.is_final() || (is_others && seen.row.is_run(seen.now)) {
                return Ok((None, None));
            }
            let mut row = seen.row.clone();
            row.until = Some(later(seen.now, duration));
            let mut transaction = seen.transaction();
            let epoch = match held {
                Some((epoch, _)) => epoch,
                None => {
                    row.last_lease += 1;
                    (seen.generation << 32) | (row.last_lease & 0xffff_ffff)
                }
            };
            let lease = ReplayLease { replay_id: id.to_owned(), epoch, token };
            if held.is_none() {
                transaction.put(fence_row(id), fence_value(&lease, seen.generation));
            }
            seen.put(&mut transaction, row)?;
            Ok((Some((lease, held.is_none())), Some(transaction)))
        };
        Ok(self.decide_replay(id, decision).await?.flatten())
    }

    /// Copies a lease into this partition. Returns whether the partition has it. A newer lease is not replaced.
    async fn copy_lease(self, lease: &ReplayLease) -> Result<bool, StorageFailure> {
        let row = fence_row(&lease.replay_id);
        let decision = |mut found: Snapshot| {
            let before = found.row();
            if is_fence_of(lease, before.as_deref(), found.generation) {
                return Ok((true, None));
            }
            match before.as_deref().map(read_fence) {
                // The replay is finished.
                Some(None) => return Ok((false, None)),
                Some(Some((epoch, ..))) if epoch > lease.epoch => return Ok((false, None)),
                _ => {}
            }
            let mut transaction = Transaction::durable();
            transaction.guard(Guard::Generation(found.generation));
            transaction.guard(Guard::still(row.clone(), before.as_deref()));
            transaction.put(row.clone(), fence_value(lease, found.generation));
            Ok((true, Some(transaction)))
        };
        self.decide(&[Read::Row(row.clone())], decision).await
    }

    /// Returns whether this partition has a lease, and has lost no data since the copy.
    async fn has_lease(self, lease: &ReplayLease) -> Result<bool, StorageFailure> {
        let mut found = self.get(&[Read::Row(fence_row(&lease.replay_id))]).await?;
        Ok(is_fence_of(lease, found.row().as_deref(), found.generation))
    }
}

impl Store {
    /// Takes or renews the lease of a replay in every partition.
    pub(super) async fn lease_everywhere(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, StorageFailure> {
        let taken = self.first().take_replay(id, token, duration, false).await?;
        let Some((mut lease, is_new)) = taken else { return Ok(None) };
        if self.is_single() {
            return Ok(Some(lease));
        }
        if !is_new {
            let copies = try_join_all(self.others().map(|partition| partition.has_lease(&lease))).await?;
            if copies.iter().all(|has| *has) {
                return Ok(Some(lease));
            }
            // A partition has lost the lease, and may have lost batches that were queued under it. So a new lease
            // replaces it.
            match self.first().take_replay(id, token, duration, true).await? {
                Some((again, _)) => lease = again,
                None => return Ok(None),
            }
        }
        let copies = try_join_all(self.others().map(|partition| partition.copy_lease(&lease))).await?;
        let settled = number(self.first().row(named(SpaceKind::ReplaySettled, id)).await?.as_deref())?;
        if settled > 0 {
            try_join_all(self.others().map(|partition| partition.drop_settled(id, settled))).await?;
        }
        // False means that another runner took over the replay during the copy.
        Ok(copies.iter().all(|copied| *copied).then_some(lease))
    }
}
