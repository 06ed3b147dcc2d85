//! Checkpoints, all in partition 0.

use async_trait::async_trait;
use domain::{
    Checkpoint,
    ports::{CheckpointStore, CheckpointStoreError},
};

use super::RedisStore;

#[async_trait]
impl CheckpointStore for RedisStore {
    async fn save_checkpoint(
        &self,
        checkpoint: Checkpoint,
        replace: bool,
    ) -> Result<(), CheckpointStoreError> {
        let holds = checkpoint.hold;
        self.first().save_checkpoint(checkpoint, replace).await?;
        if holds {
            self.tell_of_hold().await?;
        }
        Ok(())
    }

    async fn find_checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, CheckpointStoreError> {
        self.first().find_checkpoint(name_or_id).await
    }

    async fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointStoreError> {
        self.first().list_checkpoints().await
    }

    async fn delete_checkpoint(&self, name_or_id: &str) -> Result<bool, CheckpointStoreError> {
        self.first().delete_checkpoint(name_or_id).await
    }
}
