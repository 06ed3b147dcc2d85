//! Whether the server lives, can be used, and how the store is.

use event_replay::app::health::{self, Condition};
use http::StatusCode;

use crate::{
    answer::{json_with, raw},
    call::{Answer, Call},
    problem::{Code, Problem, page},
};

/// `GET /livez`: the process answers.
pub(crate) async fn live(_call: Call) -> Answer {
    Ok(raw(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"))
}

/// `GET /readyz`: the store answers, and the server was not told to stop.
pub(crate) async fn ready(call: Call) -> Answer {
    if call.app.is_stopping() {
        return Err(Problem::new(Code::Unavailable, "the server is stopping"));
    }
    call.app.store.head().await?;
    Ok(raw(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"))
}

/// `GET /v1/health`: 503 where something is unhealthy.
pub(crate) async fn health(call: Call) -> Answer {
    let found = health::health(&call.app.settings, |error| error.to_string()).await;
    let status = match found.status {
        Condition::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        Condition::Degraded | Condition::Healthy => StatusCode::OK,
    };
    json_with(status, &found)
}

/// `GET /problems/{code}`: what a problem means.
pub(crate) async fn problem(call: Call) -> Answer {
    match page(call.path("code")) {
        Some(text) => Ok(raw(StatusCode::OK, "text/markdown; charset=utf-8", text)),
        None => Err(Problem::new(Code::NotFound, "there is no problem of this code")),
    }
}
