//! The states of a replay, and their transitions.
//!
//! ```text
//!              runner              runner
//!   Planned ───────────► Running ───────────► Completed, Failed
//!     ▲  │ pause           │ pause
//!     │  └──────► Paused ◄─┘             cancel, where no runner has it ──► Cancelled
//!     └─ resume ─────┘                   cancel, where a runner has it  ──► Cancelling ──► Cancelled
//! ```

use crate::ports::replay_store::{ReplayCommand, ReplayState};

/// Returns the state after a step of the runner. A request that arrived during the step stays, unless the step is
/// final.
pub fn after_step(now: ReplayState, step: ReplayState) -> ReplayState {
    match (now, step) {
        (_, step) if step.is_final() => step,
        (ReplayState::Cancelling | ReplayState::Paused, _) => now,
        _ => step,
    }
}

/// Returns the state after a request. `is_run` states whether a runner holds a valid lease.
pub fn after_request(state: ReplayState, request: ReplayCommand, is_run: bool) -> ReplayState {
    match (request, state) {
        (_, state) if state.is_final() => state,
        (ReplayCommand::Cancel, _) if is_run => ReplayState::Cancelling,
        (ReplayCommand::Cancel, _) => ReplayState::Cancelled,
        // A pause has no effect on a replay that is being cancelled.
        (ReplayCommand::Pause, ReplayState::Planned | ReplayState::Running) => ReplayState::Paused,
        (ReplayCommand::Resume, ReplayState::Paused) => ReplayState::Planned,
        _ => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReplayState::{Cancelled, Cancelling, Completed, Failed, Paused, Planned, Running};

    const ALL: [ReplayState; 7] = [Planned, Running, Paused, Cancelling, Cancelled, Completed, Failed];

    #[test]
    fn what_is_over_stays_over() {
        for state in [Cancelled, Completed, Failed] {
            for request in [ReplayCommand::Pause, ReplayCommand::Resume, ReplayCommand::Cancel] {
                assert_eq!(after_request(state, request, true), state);
            }
        }
    }

    #[test]
    fn a_request_outlasts_the_runners_steps_until_the_end() {
        for now in ALL {
            for step in [Cancelled, Completed, Failed] {
                assert_eq!(after_step(now, step), step);
            }
        }
        assert_eq!([Paused, Cancelling].map(|now| after_step(now, Running)), [Paused, Cancelling]);
        assert_eq!([Planned, Running].map(|now| after_step(now, Running)), [Running, Running]);
    }

    #[test]
    fn requests_turn_states() {
        let turned = |request, is_run| ALL.map(|state| after_request(state, request, is_run));
        let ended = [Cancelled, Completed, Failed];
        let with = |first: [ReplayState; 4]| {
            let mut all = ALL;
            all[..4].copy_from_slice(&first);
            all[4..].copy_from_slice(&ended);
            all
        };
        assert_eq!(turned(ReplayCommand::Cancel, true), with([Cancelling; 4]));
        assert_eq!(turned(ReplayCommand::Cancel, false), with([Cancelled; 4]));
        assert_eq!(turned(ReplayCommand::Pause, true), with([Paused, Paused, Paused, Cancelling]));
        assert_eq!(turned(ReplayCommand::Resume, true), with([Planned, Running, Planned, Cancelling]));
    }
}
