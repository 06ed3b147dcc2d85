//! Steering a replay: stages and failure limits at which it pauses by itself, and changes to its pace while it runs.

use std::{fmt, str::FromStr};

use domain::ports::ReplayRecord;
use serde::{Deserialize, Serialize};

use crate::{error::ReplayError, pace::Pace, record::bad, report::ReplayReport};

/// The number of failed events at which a replay stops.
///
/// ```
/// use event_replay_replay::FailureLimit;
/// assert_eq!("5".parse(), Ok(FailureLimit::Events(5)));
/// assert_eq!("2.5%".parse(), Ok(FailureLimit::Percent(2.5)));
/// assert!("0".parse::<FailureLimit>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailureLimit {
    /// This many events failed; at least 1.
    Events(u64),
    /// This share of the events failed, in percent; above 0, at most 100. It counts once [`FailureLimit::LEAST_DONE`] events are done.
    Percent(f64),
}

impl FailureLimit {
    /// The number of events that are done before a share of them counts.
    pub const LEAST_DONE: u64 = 20;

    /// Checks its bounds.
    ///
    /// # Errors
    /// When it is zero, or no share of 100.
    pub fn check(&self) -> Result<(), ReplayError> {
        let is_valid = match self {
            Self::Events(events) => *events > 0,
            Self::Percent(percent) => *percent > 0.0 && *percent <= 100.0,
        };
        is_valid.then_some(()).ok_or_else(|| ReplayError::InvalidOption(Self::expected(&self.to_string())))
    }

    /// Whether it is reached, of this many events that are done.
    fn is_reached(&self, done: u64, failed: u64) -> bool {
        match self {
            Self::Events(events) => failed >= *events,
            Self::Percent(percent) => {
                done >= Self::LEAST_DONE && failed as f64 * 100.0 >= percent * done as f64
            }
        }
    }

    fn expected(found: &str) -> String {
        format!("a failure limit is a number of events from 1, or a share such as 2%; this is {found}")
    }
}

impl fmt::Display for FailureLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events(events) => write!(f, "{events}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for FailureLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let limit = match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().map(Self::Percent),
            None => text.parse().ok().map(Self::Events),
        };
        limit.filter(|limit| limit.check().is_ok()).ok_or_else(|| Self::expected(&format!("{text:?}")))
    }
}

/// The reason for which a replay paused without a request of an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
#[non_exhaustive]
pub enum AutoPause {
    /// A stage of its ramp is complete.
    #[serde(rename_all = "camelCase")]
    StageComplete {
        /// The stage, from 1.
        stage: usize,
        /// The number of stages, the last one included, which has all other events.
        stages: usize,
    },
    /// As many events failed as its limit says.
    #[serde(rename_all = "camelCase")]
    FailureLimit {
        /// Events that failed since it began or was resumed.
        failed: u64,
        /// Events that were done since then.
        done: u64,
        /// The limit.
        limit: FailureLimit,
    },
}

impl fmt::Display for AutoPause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StageComplete { stage, stages } => write!(f, "stage {stage} of {stages} is complete"),
            Self::FailureLimit { failed, done, limit } => {
                write!(f, "{failed} of {done} events failed, and the limit is {limit}")
            }
        }
    }
}

/// The bounds of a replay, as its plan has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stops {
    /// Events of each stage but the last, which has the others.
    pub(crate) ramp: Vec<u64>,
    pub(crate) limit: Option<FailureLimit>,
}

/// How far a replay is within its bounds. It is written with the progress of the replay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StopState {
    /// Events that were cut into batches.
    pub(crate) cut: u64,
    /// Stages that are complete, and after which the replay was resumed.
    stages_passed: usize,
    /// Events that were done when it began or was resumed after a failure limit.
    done_before: u64,
    /// Events that had failed then.
    failed_before: u64,
    /// The reason for which it is paused.
    pub(crate) paused_by: Option<AutoPause>,
}

impl Stops {
    /// Events that may be cut before the stage ends.
    pub(crate) fn allowed(&self, state: &StopState) -> u64 {
        match self.ramp.get(..=state.stages_passed) {
            Some(stages) => {
                let bound = stages.iter().fold(0_u64, |sum, events| sum.saturating_add(*events));
                bound.saturating_sub(state.cut)
            }
            None => u64::MAX,
        }
    }

    /// Events that may fail before a limit by number is reached, at least one. A batch of more events could pass the limit.
    pub(crate) fn failures_left(&self, report: &ReplayReport) -> u64 {
        match self.limit {
            Some(FailureLimit::Events(events)) => events.saturating_sub(report.failed_replays).max(1),
            Some(FailureLimit::Percent(_)) | None => u64::MAX,
        }
    }

