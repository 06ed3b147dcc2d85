//! Erasure of all events that name an entity. An erasure needs the hash of a dry run.

use domain::Entity;
use event_replay::{
    app::{approval, documents::ErasureDocument, erase::EraseRequest},
    text::name,
};
use serde::{Deserialize, Serialize};

use super::{
    filter::{ENTITIES, NAMES, Texts},
    redrives::confirmed,
};
use crate::{
    answer::json,
    call::{Answer, Call},
    shape::{Member, Shape},
};

/// The members of the body of an erasure.
pub(crate) const MEMBERS: &[Member] = &[
    Member::new("entity", ENTITIES),
    Member::new("userId", NAMES),
    Member::new("courseId", NAMES),
    Member::new("labId", NAMES),
    Member::new("dryRun", Shape::Flag),
    Member::new("hash", Shape::Text),
];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Body {
    entity: Texts,
    user_id: Texts,
    course_id: Texts,
    lab_id: Texts,
    dry_run: bool,
    hash: Option<String>,
}

/// The number of events that an erasure would remove, and the hash that confirms it.
#[derive(Serialize)]
struct Preview {
    #[serde(flatten)]
    document: ErasureDocument,
    hash: String,
}

/// Handles `POST /v1/erasures`: erases events, or previews the erasure.
pub(crate) async fn erase(mut call: Call) -> Answer {
    let body: Body = call.json(MEMBERS).await?;
    let mut entities = body.entity.read("entity", name::entity)?;
    for (member, kind, ids) in [
        ("userId", "user", &body.user_id),
        ("courseId", "course", &body.course_id),
        ("labId", "lab", &body.lab_id),
    ] {
        entities.extend(ids.read(member, name::name)?.iter().map(|id| Entity::new(kind, id)));
    }
    let request = EraseRequest::new(entities)?;
    let names = request.names();
    let store = &call.app.store;
    let count = request.count(store).await?;
    let confirmation = request.confirmation(count, &call.app.settings);
    let hash = approval::hash(&confirmation, &format!("{names:?}"));
    if body.dry_run {
        return json(&Preview { document: ErasureDocument::preview(names, count), hash });
    }
    confirmed(body.hash.as_deref(), &hash)?;
    json(&ErasureDocument::of(names, request.erase(store, &call.actor()).await?))
}
