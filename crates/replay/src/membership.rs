//! Finds the replays that have an event in their plan, and the state of the event in each.

use domain::{StoredEvent, ports::ReplayState};
use serde::Serialize;

use crate::{
    backoff::repeated,
    error::ReplayError,
    manager::ReplayManager,
    record::{ReplaySummary, plan_of, progress_of},
};

/// The state of a planned event in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ReplayedState {
    /// The event is waiting to be sent, or in flight.
    Waiting,
    /// The event was sent, and handled or skipped.
    Sent,
    /// The event was sent, and given up on.
    Failed,
    /// The replay ended before it reached the event.
    NotSent,
}

/// A replay with at least one of several events in its plan.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayOf {
    /// The replay.
    pub replay: ReplaySummary,
    /// The events in its plan, by their index in the request, each with its state.
    pub events: Vec<(usize, ReplayedState)>,
}

impl ReplayManager {
    /// Returns those of the newest replays that have any of these events in their plan, newest first. A report names a
    /// limited number of failed events. Further failed events count as sent.
    ///
    /// # Errors
    /// Returns an error when the store fails, or when a record cannot be read.
    pub async fn replays_of(
        &self,
        events: &[StoredEvent],
        newest: usize,
    ) -> Result<Vec<ReplayOf>, ReplayError> {
        let mut found = Vec::new();
        for record in repeated(|| self.replays().list_replays(newest)).await? {
            let (plan, progress) = (plan_of(&record)?, progress_of(&record)?);
            let never = |_: &str| Err("this program compiles no conditions".to_owned());
            let filter = plan.compiled(self.compile().unwrap_or(&never))?;
            let begin = plan.start();
            // With a limit, the last event of the plan may be far before its mark.
            let end = plan.segments.last().map_or(&begin, |segment| &segment.cursor);
            let is_over = record.state.is_final();
            let state = |stored: &StoredEvent| {
                let (partition, sequence) = (stored.position.partition, stored.position.sequence);
                let failed = progress.report.errors.iter().any(|error| error.event_id == stored.event.id());
                let is_sent = sequence <= progress.cursor.sequence(partition);
                match (failed, is_sent || record.state == ReplayState::Completed, is_over) {
                    (true, ..) => ReplayedState::Failed,
                    (false, true, _) => ReplayedState::Sent,
                    (false, false, true) => ReplayedState::NotSent,
                    (false, false, false) => ReplayedState::Waiting,
                }
            };
            let is_planned = |stored: &StoredEvent| {
                let (partition, sequence) = (stored.position.partition, stored.position.sequence);
                begin.sequence(partition) < sequence
                    && sequence <= end.sequence(partition)
                    && filter.matches(&stored.event)
            };
            let planned = events.iter().enumerate().filter(|(_, stored)| is_planned(stored));
            let events: Vec<_> = planned.map(|(at, stored)| (at, state(stored))).collect();
            if !events.is_empty() {
                found.push(ReplayOf { replay: ReplaySummary::of(&record)?, events });
            }
        }
        Ok(found)
    }
}
