//! Edits of many dead letters by one change.

use domain::{DeadLetter, DeadLetterState, ports::DeadLetterChange};
use replay::redrive::Letters;
use serde::Serialize;

use super::editor::{Change, Editor};
use crate::{
    app::{
        audit::{Actor, audited, facts},
        dead_letters::{LetterPages, of_letters},
        error::{AppError, InvalidRequest},
    },
    handle::StoreHandle,
    settings::Settings,
};

/// The change of many events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkChange {
    /// A JSON Patch (RFC 6902), as of [`EditChange::Patch`](super::EditChange::Patch).
    Patch(String),
    /// A return to the events as they were published.
    Undo,
}

/// The number of refused edits that a report names.
pub const REFUSED_SHOWN: usize = 10;

/// The result of an edit of many dead letters, or of its dry run. All counts but the first add up to `requested`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkEditReport {
    /// The number of dead letters that were named or that matched.
    pub requested: u64,
    /// The number of dead letters that were edited.
    pub edited: u64,
    /// The number of dead letters that have this edit already, or that it does not change.
    pub unchanged: u64,
    /// The number of dead letters that are not open.
    pub not_open: u64,
    /// The number of dead letters whose edit was refused.
    pub refused: u64,
    /// The number of ids without a dead letter.
    pub unknown: u64,
    /// The first refused edits, [`REFUSED_SHOWN`] at most.
    pub refusals: Vec<RefusedEdit>,
}

/// An edit that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedEdit {
    /// The id of the dead letter.
    pub dead_letter_id: String,
    /// The reason.
    pub error: String,
}

/// Edits the events that redrives of many dead letters send. Each dead letter is edited by itself: one whose edit is
/// refused stays as it was, and the others are edited. A patch applies to the event that a redrive would send now. It
/// is not applied to a dead letter whose edit is what the patch makes of the published event. So the same call can be
/// repeated after it was interrupted. A dry run returns the counts and changes nothing.
///
/// # Errors
/// Returns [`AppError`] when the patch is no JSON Patch, or when the store fails. Edits before a failure stay.
pub async fn edit_all(
    store: &StoreHandle,
    by: &Actor,
    settings: &Settings,
    letters: Letters,
    change: BulkChange,
    dry_run: bool,
) -> Result<BulkEditReport, AppError> {
    let change = Change::try_from(change)?;
    let editor = Editor::new(store, by, settings, &change).await?;
    let action = of_letters("dead-letters edit", &letters).with("undo", change == Change::Undo);
    let bulk = Bulk { store, editor, change, dry_run, report: BulkEditReport::default() };
    if dry_run {
        return bulk.run(letters).await;
    }
    let outcome = |report: &BulkEditReport| {
        facts([
            ("requested", report.requested.into()),
            ("edited", report.edited.into()),
            ("unchanged", report.unchanged.into()),
            ("notOpen", report.not_open.into()),
            ("refused", report.refused.into()),
            ("unknown", report.unknown.into()),
        ])
    };
    audited(store, by, action, bulk.run(letters), outcome).await
}

struct Bulk<'a> {
    store: &'a StoreHandle,
    editor: Editor<'a>,
    change: Change,
    dry_run: bool,
    report: BulkEditReport,
}

impl Bulk<'_> {
    async fn run(mut self, letters: Letters) -> Result<BulkEditReport, AppError> {
        match letters {
            Letters::Ids(mut ids) => {
                ids.sort();
                ids.dedup();
                let found = self.store.dead_letters_by_id(&ids).await?;
                self.report.requested = ids.len() as u64;
                self.report.unknown = ids.len().saturating_sub(found.len()) as u64;
                self.edit(found).await?;
            }
            Letters::Matching(query) => {
                let limit = query.limit as u64;
                let mut pages = LetterPages::new(query, Some(limit));
                while let Some(page) = pages.page(self.store).await? {
                    self.report.requested += page.len() as u64;
                    self.edit(page).await?;
                }
            }
        }
        Ok(self.report)
    }

    async fn edit(&mut self, letters: Vec<DeadLetter>) -> Result<(), AppError> {
        for letter in letters {
            if letter.state != DeadLetterState::Open {
                self.report.not_open += 1;
                continue;
            }
            let has_it = matches!(&self.change, Change::Patch(patch) if self.editor.has(&letter, patch));
            if has_it {
                self.report.unchanged += 1;
                continue;
            }
            let id = letter.id.clone();
            match self.editor.edited(letter, &self.change) {
                Ok(edited) => {
                    let change = match self.dry_run {
                        true => DeadLetterChange::Done,
                        false => self.store.edit(&id, edited.letter.edit.as_ref()).await?,
                    };
                    match change {
                        DeadLetterChange::Done => self.report.edited += 1,
                        DeadLetterChange::Unchanged(_) => self.report.not_open += 1,
                        DeadLetterChange::Unknown | DeadLetterChange::NoGroup => self.report.unknown += 1,
                    }
                }
                Err(InvalidRequest::NothingEdited) => self.report.unchanged += 1,
                Err(error) => self.refuse(id, &error),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, dead_letter_id: String, error: &InvalidRequest) {
        self.report.refused += 1;
        if self.report.refusals.len() < REFUSED_SHOWN {
            self.report.refusals.push(RefusedEdit { dead_letter_id, error: error.to_string() });
        }
    }
}
