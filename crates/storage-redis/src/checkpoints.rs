//! Checkpoints.

#![allow(unused_variables, reason = "to be written")]

use std::{collections::*, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{*, dead_letter::*, group::*, ports::*, ports::checkpoint_store::*};
use jiff::Timestamp;

use crate::store::RedisStore;

#[async_trait]
impl CheckpointStore for RedisStore {
    async fn save_checkpoint(
        &self,
        checkpoint: Checkpoint,
        replace: bool,
    ) -> Result<(), CheckpointStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn find_checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, CheckpointStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn delete_checkpoint(&self, name_or_id: &str) -> Result<bool, CheckpointStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

}
