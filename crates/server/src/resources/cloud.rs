//! Conversion of the CloudEvents in a request to events.

use std::collections::HashMap;

use axum::body::Bytes;
use event_replay::app::{clock, schemas};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use crate::{
    app::App,
    cloudevents::{self, CloudEvent, Members, Mode, Times},
    problem::{Code, Problem},
};

/// Maximum number of ids in one read of the store.
const IDS_AT_ONCE: usize = 200;

/// Returns the JSON of the events for the CloudEvents of a request.
pub(crate) async fn events(
    app: &App,
    mode: Mode,
    headers: &HeaderMap,
    body: &Bytes,
    id_with_source: bool,
) -> Result<Vec<Vec<u8>>, Problem> {
    let all = cloudevents::read(mode, headers, body)?;
    let members = Known::of(app, &all).await?;
    let now = clock().now();
    let stored = stored_times(app, &all, id_with_source).await?;
    let mut texts = Vec::with_capacity(all.len());
    for (at, cloud) in all.iter().enumerate() {
        let known = cloud.event_id(id_with_source).and_then(|id| stored.get(&id).copied());
        let times = Times { otherwise: known.unwrap_or(now), id_with_source };
        let text = cloudevents::event_of(cloud, members.for_event(cloud), &times);
        texts.push(text.map_err(|error| {
            Problem::new(Code::BadRequest, format!("the CloudEvent {} is not valid: {error}", at + 1))
        })?);
    }
    Ok(texts)
}

/// Returns the timestamps of stored events for CloudEvents without a `time`. With the stored timestamp, a repeated
/// CloudEvent becomes the same event again.
async fn stored_times(
    app: &App,
    all: &[CloudEvent],
    id_with_source: bool,
) -> Result<HashMap<String, Timestamp>, Problem> {
    let timeless = all.iter().filter(|cloud| !cloud.has_time());
    let ids: Vec<String> = timeless.filter_map(|cloud| cloud.event_id(id_with_source)).collect();
    let mut times = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(IDS_AT_ONCE) {
        let found = app.store.get(ids).await?;
        times.extend(found.iter().map(|stored| (stored.event.id().to_owned(), stored.event.timestamp())));
    }
    Ok(times)
}

/// The known members of events, by event type and version.
struct Known {
    every: Members,
    of_schemas: HashMap<(String, String), Members>,
}

impl Known {
    async fn of(app: &App, all: &[CloudEvent]) -> Result<Self, Problem> {
        let every = Members::of_settings(&app.settings.ordering.members);
        let mut of_schemas = HashMap::new();
        // Without such attributes the schemas are not needed.
        if !all.iter().any(CloudEvent::names_entities) {
            return Ok(Self { every, of_schemas });
        }
        let records = app.store.list_schemas().await?;
        for cloud in all {
            let Some(event_type) = cloud.event_type() else { continue };
            let key = (event_type, cloud.version());
            if of_schemas.contains_key(&key) {
                continue;
            }
            let found = schemas::source(&records, &key.0, Some(&key.1))
                .or_else(|| schemas::source(&records, &key.0, None));
            let mut members = every.clone();
            if let Some(schema) = found.and_then(|source| source.event_schema()) {
                members.add_schema(&schema);
            }
            of_schemas.insert(key, members);
        }
        Ok(Self { every, of_schemas })
    }

    fn for_event(&self, cloud: &CloudEvent) -> &Members {
        let known = cloud.event_type().and_then(|name| self.of_schemas.get(&(name, cloud.version())));
        known.unwrap_or(&self.every)
    }
}

/// Adds a hint to a conflict: the ids of CloudEvents are unique only within a source.
pub(crate) fn with_advice(problem: Problem) -> Problem {
    match problem.status() {
        StatusCode::CONFLICT => problem.hint(
            "ids of CloudEvents are unique within a source; add the parameter id=source+id if several sources publish here",
        ),
        _ => problem,
    }
}
