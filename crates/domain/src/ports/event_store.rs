//! The port of the log: events, their positions and every index over them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Serialize;
use thiserror::Error;

use crate::{
    entity::Entity,
    error::{Retry, StorageFailure},
    event::Event,
    expectation::{Expectation, UnexpectedEvent},
    filter::Filter,
    position::{Cursor, Position, StoreId},
    retention::{Hold, RetentionRule},
    stored::{CorruptEvent, StoredEvent},
};

/// Behavior of an append if some events of its batch cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Atomicity {
    /// Each event is stored or refused independently. All stored events become visible together.
    #[default]
    Each,
    /// No event is stored if any event is a conflict or erased.
    AllOrNothing,
}

/// Outcome of one event of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The call stored the event.
    Stored(Position),
    /// The same content was already stored under this id. Nothing changed.
    AlreadyStored(Position),
    /// Other content is stored under this id. Nothing changed. The position is that of the stored event. If two
    /// events of one all-or-nothing batch contradict each other, there is no such position, and the value has no
    /// meaning.
    Conflict(Position),
    /// The event of this id was erased on request. The id stays refused.
    Erased,
    /// The event is valid, but the batch is all or nothing and another of its events was refused.
    NotStored,
}

/// Direction in which a read passes through the log. Within a partition, log order is the order of positions. A log
/// of several partitions is ordered by stored time, then by partition, so that every reader gets the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Log order.
    #[default]
    OldestFirst,
    /// Reverse log order.
    NewestFirst,
}

/// A request for one page of events.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// Filter of the events.
    pub filter: Arc<Filter>,
    /// Direction of the read.
    pub order: Order,
    /// End of the page before this one (exclusive). None starts at the beginning of the order.
    pub after: Option<Cursor>,
    /// The high-water mark (inclusive). The read returns no event beyond it, in either direction. None means the
    /// current head.
    pub until: Option<Cursor>,
    /// Most events to return, at least 1.
    pub limit: usize,
}

impl ReadRequest {
    /// Returns a request for the first page of a filter, oldest first.
    pub fn new(filter: impl Into<Arc<Filter>>, limit: usize) -> Self {
        Self { filter: filter.into(), order: Order::OldestFirst, after: None, until: None, limit }
    }
}

/// A page of events.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Matching events in the requested order. The page may have fewer events than the limit, even none, while `next`
    /// is set. A page bounds the work of the call, not only the number of events.
    pub events: Vec<StoredEvent>,
    /// Unreadable events that the read met.
    pub corrupt: Vec<CorruptEvent>,
    /// Cursor for the next page. None if the read is complete.
    pub next: Option<Cursor>,
}

/// A request to trim. One call does a bounded part of the work. Call again while [`Trimmed::more`] is set.
#[derive(Debug, Clone)]
pub struct TrimRequest {
    /// Rule that selects the events to remove.
    pub rule: RetentionRule,
    /// Holds of the caller: events that must stay.
    pub holds: Vec<Hold>,
    /// Most events to remove in this call, at least 1.
    pub limit: usize,
    /// Whether to count the events only, and change nothing.
    pub dry_run: bool,
    /// How the store's own consumer groups hold events that they have not passed.
    pub groups: GroupHolds,
}

/// The limits within which consumer groups keep events from a trim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHolds {
    /// A group holds no events if no consumer has visited it for longer than this.
    pub forgotten_after: Duration,
    /// No group holds an event that was stored longer ago than this. None means no limit.
    pub max_hold: Option<Duration>,
}

impl Default for GroupHolds {
    /// Returns holds of groups that a consumer has visited within [`crate::group::FORGOTTEN_AFTER`], for events of
    /// any age.
    fn default() -> Self {
        Self { forgotten_after: crate::group::FORGOTTEN_AFTER, max_hold: None }
    }
}

/// How long a namespace keeps its events. It is set when the namespace is created, and never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RetentionMode {
    /// The namespace keeps every event until retention or an operator removes it.
    #[default]
    History,
    /// The namespace keeps each event until every group has it, and for at least [`RetentionMode::DEDUP_WINDOW`].
    /// Only ids are indexed, so a read by any other filter scans the whole log.
    #[serde(rename = "deliveries")]
    UntilDelivered,
}

