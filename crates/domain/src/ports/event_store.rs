//! The log: events, their positions and every index over them.

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

/// What a batch does when some of its events cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Atomicity {
    /// Each event is stored or refused on its own; those that are stored become visible together.
    #[default]
    Each,
    /// Nothing is stored if any event is a conflict or erased.
    AllOrNothing,
}

/// What became of one event of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Stored now.
    Stored(Position),
    /// The same content was stored before under this id; nothing changed.
    AlreadyStored(Position),
    /// Other content is stored under this id; nothing changed. The position is that of the stored event; where two events
    /// of one all-or-nothing batch contradict each other there is none, and it means nothing.
    Conflict(Position),
    /// The event of this id was erased on request and may not come back.
    Erased,
    /// Nothing is wrong with it, but the batch is all or nothing and another of its events was refused.
    NotStored,
}

/// The order in which a read walks the log. Log order is that of positions; of a log of several partitions it is that of the
/// times at which events were stored, then of partitions, so that it is one order for every reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Log order.
    #[default]
    OldestFirst,
    /// Against log order.
    NewestFirst,
}

/// What to read.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// Which events.
    pub filter: Arc<Filter>,
    /// In which order.
    pub order: Order,
    /// Where the page before this one ended (exclusive); none: from the start of the order.
    pub after: Option<Cursor>,
    /// The high-water mark (inclusive): nothing beyond it is returned, in either order. None: the head as it is now.
    pub until: Option<Cursor>,
    /// At most this many events, at least 1.
    pub limit: usize,
}

impl ReadRequest {
    /// A request for the first page of a filter, oldest first.
    pub fn new(filter: impl Into<Arc<Filter>>, limit: usize) -> Self {
        Self { filter: filter.into(), order: Order::OldestFirst, after: None, until: None, limit }
    }
}

/// A page of events.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Matching events in the order asked for. May be fewer than the limit, even none, while `next` says to go on:
    /// a page bounds the work it does, not only what it finds.
    pub events: Vec<StoredEvent>,
    /// Events that were met and cannot be read.
    pub corrupt: Vec<CorruptEvent>,
    /// Where to go on; none when the read is complete.
    pub next: Option<Cursor>,
}

/// What to trim. One call does a bounded piece of work; call again while [`Trimmed::more`].
#[derive(Debug, Clone)]
pub struct TrimRequest {
    /// What may go.
    pub rule: RetentionRule,
    /// What must stay.
    pub holds: Vec<Hold>,
    /// At most this many events in this call, at least 1.
    pub limit: usize,
    /// Count what would go, and change nothing.
    pub dry_run: bool,
    /// How far the store's own consumer groups keep what they have not passed.
    pub groups: GroupHolds,
}

/// How far consumer groups keep history from being trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHolds {
    /// A group that no consumer has visited for longer than this holds nothing.
    pub forgotten_after: Duration,
    /// No group holds what was stored longer ago than this; none: however long ago.
    pub max_hold: Option<Duration>,
}

impl Default for GroupHolds {
    /// Groups hold for as long as they were seen within [`crate::group::FORGOTTEN_AFTER`].
    fn default() -> Self {
        Self { forgotten_after: crate::group::FORGOTTEN_AFTER, max_hold: None }
    }
}

/// How long a namespace keeps its events. Set when the namespace is created, and never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RetentionMode {
    /// Keeps every event until retention or an operator removes it.
    #[default]
    History,
    /// Keeps each event until every group has it, and for at least [`RetentionMode::DEDUP_WINDOW`]. Only ids are indexed: a read by
    /// any other filter scans the whole log.
    #[serde(rename = "deliveries")]
    UntilDelivered,
}

impl RetentionMode {
    /// The least time for which an id is known in a namespace that keeps events only until they are delivered.
    pub const DEDUP_WINDOW: Duration = Duration::from_secs(24 * 3600);
}

/// What a trim did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// How many events went.
    pub events: u64,
    /// How many bytes of events went.
    pub bytes: u64,
    /// Whether more could go in another call. Always false for a dry run, which counts everything.
    pub more: bool,
    /// The holder that kept events which the rule would have dropped, if one did.
    pub held_by: Option<String>,
}

/// What an erasure did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erased {
    /// How many events went.
    pub events: u64,
    /// How many bytes of events went.
    pub bytes: u64,
    /// Where copies of the erased bytes may still be, if anywhere, and what to do about it. For people.
    pub remains: Vec<String>,
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where, if it is about one event.
    pub position: Option<Position>,
    /// What.
    pub detail: String,
}

/// The outcome of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Events that were read and checked.
    pub events: u64,
    /// Index entries that were checked.
    pub index_entries: u64,
    /// The first findings, at most 100.
    pub findings: Vec<Finding>,
    /// How many findings there are in all.
    pub total_findings: u64,
}

