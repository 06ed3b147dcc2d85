//! Makes a plan with one scan up to a frozen mark, in constant memory.

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    Cursor, Event, Position, StoredEvent,
    ports::{EventStore, EventUpcaster, EventValidator, Verdict, event_store::ProgressCallback},
    time::{day_name, day_of},
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::{
    backoff::repeated,
    error::ReplayError,
    pages::Pages,
    plan::{InvalidExample, Plan, PlanRequest, PlanSegment},
    segments::SegmentBuilder,
    upcasts::PlanUpcasts,
};

const MAX_EXAMPLES: usize = 5;
const MAX_EXAMPLE_VIOLATIONS: usize = 10;
/// The most values of one count.
const MAX_VALUES: usize = 10_000;
const OTHER: &str = "(other)";

/// The checks of each event of a plan.
#[derive(Clone, Copy)]
pub(crate) struct Checks<'a> {
    /// The current schemas.
    pub(crate) validator: Option<&'a dyn EventValidator>,
    pub(crate) upcaster: &'a dyn EventUpcaster,
}

/// Scans and counts the events. `progress` receives (positions passed, positions to pass).
pub(crate) async fn plan(
    events: &Arc<dyn EventStore>,
    checks: Checks<'_>,
    request: PlanRequest,
    progress: Option<&ProgressCallback>,
) -> Result<Plan, ReplayError> {
    if request.limit == Some(0) {
        return Err(ReplayError::InvalidOption("a limit is at least 1".to_owned()));
    }
    request.filter.check().map_err(|error| ReplayError::InvalidOption(error.to_string()))?;
    let validator = schema_checker(checks.validator, request.check_schemas)?;
    let checks = Checks { validator, ..checks };
    let PlanRequest { filter, after, until, limit, .. } = request;
    let mark = match until {
        Some(until) => until,
        None => repeated(|| events.head()).await?,
    };
    let mut scan = Scan::new(after.as_ref(), &mark, checks);
    let mut pages = Pages::new(Arc::clone(events), Arc::clone(&filter), after.clone(), mark.clone());
    let start = after.as_ref().map_or(0, reached);
    let total = reached(&mark).saturating_sub(start);
    while let Some(page) = pages.next(limit.map(|limit| limit.saturating_sub(scan.counts.events))).await? {
        scan.counts.corrupt += page.corrupt.len() as u64;
        for stored in &page.events {
            scan.add(stored);
        }
        if let Some(progress) = progress {
            let passed = page.next.as_ref().map_or(total, |next| reached(next).saturating_sub(start));
            progress(passed.min(total), total);
        }
        // A store in memory answers without a wait. The yield lets other tasks run.
        tokio::task::yield_now().await;
    }
    let frame = Frame { filter, after, mark, limit, schemas_checked: validator.is_some() };
    scan.finish(frame)
}

fn schema_checker(
    validator: Option<&dyn EventValidator>,
    check_schemas: bool,
) -> Result<Option<&dyn EventValidator>, ReplayError> {
    match (check_schemas, validator) {
        (false, _) => Ok(None),
        (true, Some(validator)) => Ok(Some(validator)),
        (true, None) => {
            Err(ReplayError::InvalidOption("events cannot be checked: no schemas are loaded".to_owned()))
        }
    }
}

fn reached(cursor: &Cursor) -> u64 {
    cursor.sequences.iter().fold(0, |sum, sequence| sum.saturating_add(*sequence))
}

/// The request for a plan, with its mark.
struct Frame {
    filter: Arc<domain::Filter>,
    after: Option<Cursor>,
    mark: Cursor,
    limit: Option<u64>,
    schemas_checked: bool,
}

#[derive(Default)]
struct Counts {
    events: u64,
    bytes: u64,
    by_type: BTreeMap<String, u64>,
    by_source: BTreeMap<String, u64>,
    by_entity_kind: BTreeMap<String, u64>,
    by_day: BTreeMap<i64, u64>,
    range: Option<(Timestamp, Timestamp)>,
    invalid: u64,
    invalid_examples: Vec<InvalidExample>,
    without_schema: u64,
    upcasts: PlanUpcasts,
    corrupt: u64,
}

struct Scan<'a> {
    counts: Counts,
    segment: SegmentBuilder,
    segments: Vec<PlanSegment>,
    positions: Vec<Position>,
    checks: Checks<'a>,
}

impl<'a> Scan<'a> {
    fn new(after: Option<&Cursor>, mark: &Cursor, checks: Checks<'a>) -> Self {
        let segment = SegmentBuilder::new(after, mark);
        Self { counts: Counts::default(), segment, segments: Vec::new(), positions: Vec::new(), checks }
    }

    fn add(&mut self, stored: &StoredEvent) {
        self.counts.add(&stored.event);
        self.counts.check(&stored.event, self.checks);
        self.segment.add(stored);
        if self.positions.len() < Plan::MAX_POSITIONS {
            self.positions.push(stored.position);
        }
        if self.segment.is_full() {
            self.segments.extend(self.segment.take());
        }
    }

