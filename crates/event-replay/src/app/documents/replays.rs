//! Replays, beside their summaries and reports.

use domain::ports::ReplayState;
use replay::ReplaySummary;
use serde::Serialize;

use crate::app::replays::{Requested, Rest};

/// A replay that was asked to pause, to go on or to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayRequestedDocument<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its state from now on.
    pub state: ReplayState,
    /// Of a pause: whether nothing is handed over any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<bool>,
    /// Of a pause: events that groups have in hand; null where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_groups: Option<Option<u64>>,
}

impl<'a> ReplayRequestedDocument<'a> {
    /// The document of what [`crate::app::replays::request`] came to.
    pub fn of(requested: &'a Requested) -> Self {
        let with_groups = requested.rest.map(|rest| match rest {
            Rest::Effective => Some(0),
            Rest::WithGroups(events) => Some(events),
            Rest::BatchInHand => None,
        });
        let effective = requested.rest.map(|rest| rest == Rest::Effective);
        Self { id: &requested.id, state: requested.state, effective, with_groups }
    }
}

/// A replay that was started and is not waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayStartedDocument<'a> {
    /// Its id.
    pub replay_id: &'a str,
    /// Events that it sends.
    pub total_events: u64,
    /// The groups that it goes to.
    pub groups: &'a [String],
    /// Those of them that no consumer looks after.
    pub groups_without_consumers: &'a [String],
    /// The hash of its plan.
    pub plan_hash: &'a str,
}

impl<'a> ReplayStartedDocument<'a> {
    /// The document of a replay that was made.
    pub fn of(replay: &'a ReplaySummary, groups_without_consumers: &'a [String]) -> Self {
        Self {
            replay_id: &replay.id,
            total_events: replay.total_events,
            groups: &replay.groups,
            groups_without_consumers,
            plan_hash: &replay.plan_hash,
        }
    }
}
