//! Checkpoints.

use event_replay::{
    app::{
        checkpoints::{self, checkpoints},
        documents::Deleted,
    },
    text::name,
};
use http::StatusCode;
use replay::NewCheckpoint;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    answer::{json, json_with, rows},
    call::{Answer, Call},
    problem::{Code, Problem},
    query::bad,
    shape::{Member, Shape},
};

/// Handles `GET /v1/checkpoints`: lists all checkpoints, oldest first.
pub(crate) async fn list(call: Call) -> Answer {
    let all = checkpoints(&call.app.store).list().await?;
    rows(&all, call.accepts("application/x-ndjson"))
}

/// Handles `GET /v1/checkpoints/{checkpoint}`: returns a checkpoint by its name or id.
pub(crate) async fn show(call: Call) -> Answer {
    json(&checkpoints(&call.app.store).find(call.path("checkpoint")).await?)
}

/// Handles `GET /v1/checkpoints/{checkpoint}/diff?to=`: compares two checkpoints.
pub(crate) async fn diff(call: Call) -> Answer {
    let Some(other) = call.query.one("to") else {
        return Err(Problem::new(Code::BadParameter, "to: it is missing; it names the other checkpoint"));
    };
    json(&checkpoints(&call.app.store).diff(call.path("checkpoint"), other).await?)
}

/// The members of the body that creates a checkpoint.
pub(crate) const CREATE: &[Member] = &[
    Member::required("name", Shape::Name),
    Member::new("eventId", Shape::Name),
    Member::new("metadata", Shape::Object),
    Member::new("replace", Shape::Flag),
    Member::new("hold", Shape::Flag),
];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CreateBody {
    name: String,
    event_id: Option<String>,
    metadata: Map<String, Value>,
    replace: bool,
    hold: bool,
}

/// Handles `POST /v1/checkpoints`: creates a checkpoint.
pub(crate) async fn create(mut call: Call) -> Answer {
    let body: CreateBody = call.json(CREATE).await?;
    let event_id = body.event_id.as_deref().map(name::name).transpose();
    let new = NewCheckpoint {
        name: name::name(&body.name).map_err(|error| bad("name", &error))?,
        last_processed_event_id: event_id.map_err(|error| bad("eventId", &error))?,
        metadata: body.metadata,
        replace: body.replace,
        hold: body.hold,
    };
    let made = checkpoints::create(&call.app.store, &call.actor(), new).await?;
    json_with(StatusCode::CREATED, &made)
}

/// Handles `DELETE /v1/checkpoints/{checkpoint}`: deletes a checkpoint.
pub(crate) async fn delete(call: Call) -> Answer {
    let name = checkpoints::delete(&call.app.store, &call.actor(), call.path("checkpoint")).await?;
    json(&Deleted { deleted: &name })
}
