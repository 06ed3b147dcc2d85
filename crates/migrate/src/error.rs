//! The reasons why a migration ended early.

use domain::{
    StorageFailure,
    ports::{CheckpointStoreError, EventStoreError, GroupStoreError, ReplayStoreError},
};
use redis::{ErrorKind, RedisError};
use thiserror::Error;

/// The reason why the old Redis could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The address is invalid. The error does not contain it, because it may include a password.
    #[error("the address of the old Redis makes no sense: {0}")]
    Address(String),
    /// The server does not answer, or stopped answering.
    #[error("the old Redis cannot be reached: {0}")]
    Unavailable(String),
    /// The user has no permission to read.
    #[error("the old Redis does not permit this: {0}")]
    Denied(String),
    /// The server returned an unexpected answer.
    #[error("the old Redis failed: {0}")]
    Other(String),
}

impl SourceError {
    pub(crate) fn address(error: &RedisError) -> Self {
        Self::Address(error.category().to_owned())
    }
}

impl From<RedisError> for SourceError {
    fn from(error: RedisError) -> Self {
        let text = error.to_string();
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOPERM" | "NOAUTH" | "WRONGPASS")) => {
                Self::Denied(text)
            }
            (ErrorKind::Io, _) | (_, Some("LOADING" | "MASTERDOWN" | "BUSY")) => Self::Unavailable(text),
            _ if error.is_timeout() || error.is_connection_dropped() => Self::Unavailable(text),
            _ => Self::Other(text),
        }
    }
}

/// The reason why a migration ended early. The events stored by then stay. A new run continues from there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The old Redis could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The prefix has no events and no checkpoints.
    #[error("there is no event below the prefix {0:?}; nothing was changed")]
    NothingThere(String),
    /// Source and target are the same store.
    #[error("the two are the same store; nothing was changed")]
    SameStore,
    /// The log of a store failed.
    #[error(transparent)]
    Events(#[from] EventStoreError),
    /// The replay counts could not be written.
    #[error(transparent)]
    Replays(#[from] ReplayStoreError),
    /// The checkpoints could not be read or written.
    #[error(transparent)]
    Checkpoints(#[from] CheckpointStoreError),
    /// The source's consumer groups could not be read.
    #[error(transparent)]
    Groups(#[from] GroupStoreError),
    /// Schemas, the schedule or dead letters could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
}

impl MigrateError {
    /// Returns the failure of a store, if a store caused the error.
    pub fn storage(&self) -> Option<&StorageFailure> {
        match self {
            Self::Events(EventStoreError::Storage(failure))
            | Self::Replays(ReplayStoreError::Storage(failure))
            | Self::Checkpoints(CheckpointStoreError::Storage(failure))
            | Self::Groups(GroupStoreError::Storage(failure))
            | Self::Storage(failure) => Some(failure),
            _ => None,
        }
    }
}

impl From<RedisError> for MigrateError {
    fn from(error: RedisError) -> Self {
        Self::Source(error.into())
    }
}
