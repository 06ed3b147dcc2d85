//! Reads the members of the envelope into spans, and collects all violations.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    EntitySpan, Envelope, Event, Limits, Span, parse_timestamp,
    strict_json::{Member, pointer},
};
use crate::{entity::kind_of_member, ordering::KeySource, violation::Violation};

/// Reads the members of the envelope into spans, and collects all violations.
pub(super) struct EnvelopeReader<'a> {
    text: &'a str,
    limits: &'a Limits,
    tail: String,
    violations: Vec<Violation>,
}

impl<'a> EnvelopeReader<'a> {
    pub(super) fn new(text: &'a str, limits: &'a Limits) -> Self {
        Self { text, limits, tail: String::new(), violations: Vec::new() }
    }

    pub(super) fn read(mut self, members: &[Member<'_>], value: &Value) -> Result<Event, Vec<Violation>> {
        let get = |name: &str| members.iter().find(|member| member.name == name && !is_null(member));
        let id = self.required(get("id"), value, "id");
        let event_type = self.required(get("type"), value, "type");
        let version = self.required(get("version"), value, "version");
        let source = self.required(get("source"), value, "source");
        let timestamp = self.timestamp(get("timestamp"), value);
        self.metadata(value);
        let correlation_id = get("correlationId").and_then(|member| self.name(member, value));
        let causation_id = get("causationId").and_then(|member| self.name(member, value));
        let entities = members.iter().filter_map(|member| self.entity(member, value)).collect();
        // The schema of the type decides about the content of `data`. The reader keeps it digit for digit.
        for member in members.iter().filter(|member| member.name != "data") {
            self.wide_integer(member);
        }
        let (Some(id), Some(event_type), Some(version), Some(source), Some(timestamp), []) =
            (id, event_type, version, source, timestamp, self.violations.as_slice())
        else {
            self.violations.sort();
            return Err(self.violations);
        };
        let key = KeySource::Id;
        let envelope = Envelope {
            timestamp,
            id,
            event_type,
            version,
            source,
            correlation_id,
            causation_id,
            entities,
            key,
            options: super::DeliveryOptions::default(),
        };
        let mut text = String::with_capacity(self.text.len() + self.tail.len());
        text.push_str(self.text);
        text.push_str(&self.tail);
        Ok(Event::from_parts(text.into_boxed_str(), self.text.len(), envelope))
    }

    fn required(&mut self, member: Option<&Member<'_>>, value: &Value, name: &str) -> Option<Span> {
        match member {
            Some(member) => self.name(member, value),
            None => {
                self.missing(name);
                None
            }
        }
    }

    fn missing(&mut self, name: &str) {
        self.violations.push(Violation::new(pointer(name), "required", format!("{name:?} is required")));
    }

    /// Reads a member that must be a string within the limits.
    fn name(&mut self, member: &Member<'_>, value: &Value) -> Option<Span> {
        let at = pointer(&member.name);
        let Some(text) = value.get(&*member.name).and_then(Value::as_str) else {
            self.violations.push(Violation::new(at, "type", format!("{:?} must be a string", member.name)));
            return None;
        };
        let (len, limit) = (text.len(), self.limits.max_name_bytes);
        let wrong = if text.is_empty() {
            Some(("limit", format!("{:?} is empty", member.name)))
        } else if len > limit {
            Some(("limit", format!("{:?} has {len} bytes; the limit is {limit}", member.name)))
        } else if text.contains('\0') {
            Some(("limit", format!("{:?} contains a NUL character", member.name)))
        } else {
            None
        };
        if let Some((rule, message)) = wrong {
            self.violations.push(Violation::new(at, rule, message));
            return None;
        }
        Some(self.span(member.raw.get(), text))
    }

    /// Returns the place of a string. It is in the text itself, or decoded in the tail if the text spells the string
    /// with escapes.
    fn span(&mut self, raw: &str, decoded: &str) -> Span {
        let start = match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
            Some(inner) if inner == decoded => inner.as_ptr() as usize - self.text.as_ptr() as usize,
            _ => self.spill(decoded),
        };
        Span { start: start as u32, len: decoded.len() as u32 }
    }

    fn spill(&mut self, decoded: &str) -> usize {
        let start = self.text.len() + self.tail.len();
        self.tail.push_str(decoded);
        start
    }

    fn entity(&mut self, member: &Member<'_>, value: &Value) -> Option<EntitySpan> {
        let kind = kind_of_member(&member.name)?;
        // Only strings name entities. The schema of the type decides about the JSON type of the member.
        value.get(&*member.name).and_then(Value::as_str)?;
        if kind.len() > self.limits.max_name_bytes {
            let message = format!("the member's name has more than {} bytes", self.limits.max_name_bytes);
            self.violations.push(Violation::new("", "limit", message));
            return None;
        }
        let id = self.name(member, value)?;
        let start = match &member.name {
            Cow::Borrowed(name) => name.as_ptr() as usize - self.text.as_ptr() as usize,
            Cow::Owned(_) => self.spill(kind),
        };
        Some(EntitySpan { kind: Span { start: start as u32, len: kind.len() as u32 }, id })
    }

    fn timestamp(&mut self, member: Option<&Member<'_>>, value: &Value) -> Option<jiff::Timestamp> {
        if member.is_none() {
            self.missing("timestamp");
            return None;
        }
        let Some(text) = value.get("timestamp").and_then(Value::as_str) else {
            self.violations.push(Violation::new("/timestamp", "type", "\"timestamp\" must be a string"));
            return None;
        };
        match parse_timestamp(text) {
            Ok(timestamp) => Some(timestamp),
            Err(error) => {
                let excerpt: String = text.chars().take(40).collect();
                let message = format!("{excerpt:?} is not a timestamp: {error}");
                self.violations.push(Violation::new("/timestamp", "date-time", message));
                None
            }
        }
    }

    fn metadata(&mut self, value: &Value) {
        match value.get("metadata") {
            Some(Value::Object(_)) => {}
            None | Some(Value::Null) => self.missing("metadata"),
            Some(_) => {
                self.violations.push(Violation::new("/metadata", "type", "\"metadata\" must be an object"));
            }
        }
    }

    /// Consumers in every language read the envelope, so no integer in it may need more than 64 bits.
    fn wide_integer(&mut self, member: &Member<'_>) {
        let raw = member.raw.get();
        let is_integer = raw.strip_prefix('-').unwrap_or(raw).bytes().all(|byte| byte.is_ascii_digit());
        if is_integer && raw.parse::<i64>().is_err() && raw.parse::<u64>().is_err() {
            let message = format!("{:?} is an integer of more than 64 bits", member.name);
            self.violations.push(Violation::new(pointer(&member.name), "limit", message));
        }
    }
}

fn is_null(member: &Member<'_>) -> bool {
    member.raw.get() == "null"
}