impl VerifyReport {
    /// Most findings that a report carries in full.
    pub const MAX_FINDINGS: usize = 100;

    /// Adds a finding.
    pub fn add(&mut self, position: Option<Position>, detail: impl Into<String>) {
        self.total_findings += 1;
        if self.findings.len() < Self::MAX_FINDINGS {
            self.findings.push(Finding { position, detail: detail.into() });
        }
    }
}

/// What a store says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreInfo {
    /// Its identity; cursors carry it.
    pub id: StoreId,
    /// Its namespace.
    pub namespace: String,
    /// What the namespace keeps.
    pub keeps: RetentionMode,
    /// The newest position in each partition, and the log epoch.
    pub head: Cursor,
    /// Events it holds.
    pub events: u64,
    /// Bytes of their JSON.
    pub bytes: u64,
    /// Bytes that the store occupies, with all its indexes, where it can be told: of a file as many as it has, on a server
    /// about as much memory as it takes there, measured on a sample of it.
    pub bytes_occupied: Option<u64>,
    /// The highest sequence in each partition that retention has removed; 0 where none.
    pub trimmed_through: Vec<u64>,
}

/// Why a call of [`EventStore`] failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EventStoreError {
    /// The store itself failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// The cursor belongs to another store.
    #[error("the cursor belongs to another store (it says {cursor}, this store is {store})")]
    ForeignCursor {
        /// The store that the cursor names.
        cursor: StoreId,
        /// This store.
        store: StoreId,
    },
    /// The cursor is of a log epoch, or beyond an end, that this store does not know: what it marks was lost.
    #[error("the cursor points past data that this log has lost: {0}")]
    LostCursor(String),
    /// More events or bytes in one batch than the store takes at once.
    #[error("a batch holds at most {max_events} events and {max_bytes} bytes; nothing was stored")]
    BatchTooLarge {
        /// Most events of a batch.
        max_events: usize,
        /// Most bytes of a batch.
        max_bytes: usize,
    },
    /// An event that the expectation rules out is in the log, so the batch was not stored.
    #[error(
        "{0} contradicts the expectation of the append; nothing was stored. Read the events again, decide again, and append \
         with a new expectation"
    )]
    Unexpected(UnexpectedEvent),
    /// The expectation cannot be checked in the step that stores the batch. Says why; nothing was stored.
    #[error("{0}; nothing was stored")]
    Uncheckable(String),
    /// Some partitions failed to store their events of a batch. Holds the result of each event in the order of the batch, with at
    /// least one failure.
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
    /// The store's failure, if it is one; of several the first.
    pub fn failure(&self) -> Option<&StorageFailure> {
        match self {
            Self::Storage(failure) => Some(failure),
            Self::PartiallyFailed(outcomes) => outcomes.iter().find_map(|outcome| outcome.as_ref().err()),
            _ => None,
        }
    }

    /// Whether repeating the call can help. If a batch failed in part: whether it can help for any of its failures.
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

    /// A short stable name, for programs.
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

