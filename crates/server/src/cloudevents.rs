//! CloudEvents 1.0 over HTTP, in both directions: structured, batched and binary.
//!
//! An attribute of a CloudEvent becomes a member of an event, and the member becomes the attribute again.
//! `docs/http.md` has the table. The data is never parsed and serialized again, so its bytes are unchanged.

mod binary;
mod content;
mod names;
mod structured;
mod to_event;
mod write;

use axum::body::Bytes;
use bus::Rejection;
use domain::Violation;
use http::HeaderMap;
use serde_json::value::RawValue;

use crate::{
    body::media_type,
    problem::{Code, Problem},
};

use self::content::Data;
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

/// A CloudEvent of a request, or the reason why it is refused.
pub(crate) type Parsed = Result<CloudEvent, Rejection>;

/// Parses the CloudEvents of a request.
///
/// # Errors
/// Returns a problem when a batch is not a JSON array.
pub(crate) fn read(mode: Mode, headers: &HeaderMap, body: &Bytes) -> Result<Vec<Parsed>, Problem> {
    match mode {
        Mode::Structured => Ok(vec![structured::read(body)]),
        Mode::Batch => structured::read_batch(body),
        Mode::Binary => {
            let event = binary::read(headers, body);
            Ok(vec![event.map_err(|reason| malformed(None, None, reason))])
        }
    }
}

/// Returns the rejection of a CloudEvent that cannot be converted to an event.
pub(crate) fn malformed(
    event_id: Option<String>,
    event_type: Option<String>,
    reason: impl Into<String>,
) -> Rejection {
    Rejection { event_id, event_type, violations: vec![Violation::new("", "cloudevent", reason)] }
}

/// Returns the problem for the only CloudEvent of a request if it cannot be converted to an event.
pub(crate) fn bad(rejection: &Rejection) -> Problem {
    let reasons: Vec<&str> = rejection.violations.iter().map(|reason| reason.message.as_str()).collect();
    Problem::new(Code::BadRequest, format!("the CloudEvent is not valid: {}", reasons.join("; ")))
}

/// Returns the media type of the data: the attribute `datacontenttype`, if there is one.
fn media_of(attributes: &[(String, Box<RawValue>)]) -> Result<Option<String>, String> {
    let found = attributes.iter().find(|(name, _)| name == names::MEDIA);
    let text = found.map(|(_, value)| serde_json::from_str(value.get())).transpose();
    text.map_err(|_| format!("the attribute {:?} is not a string", names::MEDIA))
}
