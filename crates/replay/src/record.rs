//! The content of a replay's record: its plan, its progress, and a summary for people and programs.

use std::sync::Arc;

use domain::{
    Cursor, Filter,
    filter::Compile,
    group::{GroupRecord, GroupSpec},
    ports::{ReplayRecord, ReplayState},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::ReplayError,
    pace::Pace,
    plan::{Plan, PlanSegment},
    report::{ReplayReport, ReplayStatus},
    segments::Checked,
    steering::{AutoPause, FailureLimit, StopState, Stops, pace_of},
};

/// A consumer group that a replay goes to, as it was when the replay was made. A later group of the same name is a
/// different group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TargetGroup {
    #[serde(flatten)]
    pub(crate) spec: GroupSpec,
    pub(crate) created_at: Timestamp,
}

impl TargetGroup {
    pub(crate) fn is(&self, record: &GroupRecord) -> bool {
        (&self.spec.name, self.created_at) == (&record.spec.name, record.created_at)
    }
}

impl From<GroupRecord> for TargetGroup {
    fn from(record: GroupRecord) -> Self {
        Self { spec: record.spec, created_at: record.created_at }
    }
}

/// The destination of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Destination {
    /// Consumer groups, by their lanes.
    Groups(Vec<TargetGroup>),
    /// A target in the process of the runner, under its name for users.
    Target(String),
}

/// The version of the plans that this program writes and reads.
const PLAN_VERSION: u32 = 1;

/// The only member that every version of a plan has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// A frozen plan in a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WrittenPlan {
    version: u32,
    pub(crate) to: Destination,
    pub(crate) filter: Value,
    pub(crate) after: Option<Cursor>,
    /// The checkpoint of a recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint: Option<String>,
    pub(crate) mark: Cursor,
    pub(crate) limit: Option<u64>,
    pub(crate) total_events: u64,
    pub(crate) plan_hash: String,
    /// Events of a batch at most; the pace may make batches smaller.
    pub(crate) batch_size: usize,
    pub(crate) pace: Pace,
    /// Events of each stage but the last, which has the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ramp: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure_limit: Option<FailureLimit>,
    pub(crate) segments: Vec<PlanSegment>,
}

impl WrittenPlan {
    pub(crate) fn new(
        plan: &Plan,
        to: Destination,
        batch_size: usize,
        pace: Pace,
    ) -> Result<Self, ReplayError> {
        let filter = serde_json::to_value(&*plan.filter)
            .map_err(|error| ReplayError::InvalidOption(format!("the filter cannot be written: {error}")))?;
        Ok(Self {
            version: PLAN_VERSION,
            to,
            filter,
            after: plan.after.clone(),
            checkpoint: plan.checkpoint.clone(),
            mark: plan.mark.clone(),
            limit: plan.limit,
            total_events: plan.total_events,
            plan_hash: plan.plan_hash.clone(),
            batch_size,
            pace,
            ramp: Vec::new(),
            failure_limit: None,
            segments: plan.segments.clone(),
        })
    }

    /// The bounds at which it pauses by itself.
    pub(crate) fn stops(&self) -> Stops {
        Stops { ramp: self.ramp.clone(), limit: self.failure_limit }
    }

    /// Returns the filter with its condition compiled.
    pub(crate) fn compiled(&self, compile: &Compile) -> Result<Arc<Filter>, ReplayError> {
        let filter = Filter::from_json(&self.filter.to_string(), compile);
        filter.map(Arc::new).map_err(|error| ReplayError::InvalidOption(error.to_string()))
    }

    /// Returns the position after which the plan begins.
    pub(crate) fn start(&self) -> Cursor {
        let partitions = self.mark.sequences.len() as u16;
        let begin = |at| self.after.as_ref().map_or(0, |after| after.sequence(at));
        Cursor::new(self.mark.store, self.mark.epoch, (0..partitions).map(begin).collect())
    }

