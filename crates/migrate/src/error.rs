//! Why a migration ended early.

use domain::{
    StorageFailure,
    ports::{CheckpointStoreError, EventStoreError, GroupStoreError, ReplayStoreError},
};
use redis::{ErrorKind, RedisError};
use thiserror::Error;

/// Why the old Redis could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The address makes no sense. It is not repeated, since it may hold a password.
    #[error("the address of the old Redis makes no sense: {0}")]
    Address(String),
    /// It does not answer, or stopped answering.
    #[error("the old Redis cannot be reached: {0}")]
    Unavailable(String),
    /// It does not let this user read.
    #[error("the old Redis does not permit this: {0}")]
    Denied(String),
    /// It answered something else than it was asked.
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

/// Why a migration ended early. What was taken by then stays; running it again goes on from there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The old Redis could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is nothing below the prefix.
    #[error("there is no event below the prefix {0:?}; nothing was changed")]
    NothingThere(String),
    /// Source and target are one store.
    #[error("the two are the same store; nothing was changed")]
    SameStore,
    /// A log failed.
    #[error(transparent)]
    Events(#[from] EventStoreError),
    /// Replay counts could not be kept.
    #[error(transparent)]
    Replays(#[from] ReplayStoreError),
    /// Checkpoints could not be kept.
    #[error(transparent)]
    Checkpoints(#[from] CheckpointStoreError),
    /// The source's groups could not be read.
    #[error(transparent)]
    Groups(#[from] GroupStoreError),
    /// Schemas, the schedule or dead letters could not be read or kept.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
}

impl MigrateError {
    /// The fault of a store, where it is one.
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
