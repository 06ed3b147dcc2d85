//! A plan: the frozen set of events that a replay will send, counted.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{Cursor, Filter, Position, Violation};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::options::ReplayOptions;

/// What to plan.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// Which events.
    pub filter: Arc<Filter>,
    /// The mark after which the plan begins (exclusive), as in a recovery; none: the start of the log.
    pub after: Option<Cursor>,
    /// The mark at which it ends (inclusive); none: the head as it is now.
    pub until: Option<Cursor>,
    /// At most this many events, the oldest of those that match; at least 1.
    pub limit: Option<u64>,
    /// Whether to count the events that today's schemas would refuse. Every match is parsed for it.
    pub check_schemas: bool,
}

impl PlanRequest {
    /// A plan of everything that matches, from the start of the log to its head.
    pub fn new(filter: impl Into<Arc<Filter>>) -> Self {
        Self { filter: filter.into(), after: None, until: None, limit: None, check_schemas: false }
    }
}

/// A piece of a plan: 10,000 matches, the last piece fewer. Tells what was erased or trimmed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanSegment {
    /// Its events.
    pub count: u64,
    /// SHA-256 over their ids in order, in hexadecimal.
    pub hash: String,
    /// The place of its last event.
    pub cursor: Cursor,
}

/// An event that today's schemas would refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvalidExample {
    /// Its id.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// What they say: the first 10 violations.
    pub violations: Vec<Violation>,
}

/// A replay's set of events, frozen by marks and counted before it runs.
///
/// What is appended after the mark is not in it. Counts by type, source and entity kind distinguish 10,000 values; what
/// lies beyond is counted under `(other)`, so that a plan is small whatever it counts.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which events.
    pub filter: Arc<Filter>,
    /// Where it begins (exclusive).
    pub after: Option<Cursor>,
    /// The name of the checkpoint that it begins after; none where it is no recovery.
    pub checkpoint: Option<String>,
    /// The high-water mark (inclusive).
    pub mark: Cursor,
    /// At most this many events.
    pub limit: Option<u64>,
    /// Events after filter and limit.
    pub total_events: u64,
    /// Bytes of their JSON.
    pub total_bytes: u64,
    /// Events by type.
    pub by_type: BTreeMap<String, u64>,
    /// Events by source.
    pub by_source: BTreeMap<String, u64>,
    /// Events by the kinds of entities they name: an event counts once for each kind.
    pub by_entity_kind: BTreeMap<String, u64>,
    /// Events by the UTC day of their timestamp, as `2024-01-15`.
    pub by_day: BTreeMap<String, u64>,
    /// The earliest timestamp of an event.
    pub oldest: Option<Timestamp>,
    /// The latest timestamp of an event.
    pub newest: Option<Timestamp>,
    /// Whether the events were checked against today's schemas.
    pub schemas_checked: bool,
    /// Events that break their schemas.
    pub invalid: u64,
    /// The first few of them.
    pub invalid_examples: Vec<InvalidExample>,
    /// Events of types without a schema.
    pub without_schema: u64,
    /// Damaged events that were met: it is unknown whether they match. They are not in the total.
    pub corrupt: u64,
    /// The set in pieces.
    pub segments: Vec<PlanSegment>,
    /// Where its first events are, at most [`Plan::MAX_POSITIONS`]: they name what is gone later.
    pub positions: Vec<Position>,
    /// SHA-256 over filter, marks, limit, and the ids in order, in hexadecimal: equal for equal plans, however often
    /// their events were replayed.
    pub plan_hash: String,
}

impl Plan {
    /// Most positions that a plan keeps.
    pub const MAX_POSITIONS: usize = 10_000;

    /// Where its last event is: the end of what a run reads. None where it has no events.
    pub fn end(&self) -> Option<&Cursor> {
        self.segments.last().map(|segment| &segment.cursor)
    }

    /// The least time that running it takes: the pauses, without the work.
    pub fn estimate(&self, options: &ReplayOptions) -> Duration {
        options.pace.estimate(self.total_events, options.batch_size)
    }

    /// The answer of a dry run.
    pub fn dry_run(&self) -> DryRun<'_> {
        DryRun {
            dry_run: true,
            total_events: self.total_events,
            by_type: &self.by_type,
            by_source: &self.by_source,
            oldest: self.oldest,
            newest: self.newest,
            plan_hash: &self.plan_hash,
            total_bytes: self.total_bytes,
            by_entity_kind: &self.by_entity_kind,
            by_day: &self.by_day,
            mark: &self.mark,
            corrupt: self.corrupt,
            schemas: self.schemas_checked.then_some(SchemaCheck {
                invalid: self.invalid,
                invalid_examples: &self.invalid_examples,
                without_schema: self.without_schema,
            }),
        }
    }
}

/// A plan as programs read it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DryRun<'a> {
    /// Always true: nothing was sent.
    pub dry_run: bool,
    /// Events after filter and limit.
    pub total_events: u64,
    /// Events by type.
    pub by_type: &'a BTreeMap<String, u64>,
    /// Events by source.
    pub by_source: &'a BTreeMap<String, u64>,
    /// The earliest timestamp of an event.
    pub oldest: Option<Timestamp>,
    /// The latest timestamp of an event.
    pub newest: Option<Timestamp>,
    /// The plan's hash.
    pub plan_hash: &'a str,
    /// Bytes of the events' JSON.
    pub total_bytes: u64,
    /// Events by the kinds of entities they name.
    pub by_entity_kind: &'a BTreeMap<String, u64>,
    /// Events by UTC day.
    pub by_day: &'a BTreeMap<String, u64>,
    /// The high-water mark.
    pub mark: &'a Cursor,
    /// Events that cannot be read.
    pub corrupt: u64,
    /// Present where the events were checked against today's schemas.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub schemas: Option<SchemaCheck<'a>>,
}

/// What today's schemas say of a plan's events.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaCheck<'a> {
    /// Events that break their schemas.
    pub invalid: u64,
    /// The first few of them.
    pub invalid_examples: &'a [InvalidExample],
    /// Events of types without a schema.
    pub without_schema: u64,
}
