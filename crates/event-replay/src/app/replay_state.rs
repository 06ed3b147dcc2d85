//! The states of a replay, for people.

use domain::ports::ReplayState;

/// A state, as people read it.
pub fn name_of(state: ReplayState) -> &'static str {
    match state {
        ReplayState::Planned => "planned",
        ReplayState::Running => "running",
        ReplayState::Paused => "paused",
        ReplayState::Cancelling => "cancelling",
        ReplayState::Cancelled => "cancelled",
        ReplayState::Completed => "completed",
        ReplayState::Failed => "failed",
    }
}
