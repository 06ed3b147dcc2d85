//! Reads untrusted bytes into an event. One strict pass finds every violation of the envelope.

use serde_json::Value;

use super::{
    Event, Limits,
    envelope::EnvelopeReader,
    strict_json::{malformed, parse_members, parse_value},
};
use crate::violation::Violation;

/// A JSON object that claims to be an event. It is parsed, and its envelope is read.
#[derive(Debug, Clone)]
pub struct Document {
    value: Value,
    event: Result<Event, Vec<Violation>>,
}

impl Document {
    /// Reads bytes that claim to be one event.
    ///
    /// This reader is stricter than most JSON parsers. At any depth, it refuses a repeated member name, nesting
    /// beyond the limit, and a number that no 64-bit float can hold. Readers would disagree on the meaning of such an
    /// event.
    ///
    /// # Errors
    /// Returns a single violation when the bytes are too many, not UTF-8, not JSON, or not an object.
    /// [`Document::into_event`] returns the violations of an envelope that could be read.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Violation> {
        if bytes.len() > limits.max_event_bytes {
            let (size, limit) = (bytes.len(), limits.max_event_bytes);
            return Err(malformed("limit", format!("the event has {size} bytes; the limit is {limit}")));
        }
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(malformed(
                "json",
                "the text begins with a byte order mark; JSON is sent without one",
            ));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            malformed("json", format!("the text is not UTF-8: bad byte at offset {}", error.valid_up_to()))
        })?;
        let members = parse_members(text)?;
        let value = parse_value(&members, limits)?;
        let event = EnvelopeReader::new(text, limits).read(&members, &value);
        Ok(Self { value, event })
    }

    /// Returns the parsed JSON, for validators.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the event type that the document claims, if `type` is a string.
    pub fn event_type(&self) -> Option<&str> {
        self.value.get("type").and_then(Value::as_str)
    }

    /// Returns the id that the document claims, if `id` is a string.
    pub fn event_id(&self) -> Option<&str> {
        self.value.get("id").and_then(Value::as_str)
    }

    /// Returns the event.
    ///
    /// # Errors
    /// Returns all violations of the envelope's rules, sorted.
    pub fn event(&self) -> Result<&Event, &[Violation]> {
        self.event.as_ref().map_err(Vec::as_slice)
    }

    /// Returns the event by value.
    ///
    /// # Errors
    /// Returns all violations of the envelope's rules, sorted.
    pub fn into_event(self) -> Result<Event, Vec<Violation>> {
        self.event
    }
}
