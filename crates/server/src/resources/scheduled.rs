//! Events that wait for their time.

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

/// `GET /v1/scheduled`: the earliest first.
pub(crate) async fn list(call: Call) -> Answer {
    let limit = call.query.read("limit", filter::limit)?.unwrap_or(DEFAULT_LIMIT);
    let found = call.app.store.scheduled(limit as usize).await?;
    let scheduled: Vec<ScheduledDocument> = found.iter().map(ScheduledDocument::of).collect();
    match call.accepts("application/x-ndjson") {
        true => rows(&scheduled, true),
        false => json(&ScheduledList { scheduled }),
    }
}

/// `DELETE /v1/scheduled/{id}`: an event that is in the log already is not cancelled.
pub(crate) async fn cancel(call: Call) -> Answer {
    let id = call.read_path("id", name::name)?;
    match call.app.store.cancel_scheduled(&id).await? {
        true => json(&CancelledDocument { cancelled: vec![&id], unknown: vec![] }),
        false => Err(Problem::new(Code::NotFound, format!("no event waits under the id {id:?}"))
            .hint("GET /v1/events/{id} finds one that came into the log")),
    }
}
