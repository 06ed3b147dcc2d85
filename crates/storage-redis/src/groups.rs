//! Consumer groups.

#![allow(unused_variables, reason = "to be written")]

use std::{collections::*, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{*, dead_letter::*, group::*, ports::*, ports::group_store::*};
use jiff::Timestamp;

use crate::store::RedisStore;

#[async_trait]
impl GroupStore for RedisStore {
    async fn create_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<GroupRecord, GroupStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn blocked_keys(&self, name: &str, limit: usize)
    -> Result<Vec<(u16, BlockedKey)>, GroupStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn delete_group(&self, name: &str) -> Result<bool, GroupStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn reset_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn leave(&self, group: &str, consumer: &str, token: u64) -> Result<(), GroupStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn commit(&self, commits: &[SegmentCommit]) -> Result<Vec<CommitOutcome>, GroupStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn enqueue(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn lane(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn withdraw(&self, replay_id: &str) -> Result<u64, GroupStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

}
