//! What a publisher answers for one event.
//!
//! A store answers an append with an [`AppendOutcome`] and a schedule with a [`ScheduleOutcome`]. A publisher turns both into
//! one answer here: [`Published`] where the event is stored or waits, [`PublishError`] where it was refused. An intake does
//! not use it: its report counts the outcomes of whole batches and names lines instead of events.

use domain::{
    Position, StorageFailure,
    ports::{AppendOutcome, ScheduleOutcome},
};
use jiff::Timestamp;

use crate::publish_error::PublishError;

/// What became of a published event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It was stored now.
    Stored(Position),
    /// The same event was stored before, by another publisher, by an earlier attempt of a handler, or by an earlier try of this
    /// call whose answer was lost. Nothing changed.
    AlreadyStored(Position),
    /// It waits for its time.
    Scheduled {
        /// When it is to be appended.
        due: Timestamp,
    },
    /// The same event waits already, put there by another publisher, by an earlier attempt of a handler, or by an earlier try of
    /// this call whose answer was lost. Nothing changed.
    AlreadyScheduled {
        /// When it is to be appended, which need not be what this call asked for.
        due: Timestamp,
    },
}

impl Published {
    /// Where the log has the event; none where it waits for its time.
    pub fn position(self) -> Option<Position> {
        match self {
            Self::Stored(position) | Self::AlreadyStored(position) => Some(position),
            Self::Scheduled { .. } | Self::AlreadyScheduled { .. } => None,
        }
    }

    /// When the event is to be appended; none where the log has it.
    pub fn due(self) -> Option<Timestamp> {
        match self {
            Self::Scheduled { due } | Self::AlreadyScheduled { due } => Some(due),
            Self::Stored(_) | Self::AlreadyStored(_) => None,
        }
    }

    /// The answer for an event that was to be appended on its own.
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

    /// The answer for an event that was to be scheduled for `due`.
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
