//! Schemas of event types.

use domain::ports::{Describes, EventValidator, SchemaRecord};
use event_replay::{
    app::{
        self,
        documents::{SchemaAdded, SchemaRemoved},
        schemas::{self, registry_of},
    },
    text::name,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use validation::SchemaRegistry;

use crate::{
    answer::{json, json_with, rows},
    call::{Answer, Call},
    problem::{Code, Problem},
    query::bad,
    shape::{Member, Shape},
};

/// Handles `GET /v1/schemas`: lists the built-in schemas and the schemas of the store.
pub(crate) async fn list(call: Call) -> Answer {
    let records = call.app.store.list_schemas().await?;
    let summaries = registry_of(&records, call.app.settings.engine).schemas();
    rows(&summaries, call.accepts("application/x-ndjson"))
}

/// Handles `GET /v1/schemas/{type}`: returns a schema as its author wrote it.
pub(crate) async fn show(call: Call) -> Answer {
    let event_type = call.read_path("type", name::name)?;
    let version = call.query.read("version", name::name)?;
    let records = call.app.store.list_schemas().await?;
    let Some(found) = schemas::source(&records, &event_type, version.as_deref()) else {
        return Err(unknown(&event_type).hint("GET /v1/schemas lists all, POST /v1/schemas/{type} adds one"));
    };
    let document = found.document();
    let document = document
        .map_err(|error| Problem::new(Code::Store, format!("the stored schema is not JSON: {error}")))?;
    json(&document)
}

fn unknown(event_type: &str) -> Problem {
    Problem::new(Code::NotFound, format!("there is no such schema for {event_type:?}"))
}

/// The members of the body that adds a schema.
pub(crate) const PUT: &[Member] = &[
    Member::required("document", Shape::Schema),
    Member::new("pointer", Shape::Text),
    Member::new("data", Shape::Flag),
    Member::new("version", Shape::Name),
];

#[derive(Default, Deserialize)]
#[serde(default)]
struct PutBody {
    document: Option<Box<RawValue>>,
    pointer: String,
    data: bool,
    version: Option<String>,
}

/// Handles `POST /v1/schemas/{type}`: adds a schema, or replaces the schema with the same type and version.
pub(crate) async fn put(mut call: Call) -> Answer {
    let record = record(&mut call).await?;
    let (event_type, event_version) = (record.event_type.clone(), record.event_version.clone());
    let replaced = schemas::put(&call.app.store, &call.actor(), record).await?;
    call.app.publishers.forget().await;
    let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
    json_with(status, &SchemaAdded { event_type, event_version, replaced })
}

/// Returns the checked schema of a request.
async fn record(call: &mut Call) -> Result<SchemaRecord, Problem> {
    let event_type = call.read_path("type", name::name)?;
    let body: PutBody = call.json(PUT).await?;
    let Some(document) = body.document else {
        return Err(Problem::new(Code::BadParameter, "document: it is missing; it is the JSON Schema"));
    };
    let version = body.version.as_deref().map(name::name).transpose();
    let record = SchemaRecord {
        event_type,
        event_version: version.map_err(|error| bad("version", &error))?,
        document: document.get().to_owned(),
        pointer: body.pointer.trim_start_matches('#').to_owned(),
        describes: if body.data { Describes::Data } else { Describes::Event },
        added_at: app::clock().now(),
    };
    let refused = SchemaRegistry::empty(call.app.settings.engine).add(&record).err();
    match refused {
        None => Ok(record),
        Some(error) => Err(Problem::new(Code::Invalid, format!("the schema is refused: {error}"))),
    }
}

/// Handles `DELETE /v1/schemas/{type}`: removes a schema. A built-in schema that it replaced is used again.
pub(crate) async fn remove(call: Call) -> Answer {
    let event_type = call.read_path("type", name::name)?;
    let version = call.query.read("version", name::name)?;
    let removed = schemas::remove(&call.app.store, &call.actor(), &event_type, version.as_deref()).await?;
    if removed {
        call.app.publishers.forget().await;
        return json(&SchemaRemoved { event_type: &event_type, event_version: version.as_deref() });
    }
    match schemas::is_built_in(&event_type) {
        true => Err(Problem::new(Code::Conflict, "a built-in schema cannot be removed")
            .hint("POST /v1/schemas/{type} replaces it")),
        false => Err(unknown(&event_type)),
    }
}
