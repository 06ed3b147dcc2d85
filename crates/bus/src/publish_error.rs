//! The reasons why an event was not published.

use std::time::Duration;

use domain::{Position, Retry, StorageFailure, UnexpectedEvent, Violation, ports::EventStoreError};
use jiff::Timestamp;
use thiserror::Error;

/// The rejection of an event, with all its violations.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the event is not valid: {}", sentences(.violations))]
pub struct Rejection {
    /// The id that the event states, if it is readable.
    pub event_id: Option<String>,
    /// The type that the event states, if it is readable.
    pub event_type: Option<String>,
    /// All violations, sorted by pointer.
    pub violations: Vec<Violation>,
}

/// The highest number of violations in a rejection's message. [`Rejection::violations`] has all of them.
const SPELLED_OUT: usize = 5;

fn sentences(violations: &[Violation]) -> String {
    let mut said: Vec<String> = violations.iter().take(SPELLED_OUT).map(Violation::to_string).collect();
    if let Some(more) = violations.len().checked_sub(SPELLED_OUT).filter(|more| *more > 0) {
        said.push(format!("and {more} more"));
    }
    said.join("; ")
}

/// The reason why an event was not published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The event was rejected.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The event's id is stored with other content.
    #[error(
        "event {id:?} is stored already with other content, at {position}; nothing was stored. If this repeats an attempt, the \
         event is published: repeat the same bytes, its timestamp included, or let the id alone decide (SameEvent::ById). \
         Only an event that was never published takes another id"
    )]
    Conflict {
        /// The event's id.
        id: String,
        /// The position of the stored event.
        position: Position,
    },
    /// Under the id of an event with a delay, an event with other content is stored or waits for its time.
    #[error(
        "event {id:?} waits for its time, or is stored, with other content; nothing was scheduled. If this repeats an attempt, the \
         event is published: repeat the same bytes, its timestamp included, or let the id alone decide (SameEvent::ById). \
         Only an event that was never published takes another id"
    )]
    ScheduleConflict {
        /// The event's id.
        id: String,
        /// The time at which the other event is due. `None` means that it is stored.
        due: Option<Timestamp>,
    },
    /// The event of this id was erased on request. The id is refused permanently.
    #[error("event {id:?} was erased on request; its id is refused permanently")]
    Erased {
        /// The event's id.
        id: String,
    },
    /// The event has a delay, and the publisher has no schedule.
    #[error("this publisher has no schedule, so it cannot publish with a delay")]
    NoSchedule,
    /// The event's due time is beyond the range of timestamps.
    #[error("a delay of {0:?} goes beyond the end of time")]
    DelayTooLong(Duration),
    /// The event has a delay and an expectation. An expectation can be checked only in the step that stores the event.
    #[error(
        "an expectation is checked in the step that stores the event, and an event with a delay is stored later; nothing was \
         scheduled. Leave out the delay or the expectation"
    )]
    ExpectationWithDelay,
    /// The store failed, and the retries did not help.
    #[error(transparent)]
    Store(#[from] EventStoreError),
    /// The schedule's store failed, and the retries did not help.
    #[error(transparent)]
    Schedule(#[from] StorageFailure),
}

impl PublishError {
    /// Returns whether a repeat of the call can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            Self::Schedule(error) => error.retry(),
            _ => Retry::Never,
        }
    }

    /// Returns the event that broke the expectation. The log had changed since the caller decided.
    pub fn unexpected(&self) -> Option<&UnexpectedEvent> {
        match self {
            Self::Store(EventStoreError::Unexpected(event)) => Some(event),
            _ => None,
        }
    }

    /// Returns a short stable name of the error, for programs.
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