impl RetentionMode {
    /// Shortest time for which an id is known in a namespace that keeps events only until their delivery.
    pub const DEDUP_WINDOW: Duration = Duration::from_secs(24 * 3600);
}

/// Result of a trim or of its dry run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Number of removed events.
    pub events: u64,
    /// Number of bytes of the removed events.
    pub bytes: u64,
    /// Whether another call could remove more events. It is always false for a dry run, which counts everything.
    pub more: bool,
    /// Holder that kept events which the rule would have removed, if there is one.
    pub held_by: Option<String>,
}

/// Result of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erased {
    /// Number of removed events.
    pub events: u64,
    /// Number of bytes of the removed events.
    pub bytes: u64,
    /// Places where copies of the erased bytes may remain, if any, and the required action. For people.
    pub remains: Vec<String>,
}

/// An inconsistency that a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Position of the event, if the finding concerns one event.
    pub position: Option<Position>,
    /// Description of the finding.
    pub detail: String,
}

/// Result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Number of events that were read and checked.
    pub events: u64,
    /// Number of index entries that were checked.
    pub index_entries: u64,
    /// The first findings, at most 100.
    pub findings: Vec<Finding>,
    /// Total number of findings.
    pub total_findings: u64,
}

impl VerifyReport {
    /// Most findings that a report lists.
    pub const MAX_FINDINGS: usize = 100;

    /// Adds a finding. Beyond [`VerifyReport::MAX_FINDINGS`], it is only counted.
    pub fn add(&mut self, position: Option<Position>, detail: impl Into<String>) {
        self.total_findings += 1;
        if self.findings.len() < Self::MAX_FINDINGS {
            self.findings.push(Finding { position, detail: detail.into() });
        }
    }
}

/// Facts about a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreInfo {
    /// Identity of the store. Cursors carry it.
    pub id: StoreId,
    /// Name of the namespace.
    pub namespace: String,
    /// Retention mode of the namespace.
    pub keeps: RetentionMode,
    /// Newest position in each partition, and the log epoch.
    pub head: Cursor,
    /// Number of events in the store.
    pub events: u64,
    /// Number of bytes of their JSON.
    pub bytes: u64,
    /// Number of bytes that the store occupies with all its indexes, if it can be measured. For a file, it is the
    /// size of the file. For a server, it is an estimate of the memory, measured on a sample.
    pub bytes_occupied: Option<u64>,
    /// Highest sequence in each partition that retention has removed. It is 0 if there is none.
    pub trimmed_through: Vec<u64>,
}

/// Errors of [`EventStore`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EventStoreError {
    /// The store itself failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// The cursor belongs to another store.
    #[error("the cursor belongs to another store (it says {cursor}, this store is {store})")]
    ForeignCursor {
        /// Store that the cursor names.
        cursor: StoreId,
        /// This store.
        store: StoreId,
    },
    /// The cursor is of an unknown log epoch, or beyond a known end of the log. The log has lost the data there.
    #[error("the cursor points past data that this log has lost: {0}")]
    LostCursor(String),
    /// The batch has more events or bytes than the store accepts in one call.
    #[error("a batch holds at most {max_events} events and {max_bytes} bytes; nothing was stored")]
    BatchTooLarge {
        /// Most events of a batch.
        max_events: usize,
        /// Most bytes of a batch.
        max_bytes: usize,
    },
    /// The log holds an event that the expectation rules out, so the batch was not stored.
    #[error(
        "{0} contradicts the expectation of the append; nothing was stored. Read the events again, decide again, and append \
         with a new expectation"
    )]
    Unexpected(UnexpectedEvent),
    /// The expectation cannot be checked in the step that stores the batch. The text states the reason. Nothing was
    /// stored.
    #[error("{0}; nothing was stored")]
    Uncheckable(String),
    /// Some partitions failed to store their events of a batch. The value holds the result of each event in the order
    /// of the batch, with at least one failure.
    #[error("{}", partial_failure(.0))]
    PartiallyFailed(Vec<Result<AppendOutcome, StorageFailure>>),
}

