//! Conversion of an event to a CloudEvent.

use axum::{body::Body, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::StoredEvent;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::value::RawValue;

use super::{
    Mode, STRUCTURED, VERSION,
    binary::{PREFIX, encoded},
    content::{JSON, bytes_of, is_json, is_text},
    names::{BYTES, ENTITIES, MEDIA, METADATA, OTHERS, RENAMED, is_attribute, is_taken},
    structured::{is_value, pairs_of},
};
use crate::{
    answer::raw,
    call::Answer,
    problem::{Code, Problem},
};

/// The parts of a CloudEvent.
struct Written {
    /// Attributes as JSON values, without `specversion`.
    attributes: Vec<(String, String)>,
    data: Option<Content>,
}

/// The data of a CloudEvent.
enum Content {
    /// A JSON value. A string is text if the media type is not JSON.
    Value(String),
    /// Other bytes.
    Bytes(Vec<u8>),
}

/// Returns a response with one event as a JSON document.
pub(crate) fn structured_of(stored: &StoredEvent) -> Answer {
    let mut text = document(stored)?;
    text.push('\n');
    Ok(raw(StatusCode::OK, STRUCTURED, text))
}

/// Returns events as a JSON array.
pub(crate) fn batch(events: &[StoredEvent]) -> Result<String, Problem> {
    let documents = events.iter().map(document).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("[{}]\n", documents.join(",\n")))
}

/// Returns a response with one event in binary mode. An event without data has the status 204.
pub(crate) fn binary_of(stored: &StoredEvent) -> Answer {
    let written = written(stored, Mode::Binary)?;
    let mut media = None;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("ce-specversion"), HeaderValue::from_static(VERSION));
    for (name, value) in &written.attributes {
        let text = serde_json::from_str::<String>(value).unwrap_or_else(|_| value.clone());
        if name == MEDIA {
            media = Some(text);
            continue;
        }
        let header = HeaderName::try_from(format!("{PREFIX}{name}")).ok().zip(encoded(&text).try_into().ok());
        let Some((name, value)) = header else {
            return Err(unwritable(format!("{name} does not fit a header")));
        };
        headers.insert(name, value);
    }
    let is_empty = written.data.is_none();
    let (body, media) = match (written.data, media) {
        (None, media) => (Vec::new(), media),
        (Some(Content::Value(text)), Some(media)) if !is_json(&media) => {
            (plain(text).into_bytes(), Some(media))
        }
        (Some(Content::Value(text)), media) => (text.into_bytes(), media.or_else(|| Some(JSON.to_owned()))),
        // Bytes of an unknown type are sent without a type.
        (Some(Content::Bytes(bytes)), media) => (bytes, media),
    };
    if is_empty && media.is_none() {
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    if let Some(media) = media {
        headers.insert(header::CONTENT_TYPE, media.try_into().map_err(unwritable)?);
    }
    *response.body_mut() = Body::from(body);
    Ok(response)
}

/// Returns the characters of a JSON string, or the JSON text of another value: data of a media type that is not JSON.
fn plain(text: String) -> String {
    serde_json::from_str(&text).unwrap_or(text)
}

fn document(stored: &StoredEvent) -> Result<String, Problem> {
    let written = written(stored, Mode::Structured)?;
    let mut text = format!("{{\"specversion\":\"{VERSION}\"");
    for (name, value) in &written.attributes {
        text.push_str(&format!(",\"{name}\":{value}"));
    }
    match &written.data {
        None => {}
        Some(Content::Value(data)) => text.push_str(&format!(",\"data\":{data}")),
        Some(Content::Bytes(bytes)) => {
            text.push_str(&format!(",\"{BYTES}\":{}", json(&STANDARD.encode(bytes))?));
        }
    }
    text.push('}');
    let mut safe = Vec::with_capacity(text.len());
    targets::push_safe_json(&text, &mut safe);
    String::from_utf8(safe).map_err(unwritable)
}

