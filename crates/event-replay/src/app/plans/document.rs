//! The stored form of kept plans, and their documents.

use std::time::Duration;

use domain::{
    Cursor,
    plan::{PlanApproval, PlanRecord, PlanRun},
};
use jiff::Timestamp;
use replay::{DryRun, Pace, ReplayError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::KeptPlan;
use crate::app::error::AppError;

/// A group of a plan, as it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupReach {
    /// The name of the group.
    pub name: String,
    /// The time of the group's creation. It distinguishes the group from a later group of the same name.
    pub created_at: Timestamp,
    /// The number of live consumers.
    pub consumers: usize,
    /// The lag: events in the log after the slowest segment.
    pub lag: u64,
    /// The number of events of the plan with a type of the group.
    pub would_take: u64,
}

/// The target of a kept plan and its options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptRun {
    /// `groups`, or the display name of another target.
    pub target: String,
    /// The groups. Empty if the plan has another target.
    pub groups: Vec<GroupReach>,
    /// The number of events per batch.
    pub batch_size: usize,
    /// The pace.
    pub pace: Pace,
    /// Whether a replay of all events is permitted.
    pub all: bool,
}

impl KeptRun {
    /// Returns the target as text for people.
    pub fn to(&self) -> String {
        let names: Vec<&str> = self.groups.iter().map(|group| group.name.as_str()).collect();
        match names.as_slice() {
            [] => self.target.clone(),
            [name] => format!("group {name}"),
            names => format!("groups {}", names.join(", ")),
        }
    }

    /// Returns the shortest duration of the run: the pauses without the work.
    pub fn estimate(&self, events: u64) -> Duration {
        self.pace.estimate(events, self.batch_size)
    }
}

/// The stored document of a plan.
#[derive(Deserialize)]
struct Written {
    plan: Value,
    run: KeptRun,
}

pub(super) fn written(plan: &Value, run: &KeptRun) -> String {
    json!({ "plan": plan, "run": run }).to_string()
}

/// Returns the plan itself and its target.
pub(super) fn read(id: &str, text: &str) -> Result<(Value, KeptRun), AppError> {
    let read = serde_json::from_str::<Written>(text);
    let unreadable = |error: serde_json::Error| {
        ReplayError::InvalidOption(format!("the plan {id} cannot be read: {error}"))
    };
    let Written { plan, run } = read.map_err(unreadable)?;
    Ok((plan, run))
}

/// Whether a plan can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PlanState {
    /// The plan can run.
    Ready,
    /// Another operator must approve the plan first.
    AwaitingApproval,
    /// The plan has expired.
    Expired,
}

impl PlanState {
    /// Returns the state of a plan at a time.
    pub fn of(record: &PlanRecord, now: Timestamp) -> Self {
        match record {
            record if record.is_expired(now) => Self::Expired,
            record if record.waits_for_approval() => Self::AwaitingApproval,
            _ => Self::Ready,
        }
    }

    /// Returns the state as text for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::AwaitingApproval => "awaiting approval",
            Self::Expired => "expired",
        }
    }
}

/// A plan in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanRow<'a> {
    /// The id.
    pub id: &'a str,
    /// The state.
    pub state: PlanState,
    /// The hash of the set of events.
    pub plan_hash: &'a str,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The operator who made the plan.
    pub created_by: &'a str,
    /// The time at which the plan expires.
    pub expires_at: Timestamp,
    /// The number of events.
    pub total_events: u64,
    /// The target, as text for people.
    pub to: &'a str,
    /// The rule that requires an approval of another operator. Null if no rule does.
    pub approval_reason: Option<&'a str>,
    /// An unused approval.
    pub approval: Option<&'a PlanApproval>,
    /// The last run: its start and its operator.
    pub applied: Option<&'a PlanRun>,
}

impl<'a> PlanRow<'a> {
    /// Makes the row of a plan at a time.
    pub fn of(record: &'a PlanRecord, now: Timestamp) -> Self {
        Self {
            id: &record.id,
            state: PlanState::of(record, now),
            plan_hash: &record.hash,
            created_at: record.created_at,
            created_by: &record.created_by,
            expires_at: record.expires_at,
            total_events: record.total_events,
            to: &record.to,
            approval_reason: record.approval_reason.as_deref(),
            approval: record.approval.as_ref(),
            applied: record.applied.as_ref(),
        }
    }
}

/// Returns the rows of a list.
pub fn rows(plans: &[PlanRecord], now: Timestamp) -> Vec<PlanRow<'_>> {
    plans.iter().map(|plan| PlanRow::of(plan, now)).collect()
}

/// A plan with all its details: the output of its dry run, and its record.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptPlanDocument<'a> {
    /// The id.
    pub id: &'a str,
    /// The state.
    pub state: PlanState,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The operator who made the plan.
    pub created_by: &'a str,
    /// The time at which the plan expires.
    pub expires_at: Timestamp,
    /// The rule that requires an approval of another operator. Null if no rule does.
    pub approval_reason: Option<&'a str>,
    /// An unused approval.
    pub approval: Option<&'a PlanApproval>,
    /// The last run: its start and its operator.
    pub applied: Option<&'a PlanRun>,
    /// `groups`, or another target.
    pub target: &'a str,
    /// The groups as they were when the plan was made.
    pub groups: &'a [GroupReach],
    /// The number of events per batch.
    pub batch_size: usize,
    /// The pace.
    pub pace: Pace,
    /// The shortest duration of the run, in milliseconds.
    pub estimate_ms: u64,
    /// The filter.
    pub filter: Value,
    /// The checkpoint after which the plan begins, if it is a recovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<&'a str>,
    /// The cursor after which the plan begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<&'a Cursor>,
    /// The largest number of events.
    pub limit: Option<u64>,
    /// The counts.
    #[serde(flatten)]
    pub counts: DryRun<'a>,
}

impl<'a> KeptPlanDocument<'a> {
    /// Makes the document of a plan at a time.
    pub fn of(kept: &'a KeptPlan, now: Timestamp) -> Self {
        let KeptPlan { record, plan, run } = kept;
        let estimate = run.estimate(plan.total_events);
        Self {
            id: &record.id,
            state: PlanState::of(record, now),
            created_at: record.created_at,
            created_by: &record.created_by,
            expires_at: record.expires_at,
            approval_reason: record.approval_reason.as_deref(),
            approval: record.approval.as_ref(),
            applied: record.applied.as_ref(),
            target: &run.target,
            groups: &run.groups,
            batch_size: run.batch_size,
            pace: run.pace,
            estimate_ms: u64::try_from(estimate.as_millis()).unwrap_or(u64::MAX),
            filter: serde_json::to_value(&*plan.filter).unwrap_or_default(),
            checkpoint: plan.checkpoint.as_deref(),
            after: plan.after.as_ref(),
            limit: plan.limit,
            counts: plan.dry_run(),
        }
    }
}
