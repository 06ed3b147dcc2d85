//! Conversion of the CloudEvents in a request to events.

use std::collections::HashMap;

use axum::body::Bytes;
use bus::Rejection;
use event_replay::app::{clock, schemas};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use crate::{
    app::App,
    cloudevents::{self, CloudEvent, Members, Mode, Times},
    problem::Problem,
};

/// Maximum number of ids in one read of the store.
const IDS_AT_ONCE: usize = 200;

/// Returns the JSON of the event for each CloudEvent of a request, or the reason why the CloudEvent is refused.
///
/// # Errors
/// Returns a problem when the body of a batch is not a JSON array, or the store fails.
pub(crate) async fn events(
    app: &App,
    mode: Mode,
    headers: &HeaderMap,
    body: &Bytes,
    id_with_source: bool,
) -> Result<Vec<Result<Vec<u8>, Rejection>>, Problem> {
    let all = cloudevents::read(mode, headers, body)?;
    let valid: Vec<&CloudEvent> = all.iter().filter_map(|cloud| cloud.as_ref().ok()).collect();
    let members = Known::of(app, &valid).await?;
    let now = clock().now();
    let stored = stored_times(app, &valid, id_with_source).await?;
    let convert = |cloud: CloudEvent| {
        let id = cloud.event_id(id_with_source);
        let known = id.as_ref().and_then(|id| stored.get(id).copied());
        let times = Times { otherwise: known.unwrap_or(now), id_with_source };
        cloudevents::event_of(&cloud, members.for_event(&cloud), &times)
            .map_err(|reason| cloudevents::malformed(id, cloud.event_type(), reason))
    };
    Ok(all.into_iter().map(|cloud| cloud.and_then(&convert)).collect())
}

/// Returns the timestamps of stored events for CloudEvents without a `time`. With the stored timestamp, a repeated
/// CloudEvent becomes the same event again.
async fn stored_times(
    app: &App,
    all: &[&CloudEvent],
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
    async fn of(app: &App, all: &[&CloudEvent]) -> Result<Self, Problem> {
        let every = Members::of_settings(&app.settings.ordering.members);
        let mut of_schemas = HashMap::new();
        // Without such attributes the schemas are not needed.
        if !all.iter().any(|cloud| cloud.names_entities()) {
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
