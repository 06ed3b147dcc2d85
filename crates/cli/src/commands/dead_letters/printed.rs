//! The display of dead letters in tables.

use domain::DeadLetterState;
use event_replay::app::documents::state_name;

use crate::output::{style::Tone, table::Cell};

/// Returns a table cell for a state, with its colour.
pub(super) fn state_cell(state: DeadLetterState) -> Cell {
    let tone = match state {
        DeadLetterState::Open => Tone::Bad,
        DeadLetterState::Redriving => Tone::Busy,
        DeadLetterState::Handled => Tone::Good,
        DeadLetterState::Discarded => Tone::Quiet,
    };
    Cell::state(state_name(state), tone)
}
