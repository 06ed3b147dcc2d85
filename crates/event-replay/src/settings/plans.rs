//! The settings of kept plans.

use std::time::Duration;

use config::{Map, Value};

use super::{
    error::SettingsError,
    values::{count, optional, raw, required},
};
use crate::text::number;

/// The settings of kept plans, and of the replays that need the approval of another operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSettings {
    /// The time for which a kept plan can be run.
    pub valid_for: Duration,
    /// The number of events above which a replay needs a confirmation.
    pub confirm_above: u64,
    /// The number of events above which a replay needs an approval. `None`: no number needs one.
    pub approval_above: Option<u64>,
    /// Groups, and targets as they are shown, to which every replay needs an approval.
    pub approval_targets: Vec<String>,
}

impl PlanSettings {
    pub(super) fn read(tree: &Map<String, Value>) -> Result<Self, SettingsError> {
        Ok(Self {
            valid_for: required(tree, "plans.valid_for", number::duration)?,
            confirm_above: required(tree, "plans.confirm_above", count)?,
            approval_above: optional(tree, "plans.approval_above", count)?,
            approval_targets: raw(tree, "plans.approval_targets")?.list,
        })
    }
}
