//! Documents of dead letters.

use domain::{
    DeadLetter, DeadLetterState, Event, Position,
    dead_letter::{Failure, LetterEdit},
};
use jiff::Timestamp;
use replay::redrive::DiscardReport;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::app::{
    dead_letters::newest_error,
    letter_edits::{BulkEditReport, EditedLetter},
};

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

/// The edit of a dead letter: a redrive sends this event in place of the original.
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

/// The result of an edit of many dead letters, or of its dry run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkEditDocument {
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// The counts.
    #[serde(flatten)]
    pub report: BulkEditReport,
}

/// The result of an edit, or of its dry run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EditedDocument<'a> {
    dry_run: bool,
    id: &'a str,
    before: Option<Box<RawValue>>,
    after: Option<Box<RawValue>>,
}

impl<'a> EditedDocument<'a> {
    /// Makes the document for the result of [`crate::app::letter_edits::edit`].
    pub fn of(edited: &'a EditedLetter, dry_run: bool) -> Self {
        let letter = &edited.letter;
        let (before, after) = (event(&edited.before), event(letter.redriven_event()));
        Self { dry_run, id: &letter.id, before, after }
    }
}

impl<'a> DeadLetterDocument<'a> {
    /// Makes the document of a dead letter.
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

/// Returns the event as it was published, in one line. Every admitted event is valid JSON.
fn event(event: &Event) -> Option<Box<RawValue>> {
    let mut line = Vec::new();
    targets::write_event(event, &mut line);
    RawValue::from_string(String::from_utf8(line).ok()?).ok()
}

/// Returns the name of a state.
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
    /// The dead letters, oldest first.
    pub dead_letters: Vec<DeadLetterDocument<'a>>,
    /// The cursor of the next page. `None` at the end.
    pub next_cursor: Option<&'a str>,
}

/// Dead letters that were selected by their ids.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterList<'a> {
    /// The dead letters.
    pub dead_letters: Vec<DeadLetterDocument<'a>>,
}

/// The dry run of a redrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedrivePreview {
    /// Always true: nothing was sent.
    pub dry_run: bool,
    /// The number of open dead letters in the selection.
    pub requested: u64,
}

/// The result of a discard, or of its dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscardDocument {
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// The counts.
    #[serde(flatten)]
    pub report: DiscardReport,
}
