//! The errors of plans, replays and recoveries.

use domain::{
    Retry, StorageFailure,
    ports::{CheckpointStoreError, EventStoreError, GroupStoreError, ReplayStoreError},
};
use jiff::Timestamp;
use thiserror::Error;

use crate::report::ReplayReport;

/// The reason for which the events after a checkpoint cannot be replayed in full.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GapCause {
    /// Retention removed events after the mark.
    #[error(
        "retention has removed events after its mark, between {partition}:{first} and {partition}:{last}. \
         Allow the gap to replay what is left, or restore a backup that still has them"
    )]
    Trimmed {
        /// The partition.
        partition: u16,
        /// The first sequence after the mark.
        first: u64,
        /// The last sequence that retention removed.
        last: u64,
    },
    /// The checkpoint was made in another store.
    #[error(
        "it marks a place in another store ({mark}; this one is {store}). \
         Recover there, or choose events here by their time or type"
    )]
    Foreign {
        /// The store of the checkpoint.
        mark: String,
        /// This store.
        store: String,
    },
    /// The log no longer has the position of the checkpoint.
    #[error(
        "the log no longer has the place it marks ({0}), as after the restore of an older backup or a crash. \
         Choose events by their time instead, from shortly before the checkpoint was made"
    )]
    Lost(String),
}

/// The reason for which a plan, a replay or a recovery failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The log failed.
    #[error(transparent)]
    Events(#[from] EventStoreError),
    /// The checkpoint store failed.
    #[error(transparent)]
    Checkpoints(#[from] CheckpointStoreError),
    /// The replay store failed.
    #[error(transparent)]
    Replays(#[from] ReplayStoreError),
    /// The group store failed.
    #[error(transparent)]
    Groups(#[from] GroupStoreError),
    /// The storage failed, for example in the dead letter store.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// The replay does not exist.
    #[error("there is no replay {0:?}")]
    UnknownReplay(String),
    /// The group does not exist.
    #[error("there is no consumer group named {name:?}{}", suggestions(.known))]
    UnknownGroup {
        /// The name in the request.
        name: String,
        /// Names of some existing groups.
        known: Vec<String>,
    },
    /// The store has no consumer group.
    #[error("there is no consumer group yet that events could be replayed into")]
    NoGroups,
    /// The record of a replay cannot be read.
    #[error("the record of the replay {id} cannot be read: {reason}")]
    BadRecord {
        /// The replay.
        id: String,
        /// The reason.
        reason: String,
    },
    /// An option is invalid.
    #[error("{0}")]
    InvalidOption(String),
    /// The replay has no filter and would send the whole log.
    #[error("this would replay everything in the store; give a filter, or say that all events are meant")]
    Everything,
    /// No event has this id.
    #[error("no event with the id {0:?} is stored; a checkpoint marks an event of this store")]
    UnknownEvent(String),
    /// The checkpoint does not exist.
    #[error("there is no checkpoint named {name:?}{}", suggestions(.known))]
    UnknownCheckpoint {
        /// The name in the request.
        name: String,
        /// Names of some existing checkpoints.
        known: Vec<String>,
    },
    /// Events after a checkpoint are missing, or the store cannot determine whether all of them exist.
    #[error("the checkpoint {name:?}, made {created_at}, cannot be recovered from: {cause}")]
    CheckpointGap {
        /// The checkpoint.
        name: String,
        /// The time at which the checkpoint was made.
        created_at: Timestamp,
        /// The missing events, and the advice to the user.
        cause: GapCause,
    },
    /// The store failed while a replay ran. The target received the events that the report counts.
    #[error("the replay stopped after {} of {} events: {error}", .report.done(), .report.total_events)]
    Interrupted {
        /// The failure of the store.
        error: EventStoreError,
        /// The report up to the failure.
        report: Box<ReplayReport>,
    },
}

fn suggestions(names: &[String]) -> String {
    match names {
        [] => "; there are none".to_owned(),
        names => format!("; there are: {}", names.join(", ")),
    }
}

impl ReplayError {
    /// Returns whether a retry of the call can succeed.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Events(error) | Self::Interrupted { error, .. } => error.retry(),
            Self::Checkpoints(error) => error.retry(),
            Self::Replays(error) => error.retry(),
            Self::Groups(error) => error.retry(),
            Self::Storage(failure) => failure.retry(),
            _ => Retry::Never,
        }
    }

    /// Returns a short stable name, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Events(error) => error.kind(),
            Self::Checkpoints(CheckpointStoreError::Storage(failure)) => failure.kind(),
            Self::Checkpoints(CheckpointStoreError::NameTaken(_)) => "name-taken",
            Self::Checkpoints(_) => "checkpoints",
            Self::Replays(ReplayStoreError::Storage(failure))
            | Self::Groups(GroupStoreError::Storage(failure))
            | Self::Storage(failure) => failure.kind(),
            Self::Replays(_) => "replays",
            Self::Groups(_) => "groups",
            Self::UnknownReplay(_) => "unknown-replay",
            Self::UnknownGroup { .. } => "unknown-group",
            Self::NoGroups => "no-groups",
            Self::BadRecord { .. } => "bad-record",
            Self::InvalidOption(_) => "invalid-option",
            Self::Everything => "everything",
            Self::UnknownEvent(_) => "unknown-event",
            Self::UnknownCheckpoint { .. } => "unknown-checkpoint",
            Self::CheckpointGap { .. } => "checkpoint-gap",
            Self::Interrupted { .. } => "interrupted",
        }
    }
}
