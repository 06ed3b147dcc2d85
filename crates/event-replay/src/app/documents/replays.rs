//! Documents of replays, beside their summaries and reports.

use domain::ports::ReplayState;
use replay::ReplaySummary;
use serde::Serialize;

use crate::app::replays::{Requested, Rest};

/// The result of a request to pause, resume or cancel a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayRequestedDocument<'a> {
    /// The id of the replay.
    pub id: &'a str,
    /// The new state of the replay.
    pub state: ReplayState,
    /// For a pause: whether the replay delivers no more events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<bool>,
    /// For a pause: the number of events that groups still handle. Null if the number is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_groups: Option<Option<u64>>,
}

impl<'a> ReplayRequestedDocument<'a> {
    /// Makes the document for the result of [`crate::app::replays::request`].
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

/// A started replay, for a caller that does not wait for its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayStartedDocument<'a> {
    /// The id of the replay.
    pub replay_id: &'a str,
    /// The number of events.
    pub total_events: u64,
    /// The groups.
    pub groups: &'a [String],
    /// The groups that have no consumer.
    pub groups_without_consumers: &'a [String],
    /// The hash of the plan.
    pub plan_hash: &'a str,
}

impl<'a> ReplayStartedDocument<'a> {
    /// Makes the document of a created replay.
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
