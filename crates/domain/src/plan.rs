//! Kept plans: what a replay would send, frozen, so that another person can look at it and approve it before it runs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What changes of a kept plan, with what tells it from others. What it selects is its document, which never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanRecord {
    /// Its id.
    pub id: String,
    /// The hash of its set of events.
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// From then on it is refused.
    pub expires_at: Timestamp,
    /// Events of it.
    pub total_events: u64,
    /// Where its events go, for people.
    pub to: String,
    /// Why another operator must approve it before each run; none: that is not needed.
    pub approval_reason: Option<String>,
    /// An approval that no run has used yet.
    pub approval: Option<PlanApproval>,
    /// When it last began to run, and who ran it.
    pub applied: Option<PlanRun>,
}

impl PlanRecord {
    /// Whether it may not be run any more.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }

    /// Whether a run has to wait for an approval.
    pub fn waits_for_approval(&self) -> bool {
        self.approval_reason.is_some() && self.approval.is_none()
    }
}

/// That an operator approved a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanApproval {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The hash of the plan that was approved.
    pub hash: String,
}

/// That a plan began to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanRun {
    /// Who ran it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The approval that the run used.
    pub approval: Option<PlanApproval>,
}
