//! Operators' named marks.

use async_trait::async_trait;
use thiserror::Error;

use crate::{
    checkpoint::Checkpoint,
    error::{Retry, StorageFailure},
};

/// Why a call of [`CheckpointStore`] failed.
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
    /// Whether repeating the call can help.
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
/// - Names MUST be unique: without `replace`, saving a name that exists MUST answer `NameTaken` and change nothing.
/// - With `replace`, the checkpoint of that name MUST be exchanged in one step.
/// - `find` MUST answer to the id as well as to the name; where one checkpoint's name is another's id, the name wins.
/// - `list` MUST give all, the oldest first by when they were made and then by id.
/// - A checkpoint MUST come back as it was saved, its time to the nanosecond.
/// - Deleting what is not there MUST answer false and change nothing.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// Saves a checkpoint.
    async fn save_checkpoint(
        &self,
        checkpoint: Checkpoint,
        replace: bool,
    ) -> Result<(), CheckpointStoreError>;

    /// Finds one by name or id.
    async fn find_checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, CheckpointStoreError>;

    /// All checkpoints, the oldest first.
    async fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointStoreError>;

    /// Deletes one by name or id; whether there was one.
    async fn delete_checkpoint(&self, name_or_id: &str) -> Result<bool, CheckpointStoreError>;
}