    pub(crate) fn groups(&self) -> &[TargetGroup] {
        match &self.to {
            Destination::Groups(groups) => groups,
            Destination::Target(_) => &[],
        }
    }
}

/// The progress of a replay. One step changes the progress and removes the results of its batches.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobProgress {
    /// The cursor up to which every event of the plan is settled, and counted in the report.
    pub(crate) cursor: Cursor,
    /// The number of settled batches.
    pub(crate) settled: u64,
    /// The number below which every batch is in its lanes, or was.
    pub(crate) queued: u64,
    /// The ends of the batches after the settled batches. The end of a batch is written here before the batch enters a
    /// lane. Without it, another runner would cut different batches after an erasure.
    pub(crate) cuts: Vec<Cursor>,
    /// The place of the comparison with the plan's segments.
    pub(crate) checked: Checked,
    /// For a paused runner, the number of events that the groups still have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resting: Option<u64>,
    /// How far it is within the bounds at which it pauses by itself.
    #[serde(default)]
    pub(crate) stops: StopState,
    /// The report so far.
    pub(crate) report: ReplayReport,
}

impl JobProgress {
    pub(crate) fn new(plan: &WrittenPlan, id: &str) -> Self {
        Self {
            cursor: plan.start(),
            settled: 0,
            queued: 0,
            cuts: Vec::new(),
            checked: Checked::default(),
            resting: None,
            stops: StopState::default(),
            report: ReplayReport::new(id.to_owned(), plan.total_events, plan.plan_hash.clone()),
        }
    }
}

/// Serializes a part of a record.
pub(crate) fn written<T: Serialize>(part: &T) -> Result<String, ReplayError> {
    serde_json::to_string(part)
        .map_err(|error| ReplayError::InvalidOption(format!("a replay cannot be written down: {error}")))
}

/// Reads the plan of a record. Refuses another version before it reads any other member.
pub(crate) fn plan_of(record: &ReplayRecord) -> Result<WrittenPlan, ReplayError> {
    let unreadable = |error: serde_json::Error| bad(&record.id, "its plan", &error);
    let Versioned { version } = serde_json::from_str(&record.plan).map_err(unreadable)?;
    if version != PLAN_VERSION {
        let reason = format!(
            "its plan has version {version} and this program reads version {PLAN_VERSION}: use the program that made the \
             replay, or cancel it and plan it again"
        );
        return Err(ReplayError::BadRecord { id: record.id.clone(), reason });
    }
    serde_json::from_str(&record.plan).map_err(unreadable)
}

/// Reads the progress of a record.
pub(crate) fn progress_of(record: &ReplayRecord) -> Result<JobProgress, ReplayError> {
    serde_json::from_str(&record.progress).map_err(|error| bad(&record.id, "its progress", &error))
}

/// Returns the report of a finished replay. A replay that was cancelled without a runner gets its report from its
/// progress.
pub(crate) fn report_of(record: &ReplayRecord) -> Result<ReplayReport, ReplayError> {
    let mut report = progress_of(record)?.report;
    match record.state {
        ReplayState::Completed => report.status = ReplayStatus::Completed,
        ReplayState::Failed => report.status = ReplayStatus::Failed,
        _ => report.status = ReplayStatus::Cancelled,
    }
    if report.status != ReplayStatus::Completed {
        report.remaining = report.not_come_to();
        report.ended.get_or_insert_with(|| "it was asked to end".to_owned());
    }
    Ok(report)
}

pub(crate) fn bad(id: &str, what: &str, error: &serde_json::Error) -> ReplayError {
    ReplayError::BadRecord { id: id.to_owned(), reason: format!("{what}: {error}") }
}

