//! Workflows: the events with one correlation id, as a tree of causes.

use event_replay::{app::trace, text::name};

use super::filter;
use crate::{
    answer::{json, rows},
    call::{Answer, Call},
    query::Parameter,
    shape::Shape,
};

/// The query parameter that limits the events of a trace.
pub(crate) const LIMIT: Parameter = Parameter::new(
    "limit",
    Shape::Whole(1, filter::MAX_LIMIT),
    "At most this many events, 1 to 1000, the oldest; 1000 where nothing is said.",
);

/// Handles `GET /v1/correlations/{id}/trace`: returns the tree, with the state of each event in each group.
pub(crate) async fn show(call: Call) -> Answer {
    let correlation = call.read_path("id", name::name)?;
    let limit = call.query.read("limit", filter::limit)?.unwrap_or(filter::MAX_LIMIT);
    let trace = trace::trace(&call.app.store, &correlation, limit as usize).await?;
    match call.accepts("application/x-ndjson") {
        true => rows(&trace.events, true),
        false => json(&trace),
    }
}
