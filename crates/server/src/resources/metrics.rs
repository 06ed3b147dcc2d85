//! Metrics of the store, for Prometheus.

use event_replay::app::metrics;
use http::StatusCode;

use crate::{
    answer::raw,
    call::{Answer, Call},
};

/// `GET /metrics`.
pub(crate) async fn show(call: Call) -> Answer {
    let found = metrics::metrics(&call.app.store, &call.app.settings).await;
    Ok(raw(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics::prometheus(&found)))
}
