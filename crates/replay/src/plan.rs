//! A plan: the frozen and counted set of events that a replay will send.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{Cursor, Filter, Position, Violation};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{options::ReplayOptions, upcasts::PlanUpcasts};

/// The request for a plan.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// The filter that selects the events.
    pub filter: Arc<Filter>,
    /// The mark after which the plan begins (exclusive), as in a recovery. None means the start of the log.
    pub after: Option<Cursor>,
    /// The mark at which the plan ends (inclusive). None means the current head.
    pub until: Option<Cursor>,
    /// The most events, at least 1. The oldest matching events are planned.
    pub limit: Option<u64>,
    /// Whether to count the events that the current schemas would refuse. The planner then parses every match.
    pub check_schemas: bool,
}

impl PlanRequest {
    /// Requests a plan of every match, from the start of the log to its head.
    pub fn new(filter: impl Into<Arc<Filter>>) -> Self {
        Self { filter: filter.into(), after: None, until: None, limit: None, check_schemas: false }
    }
}

/// A segment of a plan: 10,000 matches, or fewer in the last segment. It shows which events were erased or trimmed
/// later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanSegment {
    /// The number of its events.
    pub count: u64,
    /// SHA-256 over the ids of its events, in order, in hexadecimal digits.
    pub hash: String,
    /// The position of its last event.
    pub cursor: Cursor,
}

/// An event that the current schemas would refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvalidExample {
    /// The id of the event.
    pub event_id: String,
    /// The type of the event.
    pub event_type: String,
    /// The first 10 violations.
    pub violations: Vec<Violation>,
}

/// A replay's set of events, frozen by marks and counted before the run.
///
/// Events appended after the mark are not in the plan. The counts by type, source and entity kind have at most 10,000
/// values each. Further values are counted under `(other)`, so that the size of a plan is bounded.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The filter that selects the events.
    pub filter: Arc<Filter>,
    /// The position after which the plan begins (exclusive).
    pub after: Option<Cursor>,
    /// The name of the checkpoint at which a recovery begins. None for other plans.
    pub checkpoint: Option<String>,
    /// The high-water mark (inclusive).
    pub mark: Cursor,
    /// The most events of the plan.
    pub limit: Option<u64>,
    /// The number of events after filter and limit.
    pub total_events: u64,
    /// Bytes of the events' JSON.
    pub total_bytes: u64,
    /// Events by type.
    pub by_type: BTreeMap<String, u64>,
    /// Events by source.
    pub by_source: BTreeMap<String, u64>,
    /// Events by the kinds of their entities. An event counts once for each kind.
    pub by_entity_kind: BTreeMap<String, u64>,
    /// Events by the UTC day of their timestamp, as `2024-01-15`.
    pub by_day: BTreeMap<String, u64>,
    /// The earliest timestamp of an event.
    pub oldest: Option<Timestamp>,
    /// The latest timestamp of an event.
    pub newest: Option<Timestamp>,
    /// Whether the events were checked against the current schemas.
    pub schemas_checked: bool,
    /// The number of events that break their schemas.
    pub invalid: u64,
    /// The first events that break their schemas, at most 5.
    pub invalid_examples: Vec<InvalidExample>,
    /// The number of events of types without a schema.
    pub without_schema: u64,
    /// The events that are upcast before their delivery. The validity of an event is that of its upcast form.
    pub upcasts: PlanUpcasts,
    /// The number of damaged events in the range. Whether they match is unknown, so they are not in the total.
    pub corrupt: u64,
    /// The segments of the plan.
    pub segments: Vec<PlanSegment>,
    /// The positions of its first events, at most [`Plan::MAX_POSITIONS`]. They show later which events are missing.
    pub positions: Vec<Position>,
    /// SHA-256 over filter, marks, limit, and the ids in order, in hexadecimal digits. It is equal for equal plans, and
    /// does not depend on the replay counts of the events.
    pub plan_hash: String,
}

impl Plan {
    /// The most positions that a plan stores.
    pub const MAX_POSITIONS: usize = 10_000;

    /// Returns the position of the last event, up to which a run reads. Returns none for a plan without events.
    pub fn end(&self) -> Option<&Cursor> {
        self.segments.last().map(|segment| &segment.cursor)
    }

    /// Returns the minimum time of a run: the pauses, without the work.
    pub fn estimate(&self, options: &ReplayOptions) -> Duration {
        options.pace.estimate(self.total_events, options.batch_size)
    }

    /// Returns the answer of a dry run.
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
            upcasts: (!self.upcasts.is_none()).then_some(&self.upcasts),
            schemas: self.schemas_checked.then_some(SchemaCheck {
                invalid: self.invalid,
                invalid_examples: &self.invalid_examples,
                without_schema: self.without_schema,
            }),
        }
    }
}

/// A plan in the form for programs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DryRun<'a> {
    /// Always true: no event was sent.
    pub dry_run: bool,
    /// The number of events after filter and limit.
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
    /// Events by the kinds of their entities.
    pub by_entity_kind: &'a BTreeMap<String, u64>,
    /// Events by UTC day.
    pub by_day: &'a BTreeMap<String, u64>,
    /// The high-water mark.
    pub mark: &'a Cursor,
    /// The number of events that cannot be read.
    pub corrupt: u64,
    /// Present if events of the plan need upcasting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upcasts: Option<&'a PlanUpcasts>,
    /// Present if the events were checked against the current schemas.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub schemas: Option<SchemaCheck<'a>>,
}

/// The result of a check of the plan's events against the current schemas.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaCheck<'a> {
    /// The number of events that break their schemas.
    pub invalid: u64,
    /// The first events that break their schemas, at most 5.
    pub invalid_examples: &'a [InvalidExample],
    /// The number of events of types without a schema.
    pub without_schema: u64,
}
