//! The states of a replay as text.

use domain::ports::ReplayState;

/// Returns the name of a state.
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
