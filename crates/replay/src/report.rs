//! What came of a replay.

use domain::Cursor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::options::ReplayProgress;

/// The state that a replay ended in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ReplayStatus {
    /// Every event of the plan that still exists was handed over.
    Completed,
    /// It was asked to end, or its reader wanted no more.
    Cancelled,
    /// The target, or the store, failed permanently.
    Failed,
}

/// An event that was not replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayErrorEntry {
    /// Its id.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// Why.
    pub error: String,
    /// When it failed.
    pub timestamp: Timestamp,
}

/// What became of a replay in one consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupResult {
    /// The group.
    pub name: String,
    /// Events it handled.
    pub handled: u64,
    /// Events it gave up on.
    pub failed: u64,
    /// Events it declined: of types that it does not take, or because it takes no replays.
    pub skipped: u64,
    /// Whether it was deleted before the replay was through: what it had not handled by then counts as skipped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

impl GroupResult {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), handled: 0, failed: 0, skipped: 0, deleted: false }
    }
}

/// A piece of the plan that is not in the log as it was planned: events were erased or trimmed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanGap {
    /// The piece's number, from 0.
    pub segment: usize,
    /// It ends here.
    pub through: Cursor,
    /// How many of its events are gone. Zero where as many events are there as were planned, but other ones.
    pub missing: u64,
}

/// What came of a replay.
///
/// Successful, failed, skipped, missing and remaining add up to the total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayReport {
    /// The replay, a UUID that sorts by time.
    pub replay_id: String,
    /// How it ended.
    pub status: ReplayStatus,
    /// Events of the plan: after filter and limit.
    pub total_events: u64,
    /// Events that were handled.
    pub successful_replays: u64,
    /// Events that were given up on.
    pub failed_replays: u64,
    /// Events that were declined.
    pub skipped_events: u64,
    /// Why events failed: the first 1,000.
    pub errors: Vec<ReplayErrorEntry>,
    /// Whether more events failed than `errors` names.
    pub errors_truncated: bool,
    /// What became of it in each consumer group it went to.
    pub groups: Vec<GroupResult>,
    /// The plan that was run.
    pub plan_hash: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Events of the plan that were erased or trimmed before they could be sent.
    pub missing: u64,
    /// Where they were: the first 100 places.
    pub gaps: Vec<PlanGap>,
    /// Events of the plan that were not come to, because the replay ended early.
    pub remaining: u64,
    /// Damaged events that were met: it is unknown whether they belong to the plan.
    pub corrupt: u64,
    /// Events that were sent, but whose replay count could not be raised.
    pub uncounted: u64,
    /// Why it ended early, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

impl ReplayReport {
    /// Most errors that a report names.
    pub const MAX_ERRORS: usize = 1000;
    /// Most gaps that a report names.
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

    /// Events done with: handled, given up on or declined.
    pub fn done(&self) -> u64 {
        self.successful_replays + self.failed_replays + self.skipped_events
    }

    /// How far the run has come.
    pub(crate) fn progress(&self) -> ReplayProgress {
        ReplayProgress {
            total: self.total_events,
            successful: self.successful_replays,
            failed: self.failed_replays,
            skipped: self.skipped_events,
        }
    }

    /// Events that are left once what is done and what is missing are taken off.
    pub(crate) fn not_come_to(&self) -> u64 {
        self.total_events.saturating_sub(self.done() + self.missing)
    }

    /// Whether it completed and every event of the plan was handled or declined.
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
