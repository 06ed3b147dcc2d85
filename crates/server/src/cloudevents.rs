//! CloudEvents 1.0 over HTTP, in both directions: structured, batched and binary.
//!
//! An attribute of a CloudEvent becomes a member of an event, and the member becomes the attribute again.
//! `docs/http.md` has the table. The data is never parsed and serialized again, so its bytes are unchanged.

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
/// The supported version of the specification.
const VERSION: &str = "1.0";

/// A parsed CloudEvent: its data and its attributes as JSON values, without `specversion`.
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

/// The content mode of CloudEvents in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One CloudEvent as a JSON document.
    Structured,
    /// Several CloudEvents as a JSON array.
    Batch,
    /// One CloudEvent with its attributes in headers and its data in the body.
    Binary,
}

/// Returns the content mode of the CloudEvents in a request, or `None` if the request carries no CloudEvent.
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

/// Parses the CloudEvents of a request.
pub(crate) fn read(mode: Mode, headers: &HeaderMap, body: &Bytes) -> Result<Vec<CloudEvent>, Problem> {
    match mode {
        Mode::Structured => Ok(vec![structured::read(body, None)?]),
        Mode::Batch => structured::read_batch(body),
        Mode::Binary => Ok(vec![binary::read(headers, body)?]),
    }
}

/// Returns the problem for an invalid CloudEvent. `at` is its index in a batch, from 0.
fn bad(at: Option<usize>, what: impl std::fmt::Display) -> Problem {
    let place = at.map_or_else(String::new, |at| format!(" {}", at + 1));
    Problem::new(Code::BadRequest, format!("the CloudEvent{place} is not valid: {what}"))
}

/// Whether a media type is a JSON type. A missing media type counts as JSON.
fn is_json(media: Option<&str>) -> bool {
    let media = media.map(|media| media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    media.is_none_or(|media| media == "application/json" || media == "text/json" || media.ends_with("+json"))
}
