//! Responses: JSON documents, lines of JSON, and pages.

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::{
    call::Answer,
    problem::{Code, Problem},
};

/// Header with the number of damaged events that a page omits.
pub(crate) const DAMAGED: HeaderName = HeaderName::from_static("event-replay-damaged");

/// Returns a response with a JSON document and status 200.
pub(crate) fn json(document: &impl Serialize) -> Answer {
    json_with(StatusCode::OK, document)
}

/// Returns a response with a JSON document and the given status.
pub(crate) fn json_with(status: StatusCode, document: &impl Serialize) -> Answer {
    let text = serde_json::to_string(document)
        .map_err(|error| Problem::new(Code::Internal, format!("the answer cannot be written: {error}")))?;
    let mut safe = Vec::with_capacity(text.len() + 1);
    targets::push_safe_json(&text, &mut safe);
    safe.push(b'\n');
    Ok(raw(status, "application/json", safe))
}

/// Returns a response with rows: one JSON array, or one JSON row per line.
pub(crate) fn rows(rows: &[impl Serialize], is_ndjson: bool) -> Answer {
    if !is_ndjson {
        return json(&rows);
    }
    let mut lines = Vec::new();
    for row in rows {
        let text = serde_json::to_string(row).map_err(|error| {
            Problem::new(Code::Internal, format!("the answer cannot be written: {error}"))
        })?;
        targets::push_safe_json(&text, &mut lines);
        lines.push(b'\n');
    }
    Ok(raw(StatusCode::OK, "application/x-ndjson", lines))
}

/// Returns a response with a body of the given media type.
pub(crate) fn raw(status: StatusCode, media: &'static str, body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    answer
}

/// Adds a `Link` header with the address of the next page.
pub(crate) fn link_next(answer: &mut Response, path: &str, query: Option<&str>, next: &str) {
    let rest =
        query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("after="));
    let pairs: Vec<&str> = rest.collect();
    let before = if pairs.is_empty() { String::new() } else { format!("{}&", pairs.join("&")) };
    if let Ok(link) = HeaderValue::try_from(format!("<{path}?{before}after={next}>; rel=\"next\"")) {
        answer.headers_mut().insert(header::LINK, link);
    }
}
