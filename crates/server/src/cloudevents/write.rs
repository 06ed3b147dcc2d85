//! Conversion of an event to a CloudEvent.

use axum::{body::Body, response::Response};
use base64::Engine as _;
use domain::StoredEvent;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{
    STRUCTURED, VERSION,
    binary::{PREFIX, encoded},
    is_json,
    names::{ENTITIES, METADATA, OTHERS, RENAMED, is_attribute, is_taken},
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
    Json(String),
    Base64(String),
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
    let written = written(stored)?;
    let mut media = None;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("ce-specversion"), HeaderValue::from_static(VERSION));
    for (name, value) in &written.attributes {
        let text = serde_json::from_str::<String>(value).unwrap_or_else(|_| value.clone());
        if name == "datacontenttype" {
            media = Some(text);
            continue;
        }
        let header = HeaderName::try_from(format!("{PREFIX}{name}")).ok().zip(encoded(&text).try_into().ok());
        let Some((name, value)) = header else {
            return Err(unwritable(format!("{name} does not fit a header")));
        };
        headers.insert(name, value);
    }
    let body = match written.data {
        None => {
            if let Some(media) = media {
                headers.insert(header::CONTENT_TYPE, media.try_into().map_err(unwritable)?);
            } else {
                *response.status_mut() = StatusCode::NO_CONTENT;
            }
            return Ok(response);
        }
        Some(Content::Json(text)) if !is_json(media.as_deref()) => plain(text).into_bytes(),
        Some(Content::Json(text)) => text.into_bytes(),
        Some(Content::Base64(text)) => {
            base64::engine::general_purpose::STANDARD.decode(text).map_err(unwritable)?
        }
    };
    let media = media.unwrap_or_else(|| "application/json".to_owned());
    headers.insert(header::CONTENT_TYPE, media.try_into().map_err(unwritable)?);
    *response.body_mut() = Body::from(body);
    Ok(response)
}

/// Returns the characters of a JSON string, or the JSON text of another value: data of a media type that is not JSON.
fn plain(text: String) -> String {
    serde_json::from_str(&text).unwrap_or(text)
}

fn document(stored: &StoredEvent) -> Result<String, Problem> {
    let written = written(stored)?;
    let mut text = format!("{{\"specversion\":\"{VERSION}\"");
    for (name, value) in &written.attributes {
        text.push_str(&format!(",\"{name}\":{value}"));
    }
    match &written.data {
        None => {}
        Some(Content::Json(data)) => text.push_str(&format!(",\"data\":{data}")),
        Some(Content::Base64(data)) => text.push_str(&format!(",\"data_base64\":{}", json(data)?)),
    }
    text.push('}');
    let mut safe = Vec::with_capacity(text.len());
    targets::push_safe_json(&text, &mut safe);
    String::from_utf8(safe).map_err(unwritable)
}

fn written(stored: &StoredEvent) -> Result<Written, Problem> {
    let pairs = pairs_of(stored.event.json()).map_err(unwritable)?;
    let mut written = Written { attributes: Vec::with_capacity(pairs.len()), data: None };
    let mut others = Vec::new();
    let lower = |name: &str| name.to_ascii_lowercase();
    let has_data = pairs.iter().any(|(name, _)| name == "data");
    for (name, value) in &pairs {
        let text = value.get();
        let renamed = RENAMED.iter().find(|(_, member)| member == name).map(|(attribute, _)| *attribute);
        let attribute = renamed.map_or_else(|| name.clone(), str::to_owned);
        let is_plain = renamed.is_some() || is_attribute(&attribute);
        let is_id = name.ends_with("Id") && is_attribute(&lower(name));
        let is_alone = pairs.iter().filter(|(other, _)| lower(other) == lower(name)).count() == 1;
        match name.as_str() {
            "data" => written.data = Some(Content::Json(text.to_owned())),
            "data_base64" if is_base64(text) && !has_data => {
                written.data = Some(Content::Base64(serde_json::from_str(text).map_err(unwritable)?));
            }
            "metadata" if text == "{}" => {}
            "metadata" => written.attributes.push((METADATA.to_owned(), json(text)?)),
            _ if text == "null" => {}
            // The attribute of this name says something else, or cannot have this value.
            _ if is_taken(name) || (name == "datacontenttype" && !is_media(text)) => {
                others.push(format!("{}:{text}", json(name)?));
            }
            _ if (is_plain || is_id) && is_alone && is_value(value) => {
                written.attributes.push((lower(&attribute), text.to_owned()));
                // The attribute name is lower case. The member is therefore also stored with its original case.
                if renamed.is_none() && lower(name) != *name && !ENTITIES.contains(&name.as_str()) {
                    others.push(format!("{}:{text}", json(name)?));
                }
            }
            _ => others.push(format!("{}:{text}", json(name)?)),
        }
    }
    if !others.is_empty() {
        written.attributes.push((OTHERS.to_owned(), json(&format!("{{{}}}", others.join(",")))?));
    }
    Ok(written)
}

/// Whether a JSON value is bytes in base64.
fn is_base64(value: &str) -> bool {
    let text = serde_json::from_str::<String>(value);
    text.is_ok_and(|text| base64::engine::general_purpose::STANDARD.decode(text).is_ok())
}

/// Whether a JSON value is a text that fits the header `Content-Type`.
fn is_media(value: &str) -> bool {
    let text = serde_json::from_str::<String>(value);
    text.is_ok_and(|text| HeaderValue::try_from(text).is_ok())
}

fn json(text: &str) -> Result<String, Problem> {
    serde_json::to_string(text).map_err(unwritable)
}

fn unwritable(error: impl std::fmt::Display) -> Problem {
    Problem::new(Code::Invalid, format!("the event cannot be written as a CloudEvent: {error}"))
}
