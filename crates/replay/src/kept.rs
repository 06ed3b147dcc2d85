//! Kept plans: they are stored whole, read again, and compared with the log.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use domain::{Cursor, Filter, Position, filter::Compile, ports::event_store::ProgressCallback};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::ReplayError,
    manager::ReplayManager,
    pages::Pages,
    plan::{InvalidExample, Plan, PlanSegment},
    report::{PlanGap, ReplayReport},
    segments::SegmentChecker,
    upcasts::PlanUpcasts,
};

/// The version of kept plans that this program writes and reads.
const KEPT_VERSION: u32 = 1;

/// A kept plan.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptDocument {
    version: u32,
    filter: Value,
    after: Option<Cursor>,
    checkpoint: Option<String>,
    mark: Cursor,
    limit: Option<u64>,
    total_events: u64,
    total_bytes: u64,
    by_type: BTreeMap<String, u64>,
    by_source: BTreeMap<String, u64>,
    by_entity_kind: BTreeMap<String, u64>,
    by_day: BTreeMap<String, u64>,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
    schemas_checked: bool,
    invalid: u64,
    invalid_examples: Vec<InvalidExample>,
    without_schema: u64,
    #[serde(default, skip_serializing_if = "PlanUpcasts::is_none")]
    upcasts: PlanUpcasts,
    corrupt: u64,
    segments: Vec<PlanSegment>,
    positions: Vec<Position>,
    plan_hash: String,
}

impl Plan {
    /// Writes the whole plan as a document, which [`Plan::from_document`] reads.
    ///
    /// # Errors
    /// Returns [`ReplayError::InvalidOption`] when the filter cannot be written.
    pub fn to_document(&self) -> Result<Value, ReplayError> {
        let unwritable = |error: serde_json::Error| {
            ReplayError::InvalidOption(format!("the plan cannot be written: {error}"))
        };
        let plan = self.clone();
        let document = KeptDocument {
            version: KEPT_VERSION,
            filter: serde_json::to_value(&*plan.filter).map_err(unwritable)?,
            after: plan.after,
            checkpoint: plan.checkpoint,
            mark: plan.mark,
            limit: plan.limit,
            total_events: plan.total_events,
            total_bytes: plan.total_bytes,
            by_type: plan.by_type,
            by_source: plan.by_source,
            by_entity_kind: plan.by_entity_kind,
            by_day: plan.by_day,
            oldest: plan.oldest,
            newest: plan.newest,
            schemas_checked: plan.schemas_checked,
            invalid: plan.invalid,
            invalid_examples: plan.invalid_examples,
            without_schema: plan.without_schema,
            upcasts: plan.upcasts,
            corrupt: plan.corrupt,
            segments: plan.segments,
            positions: plan.positions,
            plan_hash: plan.plan_hash,
        };
        serde_json::to_value(document).map_err(unwritable)
    }

    /// Reads a document of [`Plan::to_document`]. `compile` compiles the filter's condition.
    ///
    /// # Errors
    /// Returns [`ReplayError::InvalidOption`] when the document is not a plan, has another version, or has a condition
    /// that does not compile.
    pub fn from_document(document: &Value, compile: &Compile) -> Result<Self, ReplayError> {
        let unreadable =
            |reason: String| ReplayError::InvalidOption(format!("the plan cannot be read: {reason}"));
        let version = document.get("version").and_then(Value::as_u64);
        if version != Some(KEPT_VERSION.into()) {
            return Err(unreadable(format!(
                "it has another version than {KEPT_VERSION}; make the plan again with this program"
            )));
        }
        let kept = KeptDocument::deserialize(document).map_err(|error| unreadable(error.to_string()))?;
        let filter = Filter::from_json(&kept.filter.to_string(), compile);
        Ok(Self {
            filter: filter.map(Arc::new).map_err(|error| unreadable(error.to_string()))?,
            after: kept.after,
            checkpoint: kept.checkpoint,
            mark: kept.mark,
            limit: kept.limit,
            total_events: kept.total_events,
            total_bytes: kept.total_bytes,
            by_type: kept.by_type,
            by_source: kept.by_source,
            by_entity_kind: kept.by_entity_kind,
            by_day: kept.by_day,
            oldest: kept.oldest,
            newest: kept.newest,
            schemas_checked: kept.schemas_checked,
            invalid: kept.invalid,
            invalid_examples: kept.invalid_examples,
            without_schema: kept.without_schema,
            upcasts: kept.upcasts,
            corrupt: kept.corrupt,
            segments: kept.segments,
            positions: kept.positions,
            plan_hash: kept.plan_hash,
        })
    }
}

/// The events of a plan that the log no longer has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanLosses {
    /// The number of events that were erased or trimmed after the plan was made.
    pub missing: u64,
    /// The positions of missing events, as far as the plan has them: the first 100, among its first
    /// [`Plan::MAX_POSITIONS`] events.
    pub positions: Vec<Position>,
    /// The first 100 segments with missing events.
    pub gaps: Vec<PlanGap>,
}

impl PlanLosses {
    /// The most positions in the result.
    pub const MAX_POSITIONS: usize = 100;

    /// Returns whether the log has the whole plan.
    pub fn is_none(&self) -> bool {
        self.missing == 0 && self.gaps.is_empty()
    }
}

impl ReplayManager {
    /// Reads a kept plan. A manager without a compiler refuses conditions.
    ///
    /// # Errors
    /// As [`Plan::from_document`].
    pub fn kept_plan(&self, document: &Value) -> Result<Plan, ReplayError> {
        let none = |_: &str| Err("this program reads no conditions".to_owned());
        Plan::from_document(document, self.compile().unwrap_or(&none))
    }

    /// Compares a plan with the log, and returns the events that were erased or trimmed. `progress` receives (events
    /// found, events of the plan).
    ///
    /// # Errors
    /// Returns an error when the plan belongs to another store, or when the store fails.
    pub async fn losses(
        &self,
        plan: &Plan,
        progress: Option<ProgressCallback>,
    ) -> Result<PlanLosses, ReplayError> {
        let Some(end) = plan.end() else { return Ok(PlanLosses::default()) };
        let (events, filter) = (Arc::clone(self.events()), Arc::clone(&plan.filter));
        let mut pages = Pages::new(events, filter, plan.after.clone(), end.clone());
        let mut report = ReplayReport::new(String::new(), plan.total_events, plan.plan_hash.clone());
        let mut checker = SegmentChecker::new(&plan.segments);
        let mut expected = Expected::of(&plan.positions);
        let mut found = 0;
        while let Some(page) = pages.next(None).await? {
            for stored in &page.events {
                checker.sent(stored.position, stored.event.id(), &mut report);
                expected.found(stored.position);
            }
            found += page.events.len() as u64;
            if let Some(progress) = &progress {
                progress(found.min(plan.total_events), plan.total_events);
            }
            tokio::task::yield_now().await;
        }
        checker.finish(&mut report);
        Ok(PlanLosses { missing: report.missing, positions: expected.finish(), gaps: report.gaps })
    }
}

/// The positions of a plan that were not found yet.
struct Expected<'a> {
    positions: &'a [Position],
    left: HashSet<Position>,
}

impl<'a> Expected<'a> {
    fn of(positions: &'a [Position]) -> Self {
        Self { positions, left: positions.iter().copied().collect() }
    }

    fn found(&mut self, position: Position) {
        self.left.remove(&position);
    }

    fn finish(self) -> Vec<Position> {
        let missing = self.positions.iter().filter(|position| self.left.contains(position));
        missing.take(PlanLosses::MAX_POSITIONS).copied().collect()
    }
}
