//! The port of the schedule: events that are published now and appended later.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{error::StorageFailure, event::Event, ports::event_store::AppendOutcome, position::Position};

/// An event that waits for its time.
#[derive(Debug, Clone)]
pub struct ScheduledEvent {
    /// The event, with its delivery options.
    pub event: Event,
    /// Time at which the event is to be appended.
    pub due: Timestamp,
    /// Time at which the event was scheduled.
    pub scheduled_at: Timestamp,
}

/// Outcome of a request to schedule an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleOutcome {
    /// The event waits for its time.
    Scheduled,
    /// The same content already waits under this id, due at this instant. Nothing changed.
    AlreadyScheduled(Timestamp),
    /// The same content is already in the log. Nothing changed.
    AlreadyStored(Position),
    /// Other content waits under this id, due at this instant, or is in the log (none). Nothing changed.
    Conflict(Option<Timestamp>),
    /// The event of this id was erased on request. The id stays refused.
    Erased,
}

/// Keeps events until they are due.
///
/// Laws:
/// - `append_due` MUST append the events that are due by the store's clock and remove them from the schedule, in one
///   step. Their order is that of their times, then of their scheduling. A crash leaves each event in exactly one of
///   the two places.
/// - `append_due` MUST append at least one event while any is due. It MAY append fewer than its limit.
/// - An event that is not due MUST NOT be appended.
/// - If the log has received an event of the same id meanwhile, the scheduled event MUST leave the schedule without a
///   second append.
/// - `schedule` of the same id and content MUST be `AlreadyScheduled` or `AlreadyStored`, of other content
///   `Conflict`.
/// - If an id waits and is in the log as well, the event in the log MUST decide.
/// - A cancelled event MUST NOT be appended. Cancelling an event that is not scheduled MUST return false.
/// - `scheduled` MUST return the earliest events first.
/// - `erase` MUST remove scheduled events that name the entity too, and refuse their ids.
#[async_trait]
pub trait ScheduleStore: Send + Sync {
    /// Adds an event to the schedule.
    async fn schedule(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, StorageFailure>;

    /// Returns the waiting events, the earliest first, at most `limit`.
    async fn scheduled(&self, limit: usize) -> Result<Vec<ScheduledEvent>, StorageFailure>;

    /// Removes an event from the schedule. Returns whether it was there.
    async fn cancel_scheduled(&self, event_id: &str) -> Result<bool, StorageFailure>;

    /// Appends due events, at most `limit`. Returns their ids and outcomes. A store may append fewer events in one
    /// call. An empty answer means that no event is due any more.
    async fn append_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, StorageFailure>;

    /// Returns the time at which the next event is due.
    async fn next_due(&self) -> Result<Option<Timestamp>, StorageFailure>;
}