/// Returns the parts of the CloudEvent for an event. If the CloudEvent is sent to this server, it becomes the same
/// event again. A member that would not return in its form is also in the attribute `eventmembers`.
fn written(stored: &StoredEvent, mode: Mode) -> Result<Written, Problem> {
    let pairs = pairs_of(stored.event.json()).map_err(unwritable)?;
    let mut written = Written { attributes: Vec::with_capacity(pairs.len()), data: None };
    let mut others = Vec::new();
    let lower = |name: &str| name.to_ascii_lowercase();
    let payload = Payload::of(&pairs, mode);
    for (name, value) in &pairs {
        let text = value.get();
        let renamed = RENAMED.iter().find(|(_, member)| member == name).map(|(attribute, _)| *attribute);
        let attribute = renamed.map_or_else(|| name.clone(), str::to_owned);
        let is_plain = renamed.is_some() || is_attribute(&attribute);
        let is_id = name.ends_with("Id") && is_attribute(&lower(name));
        let is_alone = pairs.iter().filter(|(other, _)| lower(other) == lower(name)).count() == 1;
        let member = || json(name).map(|name| format!("{name}:{text}"));
        match name.as_str() {
            "data" => written.data = Some(Content::Value(text.to_owned())),
            BYTES if payload.is_content => {
                written.data = bytes_of(value).map(Content::Bytes);
                if payload.is_repeated {
                    others.push(member()?);
                }
            }
            "metadata" if text == "{}" => {}
            "metadata" => written.attributes.push((METADATA.to_owned(), json(text)?)),
            // The attribute of this name says something else, or cannot have this value.
            _ if text == "null" || is_taken(name) || (name == MEDIA && !payload.has_media) => {
                others.push(member()?);
            }
            _ if (is_plain || is_id) && is_alone && is_value(value) => {
                written.attributes.push((lower(&attribute), text.to_owned()));
                // The attribute name is lower case, and a header is a text. The member is therefore also stored in
                // its original form.
                let is_renamed = lower(name) != *name && !ENTITIES.contains(&name.as_str());
                let is_string = mode != Mode::Binary || text.starts_with('"');
                if renamed.is_none() && (is_renamed || !is_string) {
                    others.push(member()?);
                }
            }
            _ => others.push(member()?),
        }
    }
    if !others.is_empty() {
        written.attributes.push((OTHERS.to_owned(), json(&format!("{{{}}}", others.join(",")))?));
    }
    Ok(written)
}

/// The form of the members of an event that describe its data.
struct Payload {
    /// Whether the member `data_base64` is the data.
    is_content: bool,
    /// Whether this data would return as another member.
    is_repeated: bool,
    /// Whether the member `datacontenttype` is the media type of the data.
    has_media: bool,
}

impl Payload {
    fn of(pairs: &[(String, Box<RawValue>)], mode: Mode) -> Self {
        let find = |member: &str| pairs.iter().find(|(name, _)| name == member).map(|(_, value)| value);
        let text = |value: &RawValue| serde_json::from_str::<String>(value.get()).ok();
        let media = find(MEDIA).and_then(|value| text(value)).filter(|media| is_media(media));
        let Some(value) = find("data") else {
            let bytes = find(BYTES).and_then(|value| bytes_of(value)).filter(|bytes| !bytes.is_empty());
            let is_content = bytes.is_some() && !media.as_deref().is_some_and(is_json);
            let is_repeated = bytes.is_some_and(|bytes| match media {
                Some(_) => is_text(&bytes),
                // A body without a media type may be JSON.
                None => mode == Mode::Binary && serde_json::from_slice::<&RawValue>(&bytes).is_ok(),
            });
            return Self { is_content, is_repeated, has_media: media.is_some() };
        };
        let has_media = media.is_some_and(|media| match is_json(&media) {
            // It is the media type of JSON data without this member, too.
            true => media != JSON,
            false => text(value).is_some_and(|text| is_text(text.as_bytes())),
        });
        Self { is_content: false, is_repeated: false, has_media }
    }
}

/// Whether a text is a media type that the header `Content-Type` carries unchanged, and that is not of a CloudEvent.
fn is_media(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let is_cloud_event = text.to_ascii_lowercase().starts_with("application/cloudevents");
    !text.is_empty() && is_plain && text.trim() == text && !is_cloud_event
}

fn json(text: &str) -> Result<String, Problem> {
    serde_json::to_string(text).map_err(unwritable)
}

fn unwritable(error: impl std::fmt::Display) -> Problem {
    Problem::new(Code::Invalid, format!("the event cannot be written as a CloudEvent: {error}"))
}
