//! Why an event was not published.

use std::time::Duration;

use domain::{Position, Retry, StorageFailure, UnexpectedEvent, Violation, ports::EventStoreError};
use jiff::Timestamp;
use thiserror::Error;

/// Why an event was not admitted: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the event is not valid: {}", sentences(.violations))]
pub struct Rejection {
    /// The id it claims, as far as it can be told.
    pub event_id: Option<String>,
    /// The type it claims, as far as it can be told.
    pub event_type: Option<String>,
    /// All violations, sorted by pointer.
    pub violations: Vec<Violation>,
}

/// Most violations that a rejection's sentence spells out; [`Rejection::violations`] has them all.
const SPELLED_OUT: usize = 5;

fn sentences(violations: &[Violation]) -> String {
    let mut said: Vec<String> = violations.iter().take(SPELLED_OUT).map(Violation::to_string).collect();
    if let Some(more) = violations.len().checked_sub(SPELLED_OUT).filter(|more| *more > 0) {
        said.push(format!("and {more} more"));
    }
    said.join("; ")
}

/// Why an event was not published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It was not admitted.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Other content is stored under its id.
    #[error(
        "event {id:?} is stored already with other content, at {position}; nothing was stored. If this repeats an attempt, the \
         event is published: repeat the same bytes, its timestamp included, or let the id alone decide (SameEvent::ById). \
         Only an event that was never published takes another id"
    )]
    Conflict {
        /// The event's id.
        id: String,
        /// Where the other content is.
        position: Position,
    },
    /// Other content waits for its time, or is stored, under the id of an event that was to be published later.
    #[error(
        "event {id:?} waits for its time, or is stored, with other content; nothing was scheduled. If this repeats an attempt, the \
         event is published: repeat the same bytes, its timestamp included, or let the id alone decide (SameEvent::ById). \
         Only an event that was never published takes another id"
    )]
    ScheduleConflict {
        /// The event's id.
        id: String,
        /// When the other content is due; none where it is stored.
        due: Option<Timestamp>,
    },
    /// The event of this id was erased on request and may not come back.
    #[error("event {id:?} was erased on request; its id is refused permanently")]
    Erased {
        /// The event's id.
        id: String,
    },
    /// It was to be published later, and the publisher has no schedule to put it into.
    #[error("this publisher has no schedule, so it cannot publish with a delay")]
    NoSchedule,
    /// It was to be published at a time that cannot be written down.
    #[error("a delay of {0:?} goes beyond the end of time")]
    DelayTooLong(Duration),
    /// It was to be published later, and under an expectation, which can be checked now alone.
    #[error(
        "an expectation is checked in the step that stores the event, and an event with a delay is stored later; nothing was \
         scheduled. Leave out the delay or the expectation"
    )]
    ExpectationWithDelay,
    /// The store failed, also after it was tried again where that could help.
    #[error(transparent)]
    Store(#[from] EventStoreError),
    /// The schedule's store failed, also after it was tried again where that could help.
    #[error(transparent)]
    Schedule(#[from] StorageFailure),
}

impl PublishError {
    /// Whether repeating the call can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            Self::Schedule(error) => error.retry(),
            _ => Retry::Never,
        }
    }

    /// The event because of which a conditional publication was refused: the log had changed since the decision was made.
    pub fn unexpected(&self) -> Option<&UnexpectedEvent> {
        match self {
            Self::Store(EventStoreError::Unexpected(event)) => Some(event),
            _ => None,
        }
    }

    /// A short stable name, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "rejected",
            Self::Conflict { .. } => "conflict",
            Self::ScheduleConflict { .. } => "schedule-conflict",
            Self::Erased { .. } => "erased",
            Self::NoSchedule => "no-schedule",
            Self::DelayTooLong(_) => "delay-too-long",
            Self::ExpectationWithDelay => "expectation-with-delay",
            Self::Store(error) => error.kind(),
            Self::Schedule(failure) => failure.kind(),
        }
    }
}
