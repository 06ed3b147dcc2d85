//! Counts of stored events.

use event_replay::app;

use super::filter;
use crate::{
    answer::json,
    call::{Answer, Call},
};

/// Handles `GET /v1/stats`: counts the events that match a filter.
pub(crate) async fn show(call: Call) -> Answer {
    let wanted = filter::of_query(&call.query)?;
    json(&app::stats::stats(&call.app.store, &call.app.settings, wanted, None).await?)
}
