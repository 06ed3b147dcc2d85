//! Which replays have an event in their plan, and how far they are with it.

use domain::{StoredEvent, ports::ReplayState};
use serde::Serialize;

use crate::{
    backoff::repeated,
    error::ReplayError,
    manager::ReplayManager,
    record::{ReplaySummary, plan_of, progress_of},
};

/// How far a replay is with an event of its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ReplayedState {
    /// It is still to be sent, or on its way.
    Waiting,
    /// It was sent, and handled or declined.
    Sent,
    /// It was sent, and given up on.
    Failed,
    /// The replay ended before it came to the event.
    NotSent,
}

/// A replay that has some of several events in its plan.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayOf {
    /// The replay.
    pub replay: ReplaySummary,
    /// Those of the events that are in its plan, by their place among the events that were asked about.
    pub events: Vec<(usize, ReplayedState)>,
}

impl ReplayManager {
    /// Of the newest replays those that have any of these events in their plan, the newest first. A replay that failed on more
    /// events than its report names says of the others that they were sent.
    ///
    /// # Errors
    /// When the store fails, or a record cannot be read.
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
            // Under a limit the last event of the plan may come long before its mark.
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
