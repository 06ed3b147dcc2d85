//! The publisher's answer for one event.
//!
//! A store answers an append with an [`AppendOutcome`] and a schedule with a [`ScheduleOutcome`]. A publisher turns
//! both into one answer: [`Published`] if the event is stored or waits, [`PublishError`] if it was refused. An intake
//! does not use this type. Its report counts the outcomes of whole batches and names lines instead of events.

use domain::{
    Position, StorageFailure,
    ports::{AppendOutcome, ScheduleOutcome},
};
use jiff::Timestamp;

use crate::publish_error::PublishError;

/// The outcome of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// This call stored the event.
    Stored(Position),
    /// The same event was stored before. Another publisher, an earlier attempt of a handler, or an earlier try of this
    /// call with a lost answer stored it. Nothing changed.
    AlreadyStored(Position),
    /// The event waits for its time.
    Scheduled {
        /// The time at which the event will be appended.
        due: Timestamp,
    },
    /// The same event waits already. Another publisher, an earlier attempt of a handler, or an earlier try of this call
    /// with a lost answer scheduled it. Nothing changed.
    AlreadyScheduled {
        /// The time at which the event will be appended. It may differ from the time that this call asked for.
        due: Timestamp,
    },
}

impl Published {
    /// Returns the position of the event in the log, or `None` if the event waits for its time.
    pub fn position(self) -> Option<Position> {
        match self {
            Self::Stored(position) | Self::AlreadyStored(position) => Some(position),
            Self::Scheduled { .. } | Self::AlreadyScheduled { .. } => None,
        }
    }

    /// Returns the time at which the event will be appended, or `None` if the log has the event.
    pub fn due(self) -> Option<Timestamp> {
        match self {
            Self::Scheduled { due } | Self::AlreadyScheduled { due } => Some(due),
            Self::Stored(_) | Self::AlreadyStored(_) => None,
        }
    }

    /// Returns the answer for an event that was appended alone.
    pub(crate) fn from_append(id: &str, outcome: AppendOutcome) -> Result<Self, PublishError> {
        match outcome {
            AppendOutcome::Stored(position) => Ok(Self::Stored(position)),
            AppendOutcome::AlreadyStored(position) => Ok(Self::AlreadyStored(position)),
            AppendOutcome::Conflict(position) => Err(PublishError::Conflict { id: id.to_owned(), position }),
            AppendOutcome::Erased => Err(PublishError::Erased { id: id.to_owned() }),
            AppendOutcome::NotStored => {
                let detail = "it held back an event that was to be stored on its own".to_owned();
                Err(PublishError::Store(StorageFailure::Other(detail).into()))
            }
        }
    }

    /// Returns the answer for an event that was scheduled for `due`.
    pub(crate) fn from_schedule(
        id: &str,
        due: Timestamp,
        outcome: ScheduleOutcome,
    ) -> Result<Self, PublishError> {
        match outcome {
            ScheduleOutcome::Scheduled => Ok(Self::Scheduled { due }),
            ScheduleOutcome::AlreadyScheduled(due) => Ok(Self::AlreadyScheduled { due }),
            ScheduleOutcome::AlreadyStored(position) => Ok(Self::AlreadyStored(position)),
            ScheduleOutcome::Conflict(due) => Err(PublishError::ScheduleConflict { id: id.to_owned(), due }),
            ScheduleOutcome::Erased => Err(PublishError::Erased { id: id.to_owned() }),
        }
    }
}
