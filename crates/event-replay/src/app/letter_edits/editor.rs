//! Makes and checks the event that an edit sends.

use bus::UnknownTypes;
use domain::{
    DeadLetter, Document, Event,
    dead_letter::LetterEdit,
    event::same_content,
    ports::{EventValidator as _, Verdict},
};
use json_patch::Patch;
use serde_json::Value;
use validation::SchemaRegistry;

use super::{BulkChange, EditChange, EditedLetter};
use crate::{
    app::{
        audit::Actor,
        error::{AppError, InvalidRequest},
        schemas::registry,
        store::clock,
    },
    handle::StoreHandle,
    settings::Settings,
};

/// A change whose patch is parsed.
#[derive(PartialEq)]
pub(super) enum Change {
    Patch(Patch),
    Replacement(String),
    Undo,
}

impl TryFrom<EditChange> for Change {
    type Error = InvalidRequest;

    fn try_from(change: EditChange) -> Result<Self, InvalidRequest> {
        match change {
            EditChange::Patch(patch) => Self::try_from(BulkChange::Patch(patch)),
            EditChange::Replacement(text) => Ok(Self::Replacement(text)),
            EditChange::Undo => Ok(Self::Undo),
        }
    }
}

impl TryFrom<BulkChange> for Change {
    type Error = InvalidRequest;

    fn try_from(change: BulkChange) -> Result<Self, InvalidRequest> {
        match change {
            BulkChange::Patch(patch) => serde_json::from_str(&patch)
                .map(Self::Patch)
                .map_err(|error| InvalidRequest::BadPatch(error.to_string())),
            BulkChange::Undo => Ok(Self::Undo),
        }
    }
}

/// Edits dead letters for one operator, with the schemas of the store at its creation.
pub(super) struct Editor<'a> {
    by: &'a Actor,
    settings: &'a Settings,
    schemas: Option<SchemaRegistry>,
}

impl<'a> Editor<'a> {
    /// Reads the schemas, if the settings validate events and the change makes an event.
    pub(super) async fn new(
        store: &StoreHandle,
        by: &'a Actor,
        settings: &'a Settings,
        change: &Change,
    ) -> Result<Self, AppError> {
        let schemas = match settings.validation && *change != Change::Undo {
            true => Some(registry(store, settings.engine).await?),
            false => None,
        };
        Ok(Self { by, settings, schemas })
    }

    /// Returns the dead letter with the change. The store is not changed.
    pub(super) fn edited(&self, letter: DeadLetter, change: &Change) -> Result<EditedLetter, InvalidRequest> {
        let before = letter.redriven_event().clone();
        let event = match change {
            Change::Undo => None,
            Change::Patch(patch) => Some(self.checked(&letter, &patched(&before, patch)?)?),
            Change::Replacement(text) => Some(self.checked(&letter, text)?),
        };
        let (after, is_undo) = (event.as_ref().unwrap_or(&letter.event), event.is_none());
        if after.same_content(&before) && !(is_undo && letter.edit.is_some()) {
            return Err(InvalidRequest::NothingEdited);
        }
        let edit = event.map(|event| LetterEdit {
            event,
            by: self.by.operator.clone(),
            at: clock().now(),
            reason: self.by.reason.clone(),
        });
        Ok(EditedLetter { letter: DeadLetter { edit, ..letter }, before })
    }

    /// Returns whether the edit of a dead letter is what this patch makes of the published event.
    pub(super) fn has(&self, letter: &DeadLetter, patch: &Patch) -> bool {
        let made =
            |edit: &LetterEdit| Some(same_content(&patched(&letter.event, patch).ok()?, edit.event.json()));
        letter.edit.as_ref().and_then(made).unwrap_or(false)
    }

    /// Parses an edited text as an event. Checks that the event is valid and still the same delivery.
    fn checked(&self, letter: &DeadLetter, text: &str) -> Result<Event, InvalidRequest> {
        let invalid = |violations| InvalidRequest::EditedEvent { violations };
        let document = Document::parse(text.trim().as_bytes(), &self.settings.limits)
            .map_err(|violation| invalid(vec![violation]))?;
        if let Some(schemas) = &self.schemas {
            match schemas.validate(document.value()) {
                Verdict::Valid => {}
                Verdict::NoSchema if self.settings.unknown_types == UnknownTypes::Accept => {}
                Verdict::NoSchema => {
                    let event_type = document.event_type().unwrap_or_default();
                    return Err(invalid(vec![domain::Violation::no_schema(event_type)]));
                }
                Verdict::Invalid(violations) => return Err(invalid(violations)),
            }
        }
        let event = document.into_event().map_err(invalid)?;
        let original = &letter.event;
        let entities = |event: &Event| {
            let mut all: Vec<(String, String)> =
                event.entities().map(|(kind, id)| (kind.to_owned(), id.to_owned())).collect();
            all.sort();
            all
        };
        let kept = [
            ("id", event.id() == original.id()),
            ("type", event.event_type() == original.event_type()),
            ("correlationId", event.correlation_id() == original.correlation_id()),
            ("an entity", entities(&event) == entities(original)),
        ];
        if let Some((member, _)) = kept.into_iter().find(|(_, is_kept)| !is_kept) {
            return Err(InvalidRequest::EditChangesIdentity { member });
        }
        // Both events have the same id, correlation id and entities, so the key is equal.
        Ok(event.with_key_of(original).with_options(original.options()))
    }
}

/// Returns the text of an event after a patch.
fn patched(event: &Event, patch: &Patch) -> Result<String, InvalidRequest> {
    let bad = |error: &dyn std::fmt::Display| InvalidRequest::BadPatch(error.to_string());
    let mut value: Value = event.value().map_err(|error| bad(&error))?;
    // The conversion would change a number of thirty digits.
    if !same_content(event.json(), &value.to_string()) {
        return Err(InvalidRequest::PatchChangesNumbers);
    }
    json_patch::patch(&mut value, patch).map_err(|error| bad(&error))?;
    Ok(value.to_string())
}
