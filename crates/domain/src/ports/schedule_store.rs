//! Events that were published to be appended later.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{error::StorageFailure, event::Event, ports::event_store::AppendOutcome, position::Position};

/// An event that waits for its time.
#[derive(Debug, Clone)]
pub struct ScheduledEvent {
    /// The event, with its delivery options.
    pub event: Event,
    /// When it is to be appended.
    pub due: Timestamp,
    /// When it was scheduled.
    pub scheduled_at: Timestamp,
}

/// What became of an event that was to be scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleOutcome {
    /// It waits for its time.
    Scheduled,
    /// The same content waits already under its id, due at this instant; nothing changed.
    AlreadyScheduled(Timestamp),
    /// The same content is in the log already; nothing changed.
    AlreadyStored(Position),
    /// Other content waits under its id, due at this instant, or is in the log (none); nothing changed.
    Conflict(Option<Timestamp>),
    /// The event of this id was erased on request and may not come back.
    Erased,
}

/// Keeps events until they are due.
///
/// Laws:
/// - `append_due` MUST append the events that are due by the store's clock, in the order of their times and then of their
///   scheduling, and take them out of the schedule, in one step: a crash leaves each in one of the two places.
/// - `append_due` MUST append at least one event while any is due; it MAY append fewer than its limit.
/// - An event that is not due MUST NOT be appended.
/// - An event whose id came into the log meanwhile MUST leave the schedule without being appended again.
/// - `schedule` of the same id and content MUST be `AlreadyScheduled` or `AlreadyStored`, of other content `Conflict`.
/// - Where an id waits and is in the log as well, the event in the log MUST decide.
/// - A cancelled event MUST NOT be appended; cancelling what is not there MUST answer false.
/// - `scheduled` MUST give the earliest first.
/// - `erase` MUST remove scheduled events that name the entity too, and refuse their ids.
#[async_trait]
pub trait ScheduleStore: Send + Sync {
    /// Puts an event into the schedule.
    async fn schedule(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, StorageFailure>;

    /// The events that wait, the earliest first, at most `limit`.
    async fn scheduled(&self, limit: usize) -> Result<Vec<ScheduledEvent>, StorageFailure>;

    /// Takes an event out of the schedule; whether it was there.
    async fn cancel_scheduled(&self, event_id: &str) -> Result<bool, StorageFailure>;

    /// Appends what is due, at most `limit` events; their ids and what became of them. A store may take fewer at once: nothing is
    /// due any more once none came.
    async fn append_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, StorageFailure>;

    /// When the next event is due.
    async fn next_due(&self) -> Result<Option<Timestamp>, StorageFailure>;
}