    /// The reason to pause now, if there is one. `is_drained` says that every event that was cut is done and that others follow.
    pub(crate) fn due(
        &self,
        state: &StopState,
        report: &ReplayReport,
        is_drained: bool,
    ) -> Option<AutoPause> {
        if let Some(limit) = self.limit {
            let done = report.done().saturating_sub(state.done_before);
            let failed = report.failed_replays.saturating_sub(state.failed_before);
            if failed > 0 && limit.is_reached(done, failed) {
                return Some(AutoPause::FailureLimit { failed, done, limit });
            }
        }
        (is_drained && self.allowed(state) == 0)
            .then(|| AutoPause::StageComplete { stage: state.stages_passed + 1, stages: self.ramp.len() + 1 })
    }
}

impl StopState {
    /// The replay was resumed: the reason for which it paused counts no longer.
    pub(crate) fn resumed(&mut self, report: &ReplayReport) {
        match self.paused_by.take() {
            Some(AutoPause::StageComplete { .. }) => self.stages_passed += 1,
            Some(AutoPause::FailureLimit { .. }) => {
                (self.done_before, self.failed_before) = (report.done(), report.failed_replays);
            }
            None => {}
        }
    }
}

/// Changes that an operator made to a replay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Steering {
    /// The pace from now on.
    pub(crate) pace: Pace,
}

/// Returns the pace of a replay: the pace that an operator set, or the pace of the plan.
pub(crate) fn pace_of(record: &ReplayRecord, planned: Pace) -> Result<Pace, ReplayError> {
    let Some(steering) = &record.steering else { return Ok(planned) };
    let steering: Steering =
        serde_json::from_str(steering).map_err(|error| bad(&record.id, "its steering", &error))?;
    Ok(steering.pace)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;

    fn report(done: u64, failed: u64) -> ReplayReport {
        let mut report = ReplayReport::new("r".to_owned(), 1_000, String::new());
        (report.successful_replays, report.failed_replays) = (done - failed, failed);
        report
    }

    #[test]
    fn stages_end_one_after_the_other_and_the_last_has_no_bound() {
        let stops = Stops { ramp: vec![1, 10], limit: None };
        let mut state = StopState::default();
        assert_eq!(stops.allowed(&state), 1);
        state.cut = 1;
        assert_eq!(stops.due(&state, &report(1, 0), false), None);
        let first = stops.due(&state, &report(1, 0), true).unwrap();
        assert_eq!(first.to_string(), "stage 1 of 3 is complete");
        state.paused_by = Some(first);
        state.resumed(&report(1, 0));
        assert_eq!(stops.allowed(&state), 10);
        state.cut = 11;
        state.paused_by = stops.due(&state, &report(11, 0), true);
        assert_eq!(state.paused_by.as_ref().unwrap().to_string(), "stage 2 of 3 is complete");
        state.resumed(&report(11, 0));
        assert_eq!(stops.allowed(&state), u64::MAX);
        assert_eq!(stops.due(&state, &report(11, 0), true), None);
    }

    #[test]
    fn a_request_to_pause_and_resume_passes_no_stage() {
        let mut state = StopState { cut: 1, ..StopState::default() };
        state.resumed(&report(1, 0));
        assert_eq!(Stops { ramp: vec![1, 10], limit: None }.allowed(&state), 0);
    }

    #[test]
    fn failures_count_from_the_last_resumption() {
        let stops = Stops { ramp: vec![], limit: Some(FailureLimit::Events(3)) };
        let mut state = StopState::default();
        assert_eq!(stops.due(&state, &report(50, 2), false), None);
        state.paused_by = stops.due(&state, &report(60, 4), false);
        assert_eq!(
            state.paused_by.as_ref().unwrap().to_string(),
            "4 of 60 events failed, and the limit is 3"
        );
        state.resumed(&report(60, 4));
        assert_eq!(stops.due(&state, &report(90, 6), false), None);
        assert!(stops.due(&state, &report(90, 7), false).is_some());
    }

    #[test]
    fn a_share_counts_once_there_are_enough_events() {
        let stops = Stops { ramp: vec![], limit: Some(FailureLimit::Percent(10.0)) };
        let due = |done, failed| stops.due(&StopState::default(), &report(done, failed), false).is_some();
        assert_eq!([due(19, 19), due(20, 1), due(20, 2), due(100, 9)], [false, false, true, false]);
    }

    #[test]
    fn limits_read_back_as_they_are_written() {
        for text in ["1", "5", "2%", "0.5%", "100%"] {
            assert_eq!(text.parse::<FailureLimit>().unwrap().to_string(), text);
        }
        for wrong in ["", "0", "-1", "1.5", "0%", "101%", "NaN%", "inf%", "%", "5 %"] {
            let refusal = wrong.parse::<FailureLimit>().unwrap_err();
            assert!(refusal.contains("a share such as 2%"), "{refusal}");
        }
    }
}
