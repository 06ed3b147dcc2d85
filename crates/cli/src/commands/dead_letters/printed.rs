//! A dead letter, as programs read it.

use domain::{DeadLetter, DeadLetterState, Position, dead_letter::Failure};
use event_replay::app::dead_letters::newest_error;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

/// A dead letter with its event as it was published.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Printed<'a> {
    id: &'a str,
    group: &'a str,
    state: DeadLetterState,
    position: Position,
    attempts: u32,
    error: &'a str,
    fingerprint: &'a str,
    replay_id: Option<&'a str>,
    parked: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    reason: Option<&'a str>,
    history: &'a [Failure],
    event: Option<Box<RawValue>>,
}

impl<'a> Printed<'a> {
    pub(super) fn of(letter: &'a DeadLetter) -> Self {
        Self {
            id: &letter.id,
            group: &letter.group,
            state: letter.state,
            position: letter.position,
            attempts: letter.attempts,
            error: newest_error(letter),
            fingerprint: &letter.fingerprint,
            replay_id: letter.replay_id.as_deref(),
            parked: letter.parked,
            created_at: letter.created_at,
            updated_at: letter.updated_at,
            reason: letter.reason.as_deref(),
            history: &letter.history,
            event: event(letter),
        }
    }
}

/// The event as it was published, in one line. What was admitted is JSON.
fn event(letter: &DeadLetter) -> Option<Box<RawValue>> {
    let mut line = Vec::new();
    targets::write_event(&letter.event, &mut line);
    RawValue::from_string(String::from_utf8(line).ok()?).ok()
}

/// A state, for people.
pub(super) fn state(state: DeadLetterState) -> &'static str {
    match state {
        DeadLetterState::Open => "open",
        DeadLetterState::Redriving => "redriving",
        DeadLetterState::Handled => "handled",
        DeadLetterState::Discarded => "discarded",
    }
}
