//! CloudEvents 1.0 over HTTP, in both directions: structured, batched and binary.
//!
//! An attribute of a CloudEvent becomes a member of an event, and comes back from it. `docs/http.md` has the table. Data is
//! never parsed and written again: its bytes are kept.

mod binary;
mod names;
mod structured;
mod to_event;
mod write;

use axum::body::Bytes;
use http::HeaderMap;
use serde_json::value::RawValue;

use crate::{
    body::media_type,
    problem::{Code, Problem},
};

pub(crate) use self::{
    names::Members,
    to_event::{Times, event_of},
    write::{batch, binary_of, structured_of},
};

/// The media type of one CloudEvent as a JSON document.
pub(crate) const STRUCTURED: &str = "application/cloudevents+json";
/// The media type of a JSON array of CloudEvents.
pub(crate) const BATCH: &str = "application/cloudevents-batch+json";
/// The version of the specification that is understood.
const VERSION: &str = "1.0";

/// A CloudEvent that was read: its attributes but `specversion`, as JSON values, and its data.
#[derive(Debug, Clone)]
pub(crate) struct CloudEvent {
    attributes: Vec<(String, Box<RawValue>)>,
    data: Option<Data>,
}

/// The data of a CloudEvent.
#[derive(Debug, Clone)]
enum Data {
    /// A JSON value.
    Json(Box<RawValue>),
    /// Other bytes, in base64.
    Base64(String),
}

/// The form in which a request has CloudEvents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One, as a JSON document.
    Structured,
    /// Several, as a JSON array.
    Batch,
    /// One, its attributes in headers and its data in the body.
    Binary,
}

/// The form in which a request has CloudEvents; none where it has none.
pub(crate) fn mode(headers: &HeaderMap) -> Result<Option<Mode>, Problem> {
    let media = media_type(headers);
    match media.as_deref() {
        Some(STRUCTURED) => Ok(Some(Mode::Structured)),
        Some(BATCH) => Ok(Some(Mode::Batch)),
        Some(other) if other.starts_with("application/cloudevents") => {
            let said =
                format!("CloudEvents are taken as {STRUCTURED}, {BATCH} or in binary mode, not as {other:?}");
            Err(Problem::new(Code::UnsupportedMedia, said).hint("set the header Content-Type"))
        }
        _ if headers.contains_key("ce-specversion") => Ok(Some(Mode::Binary)),
        _ => Ok(None),
    }
}

/// The CloudEvents of a request.
pub(crate) fn read(mode: Mode, headers: &HeaderMap, body: &Bytes) -> Result<Vec<CloudEvent>, Problem> {
    match mode {
        Mode::Structured => Ok(vec![structured::read(body, None)?]),
        Mode::Batch => structured::read_batch(body),
        Mode::Binary => Ok(vec![binary::read(headers, body)?]),
    }
}

/// A CloudEvent that cannot be understood. `at` is its place in a batch.
fn bad(at: Option<usize>, what: impl std::fmt::Display) -> Problem {
    let place = at.map_or_else(String::new, |at| format!(" {}", at + 1));
    Problem::new(Code::BadRequest, format!("the CloudEvent{place} is not valid: {what}"))
}

/// Whether a media type is one of JSON; where nothing is said, it is.
fn is_json(media: Option<&str>) -> bool {
    let media = media.map(|media| media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    media.is_none_or(|media| media == "application/json" || media == "text/json" || media.ends_with("+json"))
}
