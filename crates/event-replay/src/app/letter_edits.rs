//! Edits the events of dead letters, and restores discarded dead letters.
//!
//! An edit changes only the event that a redrive sends. The log and the dead letter keep the event as it was published.
//! An edit cannot change the members that decide where a delivery belongs: id, type, correlation id and entities.

mod bulk;
mod editor;

use domain::{DeadLetter, DeadLetterState, Event, ports::DeadLetterChange};
use replay::redrive::Letters;

use self::editor::{Change, Editor};
use super::{
    audit::{Action, Actor, audited, facts},
    dead_letters::{LetterPages, of_letters, whole_ids},
    error::{AppError, Conflict, NotFound},
};
use crate::{handle::StoreHandle, settings::Settings};

pub use bulk::{BulkChange, BulkEditReport, REFUSED_SHOWN, RefusedEdit, edit_all};

/// The change of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditChange {
    /// A JSON Patch (RFC 6902), applied to the event that a redrive would send now.
    Patch(String),
    /// Another text for the event.
    Replacement(String),
    /// A return to the event as it was published.
    Undo,
}

/// The result of an edit, or of its dry run.
#[derive(Debug, Clone)]
pub struct EditedLetter {
    /// The dead letter with its new edit.
    pub letter: DeadLetter,
    /// The event that a redrive would have sent before the edit.
    pub before: Event,
}

/// Edits the event that a redrive of a dead letter sends. A dry run returns the result and changes nothing.
///
/// # Errors
/// Returns [`AppError`] when the dead letter does not exist or is not open, or when the store fails. Also returns it
/// when the patch cannot be applied, when nothing would change, or when the edited event is not valid. An edit must not
/// change the identity of the event.
pub async fn edit(
    store: &StoreHandle,
    by: &Actor,
    settings: &Settings,
    id: &str,
    change: EditChange,
    dry_run: bool,
) -> Result<EditedLetter, AppError> {
    let letter = find(store, id).await?;
    let change = Change::try_from(change)?;
    let editor = Editor::new(store, by, settings, &change).await?;
    let edited = editor.edited(letter, &change)?;
    if !dry_run {
        // The audit leaves out the change, because it may name persons. The dead letter has it.
        let letter = &edited.letter;
        let action = Action::new("dead-letters edit").to(&letter.id).with("undo", change == Change::Undo);
        let editing = async {
            match store.edit(&letter.id, letter.edit.as_ref()).await? {
                DeadLetterChange::Done => Ok(()),
                DeadLetterChange::Unchanged(state) => {
                    Err(AppError::from(Conflict::LetterNotOpen { id: letter.id.clone(), state }))
                }
                DeadLetterChange::Unknown | DeadLetterChange::NoGroup => {
                    Err(NotFound::DeadLetter { id: letter.id.clone() }.into())
                }
            }
        };
        audited(store, by, action, editing, |()| facts([])).await?;
    }
    Ok(edited)
}

/// Returns the open dead letter with an id or a prefix of an id.
///
/// # Errors
/// Returns [`AppError`] when no dead letter matches, when several match, when the dead letter is not open, or when the
/// store fails.
pub async fn find(store: &StoreHandle, id: &str) -> Result<DeadLetter, AppError> {
    let ids = whole_ids(store, &[id.to_owned()]).await?;
    let found = store.dead_letters_by_id(&ids).await?.into_iter().next();
    let letter = found.ok_or_else(|| NotFound::DeadLetter { id: id.to_owned() })?;
    match letter.state {
        DeadLetterState::Open => Ok(letter),
        state => Err(Conflict::LetterNotOpen { id: letter.id, state }.into()),
    }
}

/// The result of a restore of discarded dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// The number of dead letters that were named or that matched.
    pub requested: u64,
    /// The number of dead letters that are open again.
    pub restored: u64,
    /// The number of dead letters that were not discarded.
    pub unchanged: u64,
    /// The number of ids without a dead letter.
    pub unknown: u64,
}

/// Restores discarded dead letters: they are open again.
///
/// # Errors
/// Returns [`AppError`] when the store fails. Dead letters that were restored before the failure stay open.
pub async fn restore(store: &StoreHandle, by: &Actor, letters: Letters) -> Result<RestoreReport, AppError> {
    let action = of_letters("dead-letters restore", &letters);
    let outcome = |report: &RestoreReport| {
        facts([
            ("requested", report.requested.into()),
            ("restored", report.restored.into()),
            ("unchanged", report.unchanged.into()),
            ("unknown", report.unknown.into()),
        ])
    };
    audited(store, by, action, open(store, letters), outcome).await
}

async fn open(store: &StoreHandle, letters: Letters) -> Result<RestoreReport, AppError> {
    let mut report = RestoreReport::default();
    match letters {
        Letters::Ids(ids) => open_some(store, &ids, &mut report).await?,
        Letters::Matching(query) => {
            let limit = query.limit as u64;
            let mut pages = LetterPages::new(query, Some(limit));
            while let Some(page) = pages.page(store).await? {
                let ids: Vec<String> = page.into_iter().map(|letter| letter.id).collect();
                open_some(store, &ids, &mut report).await?;
            }
        }
    }
    Ok(report)
}

async fn open_some(store: &StoreHandle, ids: &[String], report: &mut RestoreReport) -> Result<(), AppError> {
    report.requested += ids.len() as u64;
    for change in store.restore(ids).await? {
        match change {
            DeadLetterChange::Done => report.restored += 1,
            DeadLetterChange::Unknown => report.unknown += 1,
            DeadLetterChange::Unchanged(_) | DeadLetterChange::NoGroup => report.unchanged += 1,
        }
    }
    Ok(())
}
