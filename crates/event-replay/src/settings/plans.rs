//! What the settings say of kept plans.

use std::time::Duration;

use config::{Map, Value};

use super::{
    error::SettingsError,
    values::{count, optional, raw, required},
};
use crate::text::number;

/// Kept plans, and which replays need one that another operator approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSettings {
    /// How long a kept plan may be run.
    pub valid_for: Duration,
    /// A replay of more events is confirmed first.
    pub confirm_above: u64,
    /// A replay of more events needs an approval; none: no number does.
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