fn partial_failure(outcomes: &[Result<AppendOutcome, StorageFailure>]) -> String {
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    let first = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
    let first = first.map(ToString::to_string).unwrap_or_default();
    match outcomes.len() - failed {
        0 => first,
        _ => format!("{failed} of {} events were not stored ({first}); the others were", outcomes.len()),
    }
}

impl EventStoreError {
    /// Returns the failure of the store, if the error is one. Among several failures, it is the first one.
    pub fn failure(&self) -> Option<&StorageFailure> {
        match self {
            Self::Storage(failure) => Some(failure),
            Self::PartiallyFailed(outcomes) => outcomes.iter().find_map(|outcome| outcome.as_ref().err()),
            _ => None,
        }
    }

    /// Returns whether a repeated call can help. If a batch failed in part, returns whether it can help for any of
    /// the failures.
    pub fn retry(&self) -> Retry {
        match self {
            Self::PartiallyFailed(outcomes) => {
                let mut failures = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
                failures
                    .find_map(|failure| Some(failure.retry()).filter(|retry| *retry != Retry::Never))
                    .unwrap_or(Retry::Never)
            }
            Self::Storage(failure) => failure.retry(),
            _ => Retry::Never,
        }
    }

    /// Returns a short stable name of the error, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Storage(failure) => failure.kind(),
            Self::PartiallyFailed(_) => self.failure().map_or("other", StorageFailure::kind),
            Self::ForeignCursor { .. } => "foreign-cursor",
            Self::LostCursor(_) => "lost-cursor",
            Self::BatchTooLarge { .. } => "batch-too-large",
            Self::Unexpected(_) => "unexpected-event",
            Self::Uncheckable(_) => "uncheckable-expectation",
        }
    }
}