/// Told how far a long call has come: (done, total), in events.
pub type ProgressCallback = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// The log.
///
/// Laws of appending:
/// - `append` MUST answer one outcome an event, in the batch's order.
/// - What one call stores in a partition MUST become visible at once, with all index entries, or not at all, through any crash.
/// - An event that was answered `Stored` MUST be readable afterwards, under the durability its adapter documents.
/// - The same id with the same content MUST be `AlreadyStored` with the first one's position, in the batch and across batches.
/// - The same id with other content MUST be `Conflict`, and nothing of it stored.
/// - Under `AllOrNothing`, if any outcome is `Conflict` or `Erased`, nothing MUST be stored. Over several partitions that is
///   decided by what they hold when the call begins.
/// - Positions MUST rise within a partition in commit order and MUST NOT be handed out twice, not even after trimming everything.
/// - Stored times MUST NOT fall within a partition: where the clock steps back, an event takes the time of the one
///   before it. So age trims a prefix of the log.
/// - The bytes of an event MUST come back as they went in.
///
/// Laws of conditional appending:
/// - `append_expecting` MUST store its batch wholly or not at all, in one partition.
/// - Where an event that the expectation rules out is stored before the batch is, nothing MUST be stored, and the answer MUST
///   be `Unexpected` and name such an event. Of callers at once that rule each other's events out, one MUST succeed.
/// - Events at or before [`Expectation::after`], events that do not match, and the events of the batch itself MUST NOT stand in
///   its way, however many are appended meanwhile.
/// - A batch that is stored already MUST be `AlreadyStored`, whatever was stored after it: so a call whose answer was lost can
///   be repeated. A batch with a `Conflict` or an erased event MUST be answered as `append` answers it under `AllOrNothing`.
/// - An expectation about more than one partition, or in a store that keeps events only until they are delivered, MUST be
///   refused with `Uncheckable`.
/// - A place that this log has lost, or behind which retention has removed events, MUST be refused with `LostCursor`: what was
///   removed cannot be held against the filter. Events that were removed before are not in the log and do not count.
///
/// Laws of reading:
/// - `read` MUST return exactly the events that [`Filter::matches`], each once, in log order or against it, whatever the page size.
/// - A read with a high-water mark MUST NOT return events beyond it, and MUST end.
/// - Walking back MUST return the same events as walking forth, reversed.
/// - A read in log order after [`Cursor::before`] of where a read against it ended MUST give what that one gave, and what is newer.
/// - An event whose bytes are damaged MUST be reported in its page, and the rest served.
/// - `count` MUST equal the number of events that a read to the same mark returns. Where events are damaged it may
///   include those that an index still finds.
/// - `get` MUST return the events of the ids that exist, in the order of the ids, all of them where several partitions have
///   an event of an id; `at` those of the positions that hold one, in the order of the positions, and damaged ones as damaged.
/// - A cursor of another store MUST be refused with `ForeignCursor`; one beyond the head with `LostCursor`.
/// - `changed` MUST answer as soon as the head is past `after`, also for appends of other handles, else after the timeout.
///
/// Laws of removing:
/// - `trim` MUST remove only what its rule says and no hold keeps, the oldest first, and every index entry of it. The
///   store's own checkpoints that hold count as holds, as they are at the moment of removal.
/// - Consumer groups hold as [`super::GroupStore`] says, running replays as [`super::ReplayStore`] says.
/// - Trims at once MUST NOT remove more than one of them would.
/// - A dry run MUST change nothing and count what the runs would remove.
/// - `erase` MUST remove every event that names the entity, from all indexes, the schedule and the dead letters, and its
///   ids MUST then be `Erased` to `append`.
/// - `erase` MUST forget an erased event that a checkpoint names as the last one processed; the mark stays. Where checkpoints and
///   records of replays still name the entity, it MUST say so in [`Erased::remains`].
/// - `verify` MUST find an event without an index entry and an index entry without its event.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Writes events with all their index entries.
    ///
    /// After [`StorageFailure::Unknown`] each partition's part of the batch is wholly there or wholly absent; appending it again
    /// settles it. Where some partitions failed and others did not, events that stand or fall each on their own are answered
    /// each on their own, as [`EventStoreError::PartiallyFailed`].
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError>;

    /// Writes events with all their index entries if an expectation holds, all of them or none. The expectation is checked in the
    /// same step, so no other append can come in between. The events are as durable as those of [`EventStore::append`], and stand
    /// in the log in the order of the batch.
    ///
    /// Its cost is that of an append and of a read of the filter behind [`Expectation::after`].
    ///
    /// # Errors
    /// `Unexpected` where the expectation does not hold, `Uncheckable` where it cannot be checked, `ForeignCursor` and `LostCursor`
    /// where its place is not of this log, `BatchTooLarge`, and failures of the store. Where other appends come in between too
    /// often, [`StorageFailure::Busy`]: nothing was stored.
    async fn append_expecting(
        &self,
        batch: &[Event],
        expectation: &Expectation,
    ) -> Result<Vec<AppendOutcome>, EventStoreError>;

    /// Reads a page.
    async fn read(&self, request: &ReadRequest) -> Result<Page, EventStoreError>;

    /// The events of these ids; unknown ids are left out.
    async fn get(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError>;

    /// The events at these positions; where none is, it is left out. One page, which is complete.
    async fn at(&self, positions: &[Position]) -> Result<Page, EventStoreError>;

    /// How many events match, up to a mark (inclusive) or the head.
    async fn count(&self, filter: &Arc<Filter>, until: Option<&Cursor>) -> Result<u64, EventStoreError>;

    /// The newest positions.
    async fn head(&self) -> Result<Cursor, EventStoreError>;

    /// Waits until the head is past a cursor, at most this long; the head in either case.
    async fn changed(&self, after: &Cursor, timeout: Duration) -> Result<Cursor, EventStoreError>;

    /// Removes a bounded number of old events.
    async fn trim(&self, request: &TrimRequest) -> Result<Trimmed, EventStoreError>;

    /// Removes every event that names an entity, permanently: their ids are refused from then on.
    async fn erase(&self, entity: &Entity) -> Result<Erased, EventStoreError>;

    /// Checks every event and index entry. Reads only.
    async fn verify(&self, progress: Option<ProgressCallback>) -> Result<VerifyReport, EventStoreError>;

    /// What the store says about itself.
    async fn info(&self) -> Result<StoreInfo, EventStoreError>;
}
