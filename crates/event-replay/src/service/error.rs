//! The reason for which a service could not start, or ended by itself.

use bus::{BusError, ConsumerError};
use domain::{
    StorageFailure, UpcastersError,
    ports::{EventStoreError, GroupStoreError},
};
use thiserror::Error;

use crate::idle::IdleError;

/// The reason for which a service could not start, ended by itself, or could not be inspected.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The bus or the consumer of a group could not be created.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A consumer ended by itself.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// The schema of an event type cannot be used.
    #[error("the schema of {event_type} cannot be used: {reason}")]
    Schema {
        /// The event type.
        event_type: String,
        /// The reason.
        reason: String,
    },
    /// The set of upcasters is not valid.
    #[error(transparent)]
    Upcasters(#[from] UpcastersError),
    /// A name or a setting of the service is not valid.
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
    /// It is unknown whether a group is idle.
    #[error(transparent)]
    Idle(#[from] IdleError),
}

impl ServiceError {
    /// Returns a short stable name of the error, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bus(_) => "bus",
            Self::Consumer(ConsumerError::GroupDeleted(_)) => "group-deleted",
            Self::Consumer(_) => "consumer",
            Self::Schema { .. } => "schema",
            Self::Upcasters(_) => "upcasters",
            Self::Invalid(_) => "invalid",
            Self::Store(failure) => failure.kind(),
            Self::Events(error) => error.kind(),
            Self::Group(_) => "group",
            Self::Idle(_) => "idle",
        }
    }
}
