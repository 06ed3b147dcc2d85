//! Consumer groups.

use domain::{
    TypePattern,
    group::{DEFAULT_SEGMENTS, GroupSpec, MAX_SEGMENTS},
    time::later,
};
use event_replay::{
    app::{
        audit::Actor,
        clock,
        documents::{
            Deleted, GroupCreatedDocument, GroupDocument, GroupMovedDocument, GroupPausedDocument,
            GroupResumedDocument, group_rows,
        },
        groups,
    },
    text::{name, number},
};
use http::StatusCode;
use serde::Deserialize;

use super::filter::{NAMES, Texts};
use crate::{
    answer::{json, json_with, rows},
    body::Whole,
    call::{Answer, Call},
    problem::{Code, Problem},
    query::bad,
    shape::{Member, Shape},
};

/// Handles `GET /v1/groups`: lists all groups.
pub(crate) async fn list(call: Call) -> Answer {
    let all = groups::all(&call.app.store, &call.app.settings).await?;
    rows(&group_rows(&all), call.accepts("application/x-ndjson"))
}

/// Handles `GET /v1/groups/{group}`: returns a group with its blocked keys.
pub(crate) async fn show(call: Call) -> Answer {
    let name = call.read_path("group", name::group)?;
    let found = groups::find(&call.app.store, &call.app.settings, &name).await?;
    let keys = call.app.store.blocked_keys(&name, GroupDocument::MAX_BLOCKED_KEYS).await?;
    json(&GroupDocument::of(&found, keys))
}

/// The members of a group that people set. The others change while events are delivered.
pub(crate) const SETTINGS: &[&str] = &["name", "types", "key", "createdAt", "pauses"];

/// The members of the body that creates a group.
pub(crate) const CREATE: &[Member] = &[
    Member::required("name", Shape::Group),
    Member::new("type", NAMES),
    Member::new("at", Shape::Text),
    Member::new("key", Shape::Like(r"^(event|correlation|all|entity:[^\x00]+)$")),
    Member::new("segments", Shape::Whole(1, MAX_SEGMENTS as u64)),
];

#[derive(Deserialize)]
#[serde(default)]
struct CreateBody {
    name: String,
    #[serde(rename = "type")]
    types: Texts,
    at: String,
    key: Option<String>,
    segments: Whole,
}

impl Default for CreateBody {
    fn default() -> Self {
        Self {
            name: String::new(),
            types: Texts::default(),
            at: "head".to_owned(),
            key: None,
            segments: Whole(DEFAULT_SEGMENTS.into()),
        }
    }
}

/// Handles `POST /v1/groups`: creates a group, or changes the types of an existing group.
pub(crate) async fn create(mut call: Call) -> Answer {
    let body: CreateBody = call.json(CREATE).await?;
    let key = body.key.as_deref().map(name::group_key).transpose().map_err(|error| bad("key", &error))?;
    let spec = GroupSpec {
        name: name::group(&body.name).map_err(|error| bad("name", &error))?,
        types: body.types.read("type", name::name)?.iter().map(TypePattern::new).collect(),
        key: key.unwrap_or_default(),
        segments: name::segments(&body.segments.0.to_string()).map_err(|error| bad("segments", &error))?,
    };
    let made = groups::create(&call.app.store, &call.actor(), &spec, &body.at).await?;
    let status = if made.created { StatusCode::CREATED } else { StatusCode::OK };
    json_with(status, &GroupCreatedDocument::of(&made))
}

/// The members of the body of a reset.
pub(crate) const RESET: &[Member] =
    &[Member::required("at", Shape::Text), Member::new("dryRun", Shape::Flag)];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ResetBody {
    at: Option<String>,
    dry_run: bool,
}

/// Handles `POST /v1/groups/{group}/resets`: moves a group to another place in the log.
pub(crate) async fn reset(mut call: Call) -> Answer {
    let name = call.read_path("group", name::group)?;
    let body: ResetBody = call.json(RESET).await?;
    let Some(at) = body.at else {
        return Err(Problem::new(Code::BadParameter, "at: it is missing; it names the place to move to")
            .hint("write start, head, a checkpoint's name, or a time"));
    };
    let moved =
        groups::reset(&call.app.store, &call.actor(), &call.app.settings, &name, &at, body.dry_run).await?;
    json(&GroupMovedDocument::of(&name, &moved, body.dry_run))
}

/// The members of the body of a pause.
pub(crate) const PAUSE: &[Member] =
    &[Member::new("for", Shape::Duration), Member::new("reason", Shape::Text)];

#[derive(Default, Deserialize)]
#[serde(default)]
struct PauseBody {
    #[serde(rename = "for")]
    time: Option<String>,
    reason: Option<String>,
}

/// Handles `POST /v1/groups/{group}/pause`: stops the delivery of further events to the group.
pub(crate) async fn pause(mut call: Call) -> Answer {
    let name = call.read_path("group", name::group)?;
    let body: PauseBody = call.json(PAUSE).await?;
    let time = body.time.as_deref().map(number::duration).transpose().map_err(|error| bad("for", &error))?;
    let until = time.map(|time| later(clock().now(), time));
    let by = Actor { reason: body.reason, ..call.actor() };
    let pause = groups::pause(&call.app.store, &by, &name, until).await?;
    json(&GroupPausedDocument { name: &name, pause: &pause })
}

/// Handles `POST /v1/groups/{group}/resume`: ends the pauses of a group.
pub(crate) async fn resume(call: Call) -> Answer {
    let name = call.read_path("group", name::group)?;
    let pauses = groups::resume(&call.app.store, &call.actor(), &name).await?;
    json(&GroupResumedDocument { name: &name, pauses })
}

/// Handles `DELETE /v1/groups/{group}`: deletes a group.
pub(crate) async fn delete(call: Call) -> Answer {
    let name = call.read_path("group", name::group)?;
    groups::delete(&call.app.store, &call.actor(), &name).await?;
    json(&Deleted { deleted: &name })
}
