//! The port of replays. Records stand in partition 0, results and what lanes have had in the partitions of the lanes.
//!
//! The right to run a replay is given in partition 0, and stamped into every other partition before whoever has it does
//! anything: there a runner that had it before is refused by the stamp.

use std::{cmp::Ordering, time::Duration};

use async_trait::async_trait;
use domain::{
    Position,
    group::LaneResult,
    ports::{
        ReplayLease, ReplayRecord, ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate, ReplayWish,
    },
};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::RedisStore;

#[async_trait]
impl ReplayStore for RedisStore {
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError> {
        if let Some(only) = self.only() {
            return only.record_replayed(positions, at).await;
        }
        let mut parts: Vec<Vec<Position>> = vec![Vec::new(); self.partitions().len()];
        for position in positions {
            if let Some(part) = parts.get_mut(usize::from(position.partition)) {
                part.push(Position::new(0, position.sequence));
            }
        }
        let parts = self.partitions().iter().zip(&parts);
        try_join_all(parts.map(|(partition, positions)| partition.record_replayed(positions, at)))
            .await
            .map(drop)
    }

    async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError> {
        self.first().create_replay(record).await?;
        if record.hold.is_some() {
            self.tell_of_hold().await?;
        }
        Ok(())
    }

    async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError> {
        self.first().find_replay(id).await
    }

    async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        self.first().list_replays(limit).await
    }

    async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        self.first().waiting_replays().await
    }

    async fn lease_replay(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError> {
        match self.only() {
            Some(only) => only.lease_replay(id, token, duration).await,
            None => self.lease_replay_everywhere(id, token, duration).await,
        }
    }

    async fn update_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<ReplayState, ReplayStoreError> {
        let (state, holds_more) = self.first().step_replay(lease, update).await?;
        if holds_more {
            self.tell_of_hold().await?;
        }
        let (id, settled) = (&lease.replay_id, update.settled_batches);
        if settled > 0 {
            // Who settled them has what they say. What is left where this is cut short goes with the next step, or lease.
            try_join_all(self.others().map(|partition| partition.drop_settled(id, settled))).await?;
        }
        self.close_if_over(id, state).await?;
        Ok(state)
    }

    async fn wish(&self, id: &str, wish: ReplayWish) -> Result<Option<ReplayState>, ReplayStoreError> {
        let state = self.first().wish(id, wish).await?;
        if let Some(state) = state {
            self.close_if_over(id, state).await?;
        }
        Ok(state)
    }

    async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError> {
        match self.only() {
            Some(only) => only.results(id, limit).await,
            None => self.results_of_partitions(id, limit).await,
        }
    }

    async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError> {
        if self.only().is_none() {
            let stage = self.first().replay_stage(id).await?;
            if !stage.is_some_and(|(state, _)| state.is_final()) {
                return Ok(false);
            }
            try_join_all(self.others().map(|partition| partition.forget_replay(id))).await?;
        }
        self.first().delete_replay(id).await
    }
}

impl RedisStore {
    async fn lease_replay_everywhere(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError> {
        let Some((mut lease, is_new)) = self.first().take_replay(id, token, duration, false).await? else {
            return Ok(None);
        };
        if !is_new {
            let stamped = try_join_all(self.others().map(|partition| partition.is_stamped(&lease))).await?;
            if stamped.iter().all(|stamped| *stamped) {
                return Ok(Some(lease));
            }
            // A partition has lost the stamp, and with it perhaps what was queued under it: so the lease is over.
            match self.first().take_replay(id, token, duration, true).await? {
                Some((again, _)) => lease = again,
                None => return Ok(None),
            }
        }
        let stamped = try_join_all(self.others().map(|partition| partition.stamp(&lease))).await?;
        if let Some((_, settled)) = self.first().replay_stage(id).await? {
            try_join_all(self.others().map(|partition| partition.drop_settled(id, settled))).await?;
        }
        // Another has taken the replay over while this was stamped.
        Ok(stamped.iter().all(|stamped| *stamped).then_some(lease))
    }

    /// A replay that is over has no runner in any partition.
    async fn close_if_over(&self, id: &str, state: ReplayState) -> Result<(), ReplayStoreError> {
        if state.is_final() {
            try_join_all(self.others().map(|partition| partition.stamp_as_over(id))).await?;
        }
        Ok(())
    }

    async fn results_of_partitions(
        &self,
        id: &str,
        limit: usize,
    ) -> Result<Vec<LaneResult>, ReplayStoreError> {
        let parts = self.partitions().iter().map(|partition| partition.results(id, limit));
        let mut results = Vec::new();
        for (partition, part) in self.partitions().iter().zip(try_join_all(parts).await?) {
            results.extend(part.into_iter().map(|mut result| {
                result.segment = partition.outward_segment(result.segment);
                result
            }));
        }
        results.sort_by(by_batch);
        results.truncate(limit);
        Ok(results)
    }
}

fn by_batch(one: &LaneResult, other: &LaneResult) -> Ordering {
    (one.batch, &one.group, one.segment).cmp(&(other.batch, &other.group, other.segment))
}
