//! Kept plans: frozen sets of events of a replay. Another person can inspect and approve a kept plan before it runs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The changeable part of a kept plan, with its identity. The plan's document holds the selected events and never
/// changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanRecord {
    /// Id of the plan.
    pub id: String,
    /// Hash of the plan's set of events.
    pub hash: String,
    /// Time at which the plan was made.
    pub created_at: Timestamp,
    /// Operator who made the plan.
    pub created_by: String,
    /// Time from which a run of the plan is refused.
    pub expires_at: Timestamp,
    /// Number of events of the plan.
    pub total_events: u64,
    /// Target of the events, for people.
    pub to: String,
    /// Reason for which another operator must approve the plan before each run. None: no approval is needed.
    pub approval_reason: Option<String>,
    /// Approval that no run has used yet.
    pub approval: Option<PlanApproval>,
    /// Last start of a run, with its operator.
    pub applied: Option<PlanRun>,
}

impl PlanRecord {
    /// Returns whether the plan may no longer run.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }

    /// Returns whether a run must wait for an approval.
    pub fn waits_for_approval(&self) -> bool {
        self.approval_reason.is_some() && self.approval.is_none()
    }
}

/// An operator's approval of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanApproval {
    /// Operator who approved.
    pub by: String,
    /// Time of the approval.
    pub at: Timestamp,
    /// Hash of the approved plan.
    pub hash: String,
}

/// The start of a run of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanRun {
    /// Operator who ran the plan.
    pub by: String,
    /// Time at which the run began.
    pub at: Timestamp,
    /// Approval that the run used.
    pub approval: Option<PlanApproval>,
}
