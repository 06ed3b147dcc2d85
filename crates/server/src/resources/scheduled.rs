//! Scheduled events, which wait for their time.

use event_replay::{
    app::documents::{CancelledDocument, ScheduledDocument, ScheduledList},
    text::name,
};

use super::filter::{self, DEFAULT_LIMIT};
use crate::{
    answer::{json, rows},
    call::{Answer, Call},
    problem::{Code, Problem},
};

/// Handles `GET /v1/scheduled`: lists scheduled events, earliest first.
pub(crate) async fn list(call: Call) -> Answer {
    let limit = call.query.read("limit", filter::limit)?.unwrap_or(DEFAULT_LIMIT);
    let found = call.app.store.scheduled(limit as usize).await?;
    let scheduled: Vec<ScheduledDocument> = found.iter().map(ScheduledDocument::of).collect();
    match call.accepts("application/x-ndjson") {
        true => rows(&scheduled, true),
        false => json(&ScheduledList { scheduled }),
    }
}

/// Handles `DELETE /v1/scheduled/{id}`: cancels a scheduled event. An event that is already in the log stays there.
pub(crate) async fn cancel(call: Call) -> Answer {
    let id = call.read_path("id", name::name)?;
    match call.app.store.cancel_scheduled(&id).await? {
        true => json(&CancelledDocument { cancelled: vec![&id], unknown: vec![] }),
        false => Err(Problem::new(Code::NotFound, format!("no event waits under the id {id:?}"))
            .hint("GET /v1/events/{id} finds one that came into the log")),
    }
}
