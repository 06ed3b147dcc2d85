//! Applying retention rules, page by page, to whatever nothing holds.

use std::sync::Arc;

use domain::{
    RetentionRule,
    ports::{EventStore, TrimRequest},
};
use serde::Serialize;

use crate::{backoff::reading, checkpoints::Checkpoints, error::ReplayError};

/// Events that one step of trimming may remove: few enough that writers hardly wait.
const PAGE: usize = 2_000;

/// What was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionReport {
    /// Whether nothing was removed, only counted. An event that several rules would remove counts for each of them then.
    pub dry_run: bool,
    /// Events.
    pub events: u64,
    /// Bytes of their JSON.
    pub bytes: u64,
    /// Who kept events that the rules would have removed.
    pub held_by: Vec<String>,
}

/// Is told, after every step, what was removed so far.
pub type RetentionProgress<'a> = &'a (dyn Fn(&RetentionReport) + Send + Sync);

/// Applies rules one after the other. What comes after the mark of a checkpoint that asks for it stays, also if the
/// checkpoint is made while this runs.
///
/// # Errors
/// When the store fails; what was removed until then is gone.
pub async fn apply(
    events: &Arc<dyn EventStore>,
    checkpoints: &Checkpoints,
    rules: &[RetentionRule],
    dry_run: bool,
    progress: Option<RetentionProgress<'_>>,
) -> Result<RetentionReport, ReplayError> {
    let mut report = RetentionReport { dry_run, ..RetentionReport::default() };
    for rule in rules.iter().filter(|rule| !rule.is_empty()) {
        loop {
            let holds = checkpoints.holds().await?;
            let request = TrimRequest { rule: rule.clone(), holds, limit: PAGE, dry_run };
            let trimmed = reading(|| events.trim(&request)).await?;
            report.events += trimmed.events;
            report.bytes += trimmed.bytes;
            if let Some(holder) = trimmed.held_by.filter(|holder| !report.held_by.contains(holder)) {
                report.held_by.push(holder);
            }
            if let Some(progress) = progress {
                progress(&report);
            }
            if !trimmed.more {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    Ok(report)
}
