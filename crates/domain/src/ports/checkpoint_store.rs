//! The port of checkpoints: named marks that operators set.

use async_trait::async_trait;
use thiserror::Error;

use crate::{
    checkpoint::Checkpoint,
    error::{Retry, StorageFailure},
};

/// Errors of [`CheckpointStore`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckpointStoreError {
    /// The store itself failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// Another checkpoint has this name.
    #[error("a checkpoint named {0:?} exists already")]
    NameTaken(String),
}

impl CheckpointStoreError {
    /// Returns whether a repeated call can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Storage(failure) => failure.retry(),
            Self::NameTaken(_) => Retry::Never,
        }
    }
}

/// Keeps checkpoints.
///
/// Laws:
/// - Names MUST be unique. Without `replace`, saving a name that exists MUST return `NameTaken` and change nothing.
/// - With `replace`, the checkpoint of that name MUST be replaced in one step.
/// - `find` MUST accept the id as well as the name. If a text is the name of one checkpoint and the id of another,
///   the name wins.
/// - `list` MUST return all checkpoints, the oldest first: sorted by the time at which they were made, then by id.
/// - A checkpoint MUST be returned as it was saved, with its time to the nanosecond.
/// - Deleting a checkpoint that does not exist MUST return false and change nothing.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// Saves a checkpoint.
    async fn save_checkpoint(
        &self,
        checkpoint: Checkpoint,
        replace: bool,
    ) -> Result<(), CheckpointStoreError>;

    /// Returns the checkpoint with this name or id.
    async fn find_checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, CheckpointStoreError>;

    /// Returns all checkpoints, the oldest first.
    async fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointStoreError>;

    /// Deletes the checkpoint with this name or id. Returns whether there was one.
    async fn delete_checkpoint(&self, name_or_id: &str) -> Result<bool, CheckpointStoreError>;
}
