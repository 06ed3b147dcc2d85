//! Metrics of the store, in the Prometheus text format.

use event_replay::app::metrics;
use http::StatusCode;

use crate::{
    answer::raw,
    call::{Answer, Call},
};

/// Handles `GET /metrics`: returns all metrics.
pub(crate) async fn show(call: Call) -> Answer {
    let found = metrics::metrics(&call.app.store, &call.app.settings).await;
    Ok(raw(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics::prometheus(&found)))
}
