//! Replays: their records, in partition 0, and the remains of their batches, in the partitions of the lanes.

pub(crate) mod lease;
pub(crate) mod record;
mod settle;

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use domain::{
    Position, StorageFailure,
    group::LaneResult,
    ports::{
        ReplayCommand, ReplayLease, ReplayRecord, ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate,
        engine::{Read, SpaceKind, Transaction, Write},
    },
    replay::after_request,
};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use self::{
    lease::{OVER, fence_row},
    record::{ReplayRow, Seen, creating, forget},
};
use crate::{
    Store,
    divided::Divided,
    holds::bump_hold_versions,
    partition::Partition,
    rows::{by_time, from_json, of, read_values},
};

impl Partition<'_> {
    /// Closes a finished replay in this partition, so that no runner can use it here.
    async fn close_replay(self, id: &str) -> Result<(), StorageFailure> {
        let mut transaction = Transaction::durable();
        transaction.put(fence_row(id), OVER);
        self.commit_one(&transaction).await.map(drop)
    }

    async fn forget_replay(self, id: &str) -> Result<(), StorageFailure> {
        let mut transaction = Transaction::durable();
        forget(id, &mut transaction);
        self.commit_one(&transaction).await.map(drop)
    }

    async fn count_replayed(self, sequences: &[u64], at: Timestamp) -> Result<(), StorageFailure> {
        let sequences: BTreeSet<u64> = sequences.iter().copied().collect();
        let mut transaction = Transaction::new();
        transaction.write(Write::CountReplay { sequences: sequences.into_iter().collect(), at });
        self.commit_one(&transaction).await.map(drop)
    }

    async fn results_here(self, id: &str, limit: usize) -> Result<Vec<LaneResult>, StorageFailure> {
        let rows = self.get(&[Read::first(of(SpaceKind::ReplayResult, id), limit)]).await?.range();
        read_values(rows, |value| from_json(value, format_args!("a result of the replay {id}")))
    }
}

impl Store {
    /// Closes the replay in every other partition if its state is final.
    async fn close_if_over(&self, id: &str, state: ReplayState) -> Result<(), StorageFailure> {
        if state.is_final() {
            try_join_all(self.others().map(|partition| partition.close_replay(id))).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ReplayStore for Store {
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError> {
        let divided = Divided::new(self, positions.iter().map(|at| (at.partition, at.sequence)));
        let counted = divided.each(|(partition, sequences)| partition.count_replayed(sequences, at)).await;
        Ok(counted.into_iter().collect::<Result<(), StorageFailure>>()?)
    }

    async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError> {
        if !self.first().is_committed(&creating(record)?).await? {
            return Err(ReplayStoreError::Exists(record.id.clone()));
        }
        if record.hold.is_some() {
            bump_hold_versions(self.others()).await?;
        }
        Ok(())
    }

    async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError> {
        let found = self.first().replay_records(&[id.to_owned()]).await?.pop();
        Ok(found.map(|(record, _)| record))
    }

    async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        Ok(self.first().newest_replays(limit).await?)
    }

    async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        let mut open = self.first().unfinished_replays().await?;
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.first().now().await?;
        open.retain(|(_, row)| !row.is_run(now));
        Ok(open.into_iter().map(|(record, _)| record).collect())
    }

    async fn lease_replay(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError> {
        Ok(self.lease_everywhere(id, token, duration).await?)
    }

    async fn update_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<ReplayState, ReplayStoreError> {
        let (state, holds_more) = self.step_replay(lease, update).await?;
        if holds_more {
            bump_hold_versions(self.others()).await?;
        }
        let (id, below) = (&lease.replay_id, update.settled_batches);
        if below > 0 {
            // The runner that settled the batches has their results. If this call stops early, the next step or lease
            // drops the rest.
            try_join_all(self.others().map(|partition| partition.drop_settled(id, below))).await?;
        }
        self.close_if_over(id, state).await?;
        Ok(state)
    }

    async fn request(
        &self,
        id: &str,
        command: ReplayCommand,
    ) -> Result<Option<ReplayState>, ReplayStoreError> {
        let decision = |seen: &Seen| {
            let is_run = seen.row.is_run(seen.now) && seen.lease().is_some();
            let state = after_request(seen.row.state, command, is_run);
            if state == seen.row.state {
                return Ok((state, None));
            }
            let mut transaction = seen.transaction();
            seen.put(&mut transaction, ReplayRow { state, updated: seen.now, ..seen.row.clone() })?;
            Ok((state, Some(transaction)))
        };
        let state = self.first().decide_replay(id, decision).await?;
        if let Some(state) = state {
            self.close_if_over(id, state).await?;
        }
        Ok(state)
    }

    async fn steer(&self, id: &str, steering: &str) -> Result<Option<ReplayState>, ReplayStoreError> {
        let decision = |seen: &Seen| {
            let state = seen.row.state;
            if state.is_final() {
                return Ok((state, None));
            }
            let mut transaction = seen.transaction();
            let steering = Some(steering.to_owned());
            seen.put(&mut transaction, ReplayRow { steering, updated: seen.now, ..seen.row.clone() })?;
            Ok((state, Some(transaction)))
        };
        Ok(self.first().decide_replay(id, decision).await?)
    }

    async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError> {
        let mut results = self.in_all(|partition| partition.results_here(id, limit)).await?.concat();
        results.sort_by(|one, other| {
            (one.batch, &one.group, one.segment).cmp(&(other.batch, &other.group, other.segment))
        });
        results.truncate(limit);
        Ok(results)
    }

    async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError> {
        let mut found = self.first().get(&Seen::reads(id)).await?;
        let Some(seen) = Seen::of(id, &mut found)?.filter(|seen| seen.row.state.is_final()) else {
            return Ok(false);
        };
        try_join_all(self.others().map(|partition| partition.forget_replay(id))).await?;
        let mut transaction = seen.transaction();
        forget(id, &mut transaction);
        for kind in [SpaceKind::ReplayOrder, SpaceKind::OpenReplay] {
            transaction.delete(by_time(kind, seen.row.created, id));
        }
        // A finished replay does not change. A refusal therefore means that another caller deleted it.
        Ok(self.first().is_committed(&transaction).await?)
    }
}
