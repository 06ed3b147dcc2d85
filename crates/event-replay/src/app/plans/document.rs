//! Kept plans as they are written down, and as programs read them.

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

/// A group that a plan goes to, as it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupReach {
    /// Its name.
    pub name: String,
    /// When it was made: a group of the same name that was made later is another one.
    pub created_at: Timestamp,
    /// Consumers that were alive.
    pub consumers: usize,
    /// Events in the log after its slowest segment.
    pub lag: u64,
    /// Events of the plan that are of its types.
    pub would_take: u64,
}

/// Where a kept plan goes, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptRun {
    /// `groups`, or the name of another target as people know it.
    pub target: String,
    /// The groups that it goes to; none where it goes elsewhere.
    pub groups: Vec<GroupReach>,
    /// Events handed over at once.
    pub batch_size: usize,
    /// How fast it goes.
    pub pace: Pace,
    /// Whether every event of the store may be meant.
    pub all: bool,
}

impl KeptRun {
    /// Where it goes, for people.
    pub fn to(&self) -> String {
        let names: Vec<&str> = self.groups.iter().map(|group| group.name.as_str()).collect();
        match names.as_slice() {
            [] => self.target.clone(),
            [name] => format!("group {name}"),
            names => format!("groups {}", names.join(", ")),
        }
    }

    /// The least time that it takes: the pauses, without the work.
    pub fn estimate(&self, events: u64) -> Duration {
        self.pace.estimate(events, self.batch_size)
    }
}

/// The document of a plan.
#[derive(Deserialize)]
struct Written {
    plan: Value,
    run: KeptRun,
}

pub(super) fn written(plan: &Value, run: &KeptRun) -> String {
    json!({ "plan": plan, "run": run }).to_string()
}

/// The plan's own part, and where it goes.
pub(super) fn read(id: &str, text: &str) -> Result<(Value, KeptRun), AppError> {
    let read = serde_json::from_str::<Written>(text);
    let unreadable = |error: serde_json::Error| {
        ReplayError::InvalidOption(format!("the plan {id} cannot be read: {error}"))
    };
    let Written { plan, run } = read.map_err(unreadable)?;
    Ok((plan, run))
}

/// Whether a plan can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PlanState {
    /// It can be run.
    Ready,
    /// Another operator must approve it first.
    AwaitingApproval,
    /// Its time is over.
    Expired,
}

impl PlanState {
    /// The state of a plan at a time.
    pub fn of(record: &PlanRecord, now: Timestamp) -> Self {
        match record {
            record if record.is_expired(now) => Self::Expired,
            record if record.waits_for_approval() => Self::AwaitingApproval,
            _ => Self::Ready,
        }
    }

    /// It, for people.
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
    /// Its id.
    pub id: &'a str,
    /// Whether it can be run.
    pub state: PlanState,
    /// The hash of its set of events.
    pub plan_hash: &'a str,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: &'a str,
    /// From then on it is refused.
    pub expires_at: Timestamp,
    /// Events of it.
    pub total_events: u64,
    /// Where they go, for people.
    pub to: &'a str,
    /// Why another operator must approve it; null: that is not needed.
    pub approval_reason: Option<&'a str>,
    /// An approval that no run has used yet.
    pub approval: Option<&'a PlanApproval>,
    /// When it last began to run, and who ran it.
    pub applied: Option<&'a PlanRun>,
}

impl<'a> PlanRow<'a> {
    /// The row of a plan at a time.
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

/// The rows of a list.
pub fn rows(plans: &[PlanRecord], now: Timestamp) -> Vec<PlanRow<'_>> {
    plans.iter().map(|plan| PlanRow::of(plan, now)).collect()
}

/// A plan, whole: what a dry run prints, and what is kept beside.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptPlanDocument<'a> {
    /// Its id.
    pub id: &'a str,
    /// Whether it can be run.
    pub state: PlanState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: &'a str,
    /// From then on it is refused.
    pub expires_at: Timestamp,
    /// Why another operator must approve it; null: that is not needed.
    pub approval_reason: Option<&'a str>,
    /// An approval that no run has used yet.
    pub approval: Option<&'a PlanApproval>,
    /// When it last began to run, and who ran it.
    pub applied: Option<&'a PlanRun>,
    /// `groups`, or another target.
    pub target: &'a str,
    /// The groups that it goes to, as they were when it was made.
    pub groups: &'a [GroupReach],
    /// Events handed over at once.
    pub batch_size: usize,
    /// How fast it goes.
    pub pace: Pace,
    /// The least time that it takes, in milliseconds.
    pub estimate_ms: u64,
    /// Which events.
    pub filter: Value,
    /// The checkpoint after which it begins, if it is a recovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<&'a str>,
    /// Where it begins (exclusive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<&'a Cursor>,
    /// At most this many events.
    pub limit: Option<u64>,
    /// The counts.
    #[serde(flatten)]
    pub counts: DryRun<'a>,
}

impl<'a> KeptPlanDocument<'a> {
    /// The document of a plan at a time.
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
