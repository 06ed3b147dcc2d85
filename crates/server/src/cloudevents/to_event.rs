//! Conversion of a CloudEvent to an event.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::{
    CloudEvent,
    content::{Data, JSON, bytes_of},
    names::{BYTES, MEDIA, METADATA, Members, OTHERS, is_taken},
};

/// The version of an event if its CloudEvent has none.
const DEFAULT_VERSION: &str = "1.0";

/// Settings of a conversion: the default timestamp, and the form of the event id.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    /// The timestamp of an event if its CloudEvent has no `time`.
    pub(crate) otherwise: Timestamp,
    /// Whether the event id contains the source.
    pub(crate) id_with_source: bool,
}

impl CloudEvent {
    /// Returns the text of an attribute, or `None` if the attribute is missing or is not a string.
    fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.attributes.iter().find(|(own, _)| own == name)?;
        serde_json::from_str(value.get()).ok()
    }

    /// The event type.
    pub(crate) fn event_type(&self) -> Option<String> {
        self.text("type")
    }

    /// The event version, or the default version.
    pub(crate) fn version(&self) -> String {
        self.text("version").unwrap_or_else(|| DEFAULT_VERSION.to_owned())
    }

    /// Whether the CloudEvent has an attribute that a schema may name as an entity.
    pub(crate) fn names_entities(&self) -> bool {
        self.attributes.iter().any(|(name, _)| name.ends_with("id") && name != "id")
    }

    /// Whether the data is a JSON value of a JSON media type.
    fn is_json(&self) -> bool {
        matches!(self.data, Some(Data::Json(_)))
    }

    /// Whether the CloudEvent has a `time` attribute.
    pub(crate) fn has_time(&self) -> bool {
        self.attributes.iter().any(|(name, _)| name == "time")
    }

    /// Returns the id of the resulting event.
    pub(crate) fn event_id(&self, with_source: bool) -> Option<String> {
        let id = self.text("id")?;
        Some(match with_source {
            true => format!("{}#{id}", self.text("source")?),
            false => id,
        })
    }
}

/// Returns the JSON of the event for a CloudEvent. Admission reports required members that are missing.
///
/// # Errors
/// Returns a message when an attribute matches several members, or when an attribute that must contain JSON does not.
pub(crate) fn event_of(cloud: &CloudEvent, members: &Members, times: &Times) -> Result<Vec<u8>, String> {
    let mut event = Object::default();
    let id = cloud.event_id(times.id_with_source);
    let others = others_of(cloud)?;
    for (attribute, value) in &cloud.attributes {
        match attribute.as_str() {
            "id" => match &id {
                Some(id) => event.put("id", raw(id)?.get()),
                None => event.put("id", value.get()),
            },
            METADATA => event.put("metadata", &json_in(METADATA, value)?),
            OTHERS => {}
            // JSON data without a media type is `application/json` too. Both are the same event.
            MEDIA if cloud.is_json() && is_string(value, JSON) => {}
            other if others.iter().any(|(name, member)| restores(name, member, other, value)) => {}
            other => event.put(&members.of_attribute(other)?, value.get()),
        }
    }
    others.iter().for_each(|(name, value)| event.put(name, value.get()));
    if !event.has("version") {
        event.put("version", raw(DEFAULT_VERSION)?.get());
    }
    if !event.has("timestamp") {
        event.put("timestamp", raw(&times.otherwise.to_string())?.get());
    }
    if !event.has("metadata") {
        event.put("metadata", "{}");
    }
    let repeated = others.get(BYTES).and_then(|value| bytes_of(value));
    let is_repeated = |data: &Data| repeated.as_deref().is_some_and(|bytes| data.has_bytes(bytes));
    match &cloud.data {
        // The `eventmembers` attribute contains the same bytes in the form of the event.
        Some(data) if is_repeated(data) => {}
        Some(Data::Json(data) | Data::Text(data)) => event.put("data", data.get()),
        Some(Data::Base64(data)) => event.put(BYTES, raw(data)?.get()),
        None => {}
    }
    Ok(event.end())
}

/// Whether a member of the `eventmembers` attribute is the original form of an attribute. An attribute name is lower
/// case, and a header has the text of a number or a boolean.
fn restores(name: &str, member: &RawValue, attribute: &str, value: &RawValue) -> bool {
    match name == attribute {
        true => is_string(value, member.get()),
        false => name.eq_ignore_ascii_case(attribute) && !is_taken(attribute),
    }
}

fn is_string(value: &RawValue, text: &str) -> bool {
    serde_json::from_str::<String>(value.get()).is_ok_and(|value| value == text)
}

/// Returns the members of the `eventmembers` attribute.
fn others_of(cloud: &CloudEvent) -> Result<BTreeMap<String, Box<RawValue>>, String> {
    let Some((_, value)) = cloud.attributes.iter().find(|(name, _)| name == OTHERS) else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_str(&json_in(OTHERS, value)?)
        .map_err(|error| format!("the attribute {OTHERS:?} is not a JSON object: {error}"))
}

fn raw(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::value::to_raw_value(text).map_err(|error| error.to_string())
}

/// Returns the text of a string attribute, which contains JSON.
fn json_in(attribute: &str, value: &RawValue) -> Result<String, String> {
    serde_json::from_str(value.get()).map_err(|_| format!("the attribute {attribute:?} is not a string"))
}

/// A JSON object under construction. A duplicate member is written twice, and admission refuses it.
#[derive(Default)]
struct Object {
    text: String,
    names: Vec<String>,
}

impl Object {
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    fn put(&mut self, name: &str, value: &str) {
        self.text.push(if self.names.is_empty() { '{' } else { ',' });
        // The serialization of a string cannot fail.
        self.text.push_str(&serde_json::to_string(name).unwrap_or_default());
        self.text.push(':');
        self.text.push_str(value);
        self.names.push(name.to_owned());
    }

    fn end(mut self) -> Vec<u8> {
        self.text.push_str(if self.names.is_empty() { "{}" } else { "}" });
        self.text.into_bytes()
    }
}
