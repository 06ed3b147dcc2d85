//! Replay counts and the records of replays.

#![allow(unused_variables, reason = "to be written")]

use std::{collections::*, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{*, dead_letter::*, group::*, ports::*, ports::replay_store::*};
use jiff::Timestamp;

use crate::store::RedisStore;

#[async_trait]
impl ReplayStore for RedisStore {
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn lease_replay(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn update_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<ReplayState, ReplayStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn wish(&self, id: &str, wish: ReplayWish) -> Result<Option<ReplayState>, ReplayStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

}