/// The summary of a replay.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplaySummary {
    /// The id of the replay.
    pub id: String,
    /// The state of the replay.
    pub state: ReplayState,
    /// The time at which the replay was made.
    pub created_at: Timestamp,
    /// The time of the last change.
    pub updated_at: Timestamp,
    /// The destination: `groups`, or the name of a target such as `stdout`.
    pub target: String,
    /// The groups of the replay. Empty for another destination.
    pub groups: Vec<String>,
    /// The filter that selects the events, as JSON.
    pub filter: Value,
    /// The checkpoint at which a recovery begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The position after which the replay begins (exclusive). None means the start of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// The most events of the plan.
    pub limit: Option<u64>,
    /// The number of events in one batch.
    pub batch_size: usize,
    /// The speed limit of the replay.
    pub pace: Pace,
    /// Events of each stage but the last, which has the others; none where it has no stages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ramp: Vec<u64>,
    /// The number of failed events at which it pauses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_limit: Option<FailureLimit>,
    /// The plan's hash.
    pub plan_hash: String,
    /// Events of the plan.
    pub total_events: u64,
    /// Events that were handled so far.
    pub successful: u64,
    /// Events that were given up on so far.
    pub failed: u64,
    /// Events that were skipped so far.
    pub skipped: u64,
    /// For a paused replay, once its runner sends no more events: the events that the groups still have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resting: Option<u64>,
    /// The reason for which it is paused, where no operator asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<AutoPause>,
    /// The report of a finished replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<ReplayReport>,
}

impl ReplaySummary {
    /// Reads a record.
    ///
    /// # Errors
    /// Returns [`ReplayError::BadRecord`] when this program cannot read the record.
    pub fn of(record: &ReplayRecord) -> Result<Self, ReplayError> {
        let plan = plan_of(record)?;
        let JobProgress { resting, stops, report: progress, .. } = progress_of(record)?;
        let pace = pace_of(record, plan.pace)?;
        let (target, groups) = match &plan.to {
            Destination::Target(name) => (name.clone(), Vec::new()),
            Destination::Groups(groups) => {
                ("groups".to_owned(), groups.iter().map(|group| group.spec.name.clone()).collect())
            }
        };
        Ok(Self {
            id: record.id.clone(),
            state: record.state,
            created_at: record.created_at,
            updated_at: record.updated_at,
            target,
            groups,
            filter: plan.filter,
            checkpoint: plan.checkpoint,
            after: plan.after,
            limit: plan.limit,
            batch_size: pace.batch(plan.batch_size),
            pace,
            ramp: plan.ramp,
            failure_limit: plan.failure_limit,
            plan_hash: plan.plan_hash,
            total_events: plan.total_events,
            successful: progress.successful_replays,
            failed: progress.failed_replays,
            skipped: progress.skipped_events,
            resting: resting.filter(|_| record.state == ReplayState::Paused),
            paused_by: stops.paused_by.filter(|_| record.state == ReplayState::Paused),
            report: record.state.is_final().then(|| report_of(record)).transpose()?,
        })
    }

    /// Returns the number of events with an outcome so far.
    pub fn done(&self) -> u64 {
        self.successful + self.failed + self.skipped
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;

    #[test]
    fn a_plan_of_another_version_is_refused_with_what_to_do() {
        let refusal = |plan: &str| {
            let record = ReplayRecord {
                id: "r1".to_owned(),
                state: ReplayState::Planned,
                created_at: Timestamp::UNIX_EPOCH,
                updated_at: Timestamp::UNIX_EPOCH,
                plan: plan.to_owned(),
                progress: String::new(),
                steering: None,
                hold: None,
            };
            plan_of(&record).map(drop).unwrap_err().to_string()
        };
        assert_eq!(
            refusal(r#"{"version":2,"to":"elsewhere"}"#),
            "the record of the replay r1 cannot be read: its plan has version 2 and this program reads version 1: use the \
             program that made the replay, or cancel it and plan it again"
        );
        assert!(refusal("{}").contains("its plan: missing field `version`"), "{}", refusal("{}"));
        assert!(refusal(r#"{"version":1}"#).contains("its plan: missing field `to`"));
    }
}
