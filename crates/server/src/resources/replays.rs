//! Replays.

use event_replay::{app::replays, text::name};

use super::{
    filter::{self, DEFAULT_LIMIT},
    progress,
};
use crate::{
    answer::{json, rows},
    call::{Answer, Call},
};

/// Handles `GET /v1/replays`: lists replays, newest first.
pub(crate) async fn list(call: Call) -> Answer {
    let limit = call.query.read("limit", filter::limit)?.unwrap_or(DEFAULT_LIMIT);
    let found = replays::newest(&call.app.store, limit as usize).await?;
    rows(&found, call.accepts("application/x-ndjson"))
}

/// Handles `GET /v1/replays/{id}`: returns the record of a replay, or streams its changes as server-sent events.
pub(crate) async fn show(call: Call) -> Answer {
    let id = call.read_path("id", name::name)?;
    if call.accepts("text/event-stream") {
        return progress::follow(call, id).await;
    }
    json(&replays::find(&call.app.store, &id).await?)
}
