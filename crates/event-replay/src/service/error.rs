//! Why a service could not start, or ended by itself.

use bus::{BusError, ConsumerError};
use domain::{
    StorageFailure,
    ports::{EventStoreError, GroupStoreError},
};
use thiserror::Error;

use crate::idle::IdleError;

/// Why a service could not start, ended by itself, or could not be looked at.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The bus, or a group's consumer, could not be made.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A consumer ended by itself.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// The schema of an event cannot be used.
    #[error("the schema of {event_type} cannot be used: {reason}")]
    Schema {
        /// The event type.
        event_type: String,
        /// Why not.
        reason: String,
    },
    /// Something makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StorageFailure),
    /// The log could not be read.
    #[error(transparent)]
    Events(#[from] EventStoreError),
    /// A group could not be read.
    #[error(transparent)]
    Group(#[from] GroupStoreError),
    /// It could not be told whether a group is idle.
    #[error(transparent)]
    Idle(#[from] IdleError),
}

impl ServiceError {
    /// A short stable name, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bus(_) => "bus",
            Self::Consumer(ConsumerError::GroupDeleted(_)) => "group-deleted",
            Self::Consumer(_) => "consumer",
            Self::Schema { .. } => "schema",
            Self::Invalid(_) => "invalid",
            Self::Store(failure) => failure.kind(),
            Self::Events(error) => error.kind(),
            Self::Group(_) => "group",
            Self::Idle(_) => "idle",
        }
    }
}
