//! The state of the process, of the server, and of the store.

use event_replay::app::health::{self, Condition};
use http::StatusCode;

use crate::{
    answer::{json_with, raw},
    call::{Answer, Call},
    problem::{Code, Problem, page},
};

/// Handles `GET /livez`: shows that the process answers.
pub(crate) async fn live(_call: Call) -> Answer {
    Ok(raw(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"))
}

/// Handles `GET /readyz`: answers 200 if the store answers and the server is not stopping.
pub(crate) async fn ready(call: Call) -> Answer {
    if call.app.is_stopping() {
        return Err(Problem::new(Code::Unavailable, "the server is stopping"));
    }
    call.app.store.head().await?;
    Ok(raw(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"))
}

/// Handles `GET /v1/health`: answers 503 if a part is unhealthy.
pub(crate) async fn health(call: Call) -> Answer {
    let found = health::health(&call.app.settings, |error| error.to_string()).await;
    let status = match found.status {
        Condition::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        Condition::Degraded | Condition::Healthy => StatusCode::OK,
    };
    json_with(status, &found)
}

/// Handles `GET /problems/{code}`: returns the documentation page of a problem.
pub(crate) async fn problem(call: Call) -> Answer {
    match page(call.path("code")) {
        Some(text) => Ok(raw(StatusCode::OK, "text/markdown; charset=utf-8", text)),
        None => Err(Problem::new(Code::NotFound, "there is no problem of this code")),
    }
}
