//! The log: events, their positions and every index over them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Serialize;
use thiserror::Error;

use crate::{
    entity::Entity,
    error::{Retry, StorageFailure},
    event::Event,
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

/// What a namespace keeps. Frozen when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeps {
    /// Every event, until retention or an operator removes it.
    #[default]
    History,
    /// Each event until every group has it, and for at least [`Keeps::DEDUP_WINDOW`]. Nothing is indexed but ids: reading
    /// by anything else goes through all there is.
    Deliveries,
}

impl Keeps {
    /// How long an id is known at least, where events are kept only until they are delivered.
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
    pub keeps: Keeps,
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
    #[error("the cursor marks a place that this log no longer has: {0}")]
    LostCursor(String),
    /// More events or bytes in one batch than the store takes at once.
    #[error("a batch holds at most {max_events} events and {max_bytes} bytes; nothing was stored")]
    BatchTooLarge {
        /// Most events of a batch.
        max_events: usize,
        /// Most bytes of a batch.
        max_bytes: usize,
    },
    /// Some of the store's partitions failed that events of a batch fall to, and others did what they were asked for, or were not
    /// asked. What became of each event, in the batch's order: there is at least one failure.
    #[error("{}", in_part(.0))]
    InPart(Vec<Result<AppendOutcome, StorageFailure>>),
}

fn in_part(outcomes: &[Result<AppendOutcome, StorageFailure>]) -> String {
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    let first = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
    let first = first.map(ToString::to_string).unwrap_or_default();
    match outcomes.len() - failed {
        0 => first,
        others => format!("{first}; that is so of {failed} events, and {others} others were taken"),
    }
}

impl EventStoreError {
    /// The store's failure, if it is one; of several the first.
    pub fn failure(&self) -> Option<&StorageFailure> {
        match self {
            Self::Storage(failure) => Some(failure),
            Self::InPart(outcomes) => outcomes.iter().find_map(|outcome| outcome.as_ref().err()),
            _ => None,
        }
    }

    /// Whether repeating the call can help. Where a batch failed in part, whether that is so of any of its failures.
    pub fn retry(&self) -> Retry {
        match self {
            Self::InPart(outcomes) => {
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
            Self::InPart(_) => self.failure().map_or("other", StorageFailure::kind),
            Self::ForeignCursor { .. } => "foreign-cursor",
            Self::LostCursor(_) => "lost-cursor",
            Self::BatchTooLarge { .. } => "batch-too-large",
        }
    }
}

/// Told how far a long call has come: (done, total), in events.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

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
    /// each on their own, as [`EventStoreError::InPart`].
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
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

    /// Removes every event that names an entity, for good: their ids are refused from then on.
    async fn erase(&self, entity: &Entity) -> Result<Erased, EventStoreError>;

    /// Checks every event and index entry. Reads only.
    async fn verify(&self, progress: Option<Progress>) -> Result<VerifyReport, EventStoreError>;

    /// What the store says about itself.
    async fn info(&self) -> Result<StoreInfo, EventStoreError>;
}
