//! Dead letters.

use domain::{
    DeadLetter, DeadLetterState, Event, Position,
    dead_letter::{Failure, LetterEdit},
};
use jiff::Timestamp;
use replay::redrive::DiscardReport;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::app::{dead_letters::newest_error, letter_edits::EditedLetter};

/// A dead letter with its event as it was published.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterDocument<'a> {
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
    edit: Option<EditDocument<'a>>,
}

/// What a redrive sends in place of the event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EditDocument<'a> {
    by: &'a str,
    at: Timestamp,
    reason: Option<&'a str>,
    event: Option<Box<RawValue>>,
}

impl<'a> EditDocument<'a> {
    fn of(edit: &'a LetterEdit) -> Self {
        let (by, at, reason) = (edit.by.as_str(), edit.at, edit.reason.as_deref());
        Self { by, at, reason, event: event(&edit.event) }
    }
}

/// An event that was edited, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EditedDocument<'a> {
    dry_run: bool,
    id: &'a str,
    before: Option<Box<RawValue>>,
    after: Option<Box<RawValue>>,
}

impl<'a> EditedDocument<'a> {
    /// The document of what [`crate::app::letter_edits::edit`] did.
    pub fn of(edited: &'a EditedLetter, dry_run: bool) -> Self {
        let letter = &edited.letter;
        let (before, after) = (event(&edited.before), event(letter.redriven_event()));
        Self { dry_run, id: &letter.id, before, after }
    }
}

impl<'a> DeadLetterDocument<'a> {
    /// The document of a letter.
    pub fn of(letter: &'a DeadLetter) -> Self {
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
            event: event(&letter.event),
            edit: letter.edit.as_ref().map(EditDocument::of),
        }
    }
}

/// The event as it was published, in one line. Every admitted event is JSON.
fn event(event: &Event) -> Option<Box<RawValue>> {
    let mut line = Vec::new();
    targets::write_event(event, &mut line);
    RawValue::from_string(String::from_utf8(line).ok()?).ok()
}

/// A state, for people.
pub fn state_name(state: DeadLetterState) -> &'static str {
    match state {
        DeadLetterState::Open => "open",
        DeadLetterState::Redriving => "redriving",
        DeadLetterState::Handled => "handled",
        DeadLetterState::Discarded => "discarded",
    }
}

/// A page of dead letters.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterPage<'a> {
    /// The letters, the oldest first.
    pub dead_letters: Vec<DeadLetterDocument<'a>>,
    /// Where the next page begins; none at the end.
    pub next_cursor: Option<&'a str>,
}

/// Dead letters that were asked for by their ids.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterList<'a> {
    /// The letters.
    pub dead_letters: Vec<DeadLetterDocument<'a>>,
}

/// The size of a redrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedrivePreview {
    /// Always true: nothing was sent.
    pub dry_run: bool,
    /// Open letters that it names.
    pub requested: u64,
}

/// The result of a discard, or its preview.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscardDocument {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The counts.
    #[serde(flatten)]
    pub report: DiscardReport,
}
