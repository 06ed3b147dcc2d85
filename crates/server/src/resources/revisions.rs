//! Edits of the events that redrives send.

use event_replay::{
    app::{
        documents::EditedDocument,
        letter_edits::{self, EditChange},
    },
    text::name,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    answer::json,
    call::{Answer, Call},
    query::contradiction,
    shape::{Member, Shape},
};

/// The members of the body of an edit.
pub(crate) const REVISE: &[Member] = &[
    Member::new("patch", Shape::List(&Shape::Object)),
    Member::new("event", Shape::Object),
    Member::new("undo", Shape::Flag),
    Member::new("dryRun", Shape::Flag),
];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RevisionBody {
    patch: Option<Box<RawValue>>,
    event: Option<Box<RawValue>>,
    undo: bool,
    dry_run: bool,
}

/// Handles `POST /v1/dead-letters/{id}/revisions`: changes the event that a redrive sends. The published event is kept.
pub(crate) async fn revise(mut call: Call) -> Answer {
    let id = call.read_path("id", name::name)?;
    let body: RevisionBody = call.json(REVISE).await?;
    let change = match (body.patch, body.event, body.undo) {
        (Some(patch), None, false) => EditChange::Patch(patch.get().to_owned()),
        (None, Some(event), false) => EditChange::Replacement(event.get().to_owned()),
        (None, None, true) => EditChange::Undo,
        _ => return Err(contradiction("patch", "the body has exactly one of patch, event and undo")),
    };
    let app = &call.app;
    let edited =
        letter_edits::edit(&app.store, &call.actor(), &app.settings, &id, change, body.dry_run).await?;
    json(&EditedDocument::of(&edited, body.dry_run))
}
