//! The report of a replay.

use domain::Cursor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::options::ReplayProgress;

/// The final state of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ReplayStatus {
    /// Every event of the plan that still exists was sent.
    Completed,
    /// The replay was cancelled, or the target was closed.
    Cancelled,
    /// The target or the store failed permanently.
    Failed,
}

/// An event that failed in a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayErrorEntry {
    /// The id of the event.
    pub event_id: String,
    /// The type of the event.
    pub event_type: String,
    /// The error.
    pub error: String,
    /// The time of the failure.
    pub timestamp: Timestamp,
}

/// The result of a replay in one consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupResult {
    /// The group.
    pub name: String,
    /// Events that the group handled.
    pub handled: u64,
    /// Events that the group gave up on.
    pub failed: u64,
    /// Events that the group skipped: it does not take their type, or it takes no replays.
    pub skipped: u64,
    /// Whether the group was deleted before the replay ended. Its unhandled events then count as skipped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

impl GroupResult {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), handled: 0, failed: 0, skipped: 0, deleted: false }
    }
}

/// A segment of the plan that differs from the log, because events were erased or trimmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanGap {
    /// The index of the segment, from 0.
    pub segment: usize,
    /// The position of the segment's last event.
    pub through: Cursor,
    /// The number of missing events. Zero if the number of events is the planned one, but the events differ.
    pub missing: u64,
}

/// The report of a replay.
///
/// Successful, failed, skipped, missing and remaining add up to the total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayReport {
    /// The id of the replay, a UUID that sorts by time.
    pub replay_id: String,
    /// The final state.
    pub status: ReplayStatus,
    /// Events of the plan, after filter and limit.
    pub total_events: u64,
    /// Events that were handled.
    pub successful_replays: u64,
    /// Events that were given up on.
    pub failed_replays: u64,
    /// Events that were skipped.
    pub skipped_events: u64,
    /// The first 1,000 errors.
    pub errors: Vec<ReplayErrorEntry>,
    /// Whether more events failed than `errors` names.
    pub errors_truncated: bool,
    /// The results in each consumer group of the replay.
    pub groups: Vec<GroupResult>,
    /// The hash of the plan.
    pub plan_hash: String,
    /// The duration in milliseconds.
    pub duration_ms: u64,
    /// Events of the plan that were erased or trimmed before they could be sent.
    pub missing: u64,
    /// The first 100 segments with missing events.
    pub gaps: Vec<PlanGap>,
    /// Events of the plan that were not reached, because the replay ended early.
    pub remaining: u64,
    /// Damaged events in the range. Whether they belong to the plan is unknown.
    pub corrupt: u64,
    /// Events that were sent, but their replay count could not be raised.
    pub uncounted: u64,
    /// The reason for an early end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

impl ReplayReport {
    /// The most errors in a report.
    pub const MAX_ERRORS: usize = 1000;
    /// The most gaps in a report.
    pub const MAX_GAPS: usize = 100;

    pub(crate) fn new(replay_id: String, total_events: u64, plan_hash: String) -> Self {
        Self {
            replay_id,
            status: ReplayStatus::Completed,
            total_events,
            successful_replays: 0,
            failed_replays: 0,
            skipped_events: 0,
            errors: Vec::new(),
            errors_truncated: false,
            groups: Vec::new(),
            plan_hash,
            duration_ms: 0,
            missing: 0,
            gaps: Vec::new(),
            remaining: 0,
            corrupt: 0,
            uncounted: 0,
            ended: None,
        }
    }

    /// Returns the number of events with an outcome: handled, given up on or skipped.
    pub fn done(&self) -> u64 {
        self.successful_replays + self.failed_replays + self.skipped_events
    }

    /// Returns the progress of the run.
    pub(crate) fn progress(&self) -> ReplayProgress {
        ReplayProgress {
            total: self.total_events,
            successful: self.successful_replays,
            failed: self.failed_replays,
            skipped: self.skipped_events,
        }
    }

    /// Returns the number of events without an outcome that are not missing.
    pub(crate) fn not_come_to(&self) -> u64 {
        self.total_events.saturating_sub(self.done() + self.missing)
    }

    /// Returns whether the replay completed, and every event of the plan was handled or skipped.
    pub fn is_clean(&self) -> bool {
        self.status == ReplayStatus::Completed
            && self.failed_replays == 0
            && self.missing == 0
            && self.gaps.is_empty()
            && self.corrupt == 0
    }

    pub(crate) fn add_error(&mut self, entry: ReplayErrorEntry) {
        if self.errors.len() < Self::MAX_ERRORS {
            self.errors.push(entry);
        } else {
            self.errors_truncated = true;
        }
    }

    pub(crate) fn add_gap(&mut self, gap: PlanGap) {
        self.missing += gap.missing;
        if self.gaps.len() < Self::MAX_GAPS {
            self.gaps.push(gap);
        }
    }
}
