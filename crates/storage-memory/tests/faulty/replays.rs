//! The replays of a faulty store.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    Position,
    group::LaneResult,
    ports::{
        ReplayCommand, ReplayLease, ReplayRecord, ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate,
    },
};
use jiff::Timestamp;

use super::{Fault, Faulty};

#[async_trait]
impl ReplayStore for Faulty {
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError> {
        match (self.fault, positions.split_first()) {
            (Fault::ForgetsOneReplay, Some((_, rest))) => self.store.record_replayed(rest, at).await,
            _ => self.store.record_replayed(positions, at).await,
        }
    }

    async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError> {
        let mut record = record.clone();
        record.hold = record.hold.filter(|_| self.fault != Fault::IgnoresReplayHolds);
        self.store.create_replay(&record).await
    }

    async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError> {
        self.store.find_replay(id).await
    }

    async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        self.store.list_replays(limit).await
    }

    async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        self.store.waiting_replays().await
    }

    async fn lease_replay(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError> {
        let lease = self.store.lease_replay(id, token, duration).await?;
        let shared = || ReplayLease { replay_id: id.to_owned(), epoch: u64::MAX, token };
        Ok(lease.or_else(|| (self.fault == Fault::SharesReplays).then(shared)))
    }

    async fn update_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<ReplayState, ReplayStoreError> {
        let mut update = update.clone();
        update.hold = update.hold.filter(|_| self.fault != Fault::IgnoresReplayHolds);
        self.store.update_replay(lease, &update).await
    }

    async fn request(
        &self,
        id: &str,
        command: ReplayCommand,
    ) -> Result<Option<ReplayState>, ReplayStoreError> {
        match self.fault {
            Fault::ForgetsCommands => Ok(self.store.find_replay(id).await?.map(|record| record.state)),
            _ => self.store.request(id, command).await,
        }
    }

    async fn steer(&self, id: &str, steering: &str) -> Result<Option<ReplayState>, ReplayStoreError> {
        match self.fault {
            Fault::ForgetsCommands => Ok(self.store.find_replay(id).await?.map(|record| record.state)),
            _ => self.store.steer(id, steering).await,
        }
    }

    async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError> {
        let mut results = self.store.results(id, limit).await?;
        if self.fault == Fault::LosesResults {
            results.pop();
        }
        Ok(results)
    }

    async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError> {
        self.store.delete_replay(id).await
    }
}