    fn finish(mut self, frame: Frame) -> Result<Plan, ReplayError> {
        self.segments.extend(self.segment.take());
        let Frame { filter, after, mark, limit, schemas_checked } = frame;
        let selected = Selected { filter: &filter, after: after.as_ref(), mark: &mark, limit };
        let plan_hash = selected.hash(&self.segments)?;
        let counts = self.counts;
        Ok(Plan {
            filter,
            after,
            checkpoint: None,
            mark,
            limit,
            total_events: counts.events,
            total_bytes: counts.bytes,
            by_type: counts.by_type,
            by_source: counts.by_source,
            by_entity_kind: counts.by_entity_kind,
            by_day: counts.by_day.into_iter().map(|(day, count)| (day_name(day), count)).collect(),
            oldest: counts.range.map(|(oldest, _)| oldest),
            newest: counts.range.map(|(_, newest)| newest),
            schemas_checked,
            invalid: counts.invalid,
            invalid_examples: counts.invalid_examples,
            without_schema: counts.without_schema,
            upcasts: counts.upcasts,
            corrupt: counts.corrupt,
            segments: self.segments,
            positions: self.positions,
            plan_hash,
        })
    }
}

impl Counts {
    fn add(&mut self, event: &Event) {
        self.events += 1;
        self.bytes += event.size_bytes() as u64;
        count(&mut self.by_type, event.event_type());
        count(&mut self.by_source, event.source());
        // Member names are unique within an event, so each kind occurs once.
        for (kind, _) in event.entities() {
            count(&mut self.by_entity_kind, kind);
        }
        let at = event.timestamp();
        *self.by_day.entry(day_of(at)).or_default() += 1;
        let (oldest, newest) = self.range.unwrap_or((at, at));
        self.range = Some((oldest.min(at), newest.max(at)));
    }

    /// Upcasts an event if its version has an upcaster, and validates the result.
    fn check(&mut self, event: &Event, checks: Checks<'_>) {
        let Some(to) = checks.upcaster.target(event.event_type(), event.version()) else {
            return self.validate(event, checks.validator);
        };
        let upcast = checks.upcaster.upcast(event);
        self.upcasts.add(event, to, upcast.as_ref().err());
        // An event that cannot be upcast has failed already, so its validity is not counted.
        if let Ok(event) = upcast {
            self.validate(&event, checks.validator);
        }
    }

    fn validate(&mut self, event: &Event, validator: Option<&dyn EventValidator>) {
        let Some(validator) = validator else { return };
        // The stored text was JSON when it was appended, and its checksum is correct.
        let Ok(value) = event.value() else { return };
        match validator.validate(&value) {
            Verdict::Valid => {}
            Verdict::NoSchema => self.without_schema += 1,
            Verdict::Invalid(mut violations) => {
                self.invalid += 1;
                if self.invalid_examples.len() < MAX_EXAMPLES {
                    violations.truncate(MAX_EXAMPLE_VIOLATIONS);
                    let (event_id, event_type) = (event.id().to_owned(), event.event_type().to_owned());
                    self.invalid_examples.push(InvalidExample { event_id, event_type, violations });
                }
            }
        }
    }
}

fn count(counts: &mut BTreeMap<String, u64>, value: &str) {
    if let Some(count) = counts.get_mut(value) {
        *count += 1;
        return;
    }
    let value = if counts.len() < MAX_VALUES { value } else { OTHER };
    *counts.entry(value.to_owned()).or_default() += 1;
}

impl Plan {
    /// Computes the hash of the plan's selection. It differs from the plan's own hash if a kept plan was changed.
    ///
    /// # Errors
    /// Returns [`ReplayError::InvalidOption`] when the filter cannot be written.
    pub fn computed_hash(&self) -> Result<String, ReplayError> {
        let selected = Selected {
            filter: &self.filter,
            after: self.after.as_ref(),
            mark: &self.mark,
            limit: self.limit,
        };
        selected.hash(&self.segments)
    }
}

/// The parts of a plan that its hash covers, in addition to its segments.
struct Selected<'a> {
    filter: &'a domain::Filter,
    after: Option<&'a Cursor>,
    mark: &'a Cursor,
    limit: Option<u64>,
}

impl Selected<'_> {
    fn hash(&self, segments: &[PlanSegment]) -> Result<String, ReplayError> {
        let filter = serde_json::to_string(self.filter)
            .map_err(|error| ReplayError::InvalidOption(format!("the filter cannot be written: {error}")))?;
        let after = self.after.map(Cursor::to_string);
        let limit = self.limit.map(|limit| limit.to_string());
        let mut hash = Sha256::new();
        for part in [Some(filter), after, Some(self.mark.to_string()), limit] {
            hash.update(part.unwrap_or_default());
            // None of the parts contains a line break.
            hash.update(b"\n");
        }
        for segment in segments {
            hash.update(&segment.hash);
        }
        Ok(domain::hex(&hash.finalize()))
    }
}