/// Progress callback of a long call. Its arguments are the finished and the total number of events.
pub type ProgressCallback = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// The log.
///
/// Laws of appending:
/// - `append` MUST return one outcome for each event, in the order of the batch.
/// - The events that one call stores in a partition MUST become visible at once, with all index entries, or not at
///   all, through any crash.
/// - An event with the outcome `Stored` MUST be readable afterwards, with the durability that its adapter documents.
/// - The same id with the same content MUST be `AlreadyStored` with the position of the first event, in the batch and
///   across batches.
/// - The same id with other content MUST be `Conflict`, and nothing of it is stored.
/// - Under `AllOrNothing`, if any outcome is `Conflict` or `Erased`, no event MUST be stored. With several
///   partitions, their content at the start of the call decides.
/// - Positions MUST rise within a partition in commit order and MUST NOT be assigned twice, even after a trim of all
///   events.
/// - Stored times MUST NOT fall within a partition. If the clock steps back, an event gets the stored time of the
///   event before it. So a trim by age removes a prefix of the log.
/// - The bytes of an event MUST be returned as they were published.
///
/// Laws of conditional appending:
/// - `append_expecting` MUST store its batch whole or not at all, in one partition.
/// - If an event that the expectation rules out is stored before the batch is, nothing MUST be stored. The error MUST
///   be `Unexpected` and name such an event. Of concurrent callers that rule out each other's events, one MUST
///   succeed.
/// - Some events MUST NOT block the append, however many are appended meanwhile. They are the events at or before
///   [`Expectation::after`], the events that do not match, and the events of the batch itself.
/// - A batch that is already stored MUST be `AlreadyStored`, regardless of the events stored after it. So a caller
///   can repeat a call after a lost answer. For a batch with a `Conflict` or an erased event, the answer MUST be that
///   of `append` under `AllOrNothing`.
/// - An expectation MUST be refused with `Uncheckable` if it is about more than one partition, or if the store keeps
///   events only until they are delivered.
/// - A place that this log has lost, or after which retention has removed events, MUST be refused with `LostCursor`.
///   The filter cannot be checked against removed events. Without a place, removed events do not count, because they
///   are not in the log.
///
/// Laws of reading:
/// - `read` MUST return exactly the matching events ([`Filter::matches`]), each once, in log order or against it, for
///   any page size.
/// - A read with a high-water mark MUST NOT return events beyond it, and MUST end.
/// - A read against log order MUST return the same events as a read in log order, reversed.
/// - Let a read against log order end at a cursor. A read in log order after [`Cursor::before`] of it MUST return the
///   same events, and newer events.
/// - An event with damaged bytes MUST be reported in its page. The other events are returned.
/// - `count` MUST equal the number of events that a read to the same mark returns. If events are damaged, the count
///   may include damaged events that an index still finds.
/// - `get` MUST return the events of the ids that exist, in the order of the ids. If several partitions have an event
///   of an id, it returns all of them. `at` returns the events of the positions that hold one, in the order of the
///   positions, and damaged events as damaged.
/// - A cursor of another store MUST be refused with `ForeignCursor`, and a cursor beyond the head with `LostCursor`.
/// - `changed` MUST return as soon as the head is past `after`, also for appends of other handles, otherwise after
///   the timeout.
///
/// Laws of removing:
/// - `trim` MUST remove only events that its rule selects and no hold keeps, the oldest first, with every index
///   entry. The store's own checkpoints with a hold count as holds, in their state at the moment of removal.
/// - Consumer groups hold as [`super::GroupStore`] defines, running replays as [`super::ReplayStore`] defines.
/// - Concurrent trims MUST NOT remove more than one of them would.
/// - A dry run MUST change nothing and count the events that the runs would remove.
/// - `erase` MUST remove every event that names the entity, from all indexes, the schedule and the dead letters. Its
///   ids MUST then be `Erased` to `append`.
/// - If a checkpoint names an erased event as the last one processed, `erase` MUST clear that name. The mark stays.
///   If checkpoints and records of replays still name the entity, it MUST report them in [`Erased::remains`].
/// - `verify` MUST find an event without an index entry and an index entry without its event.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Writes events with all their index entries.
    ///
    /// After [`StorageFailure::Unknown`], each partition's part of the batch is stored whole or not at all. A
    /// repeated append settles it. With [`Atomicity::Each`], some partitions may fail while others succeed. The error
    /// is then [`EventStoreError::PartiallyFailed`], with one result for each event.
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError>;

    /// Writes all events of a batch, with their index entries, if an expectation holds. Otherwise it writes none. It
    /// checks the expectation in the same step, so that no other append can happen in between. The events are as
    /// durable as those of [`EventStore::append`], and are in the log in the order of the batch.
    ///
    /// The cost is that of an append and of a read of the filter after [`Expectation::after`].
    ///
    /// # Errors
    /// - Returns `Unexpected` when the expectation does not hold, and `Uncheckable` when it cannot be checked.
    /// - Returns `ForeignCursor` or `LostCursor` when its place is not of this log.
    /// - Returns `BatchTooLarge` when the batch is too large, and failures of the store.
    /// - Returns [`StorageFailure::Busy`] when other appends happen in between too often. Nothing was stored.
    async fn append_expecting(
        &self,
        batch: &[Event],
        expectation: &Expectation,
    ) -> Result<Vec<AppendOutcome>, EventStoreError>;

    /// Reads a page.
    async fn read(&self, request: &ReadRequest) -> Result<Page, EventStoreError>;

    /// Returns the events of these ids. Unknown ids are left out.
    async fn get(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError>;

    /// Returns the events at these positions, as one complete page. Positions without an event are left out.
    async fn at(&self, positions: &[Position]) -> Result<Page, EventStoreError>;

    /// Returns the number of matching events up to a mark (inclusive) or the head.
    async fn count(&self, filter: &Arc<Filter>, until: Option<&Cursor>) -> Result<u64, EventStoreError>;

    /// Returns the newest positions.
    async fn head(&self) -> Result<Cursor, EventStoreError>;

    /// Waits until the head is past a cursor, at most for this time. Returns the head in either case.
    async fn changed(&self, after: &Cursor, timeout: Duration) -> Result<Cursor, EventStoreError>;

    /// Removes a bounded number of old events.
    async fn trim(&self, request: &TrimRequest) -> Result<Trimmed, EventStoreError>;

    /// Removes every event that names an entity, permanently. Their ids are refused from then on.
    async fn erase(&self, entity: &Entity) -> Result<Erased, EventStoreError>;

    /// Checks every event and index entry. It reads only.
    async fn verify(&self, progress: Option<ProgressCallback>) -> Result<VerifyReport, EventStoreError>;

    /// Returns facts about the store.
    async fn info(&self) -> Result<StoreInfo, EventStoreError>;
}
