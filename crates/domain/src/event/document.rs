//! From untrusted bytes to an event: one strict reading that finds everything wrong with the envelope.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};

use super::{EntitySpan, Envelope, Event, Limits, Span, parse_timestamp};
use crate::{entity::kind_of_member, ordering::KeySource, violation::Violation};

/// A JSON object that claims to be an event: parsed, and its envelope read.
#[derive(Debug, Clone)]
pub struct Document {
    value: Value,
    event: Result<Event, Vec<Violation>>,
}

impl Document {
    /// Reads bytes that claim to be one event.
    ///
    /// Stricter than JSON parsers are by default: a repeated member name, nesting beyond the limit and a number that no
    /// 64-bit float can hold are refused at any depth, since readers would disagree on what such an event says.
    ///
    /// # Errors
    /// A single violation where the bytes are too many, not UTF-8, not JSON, or not an object. What is wrong with an
    /// envelope that could be read is in [`Document::into_event`].
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

    /// The parsed JSON, for validators.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The type it claims, as far as it can be told.
    pub fn event_type(&self) -> Option<&str> {
        self.value.get("type").and_then(Value::as_str)
    }

    /// The id it claims, as far as it can be told.
    pub fn event_id(&self) -> Option<&str> {
        self.value.get("id").and_then(Value::as_str)
    }

    /// The event, or everything that is wrong with its envelope.
    ///
    /// # Errors
    /// All violations of the envelope's rules, sorted.
    pub fn event(&self) -> Result<&Event, &[Violation]> {
        self.event.as_ref().map_err(Vec::as_slice)
    }

    /// Like [`Document::event`], by value.
    ///
    /// # Errors
    /// All violations of the envelope's rules, sorted.
    pub fn into_event(self) -> Result<Event, Vec<Violation>> {
        self.event
    }
}

fn malformed(rule: &'static str, message: impl Into<String>) -> Violation {
    Violation::new("", rule, message)
}

/// A member of the event, as it stands in its text.
struct Member<'a> {
    name: Cow<'a, str>,
    raw: &'a RawValue,
}

/// The top-level members, unparsed, so that their places in the text are known.
fn parse_members(text: &str) -> Result<Vec<Member<'_>>, Violation> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<Member<'de>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an event, which is a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::with_capacity(16);
            while let Some(BorrowedName(name)) = map.next_key()? {
                members.push(Member { name, raw: map.next_value()? });
            }
            Ok(members)
        }
    }

    /// A member name, borrowed from the text wherever it has no escapes.
    struct BorrowedName<'a>(Cow<'a, str>);
    impl<'de> serde::Deserialize<'de> for BorrowedName<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Name;
            impl<'de> Visitor<'de> for Name {
                type Value = BorrowedName<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a member name")
                }

                fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                    Ok(BorrowedName(Cow::Borrowed(name)))
                }

                fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                    Ok(BorrowedName(Cow::Owned(name.to_owned())))
                }
            }
            deserializer.deserialize_str(Name)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(Members).map_err(|error| json_violation(&error, text))?;
    deserializer.end().map_err(|error| json_violation(&error, text))?;
    let mut seen = HashSet::with_capacity(members.len());
    match members.iter().find(|member| !seen.insert(&*member.name)) {
        Some(twice) => Err(malformed("json", duplicate(&twice.name))),
        None => Ok(members),
    }
}

fn duplicate(name: &str) -> String {
    let excerpt: String = name.chars().take(64).collect();
    format!("the member {excerpt:?} occurs twice in one object")
}

/// The line is only worth naming in a text of several.
fn json_violation(error: &serde_json::Error, text: &str) -> Violation {
    let said = error.to_string();
    let reason = said.split(" at line ").next().unwrap_or(&said);
    let (line, column) = (error.line(), error.column());
    let place = match text.contains('\n') && line > 1 {
        true => format!("line {line}, column {column}"),
        false => format!("column {column}"),
    };
    match error.classify() {
        serde_json::error::Category::Data => {
            let found = kind_of_json(text);
            malformed("type", format!("expected an event, which is a JSON object, and found {found}"))
        }
        serde_json::error::Category::Eof => malformed("json", format!("the JSON ends too early ({place})")),
        _ => malformed("json", format!("not JSON: {reason} ({place})")),
    }
}

/// What a JSON text holds, by its first character.
fn kind_of_json(text: &str) -> &'static str {
    match text.trim_start().bytes().next() {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ => "something else",
    }
}

/// Parses the members strictly into one object.
fn parse_value(members: &[Member<'_>], limits: &Limits) -> Result<Value, Violation> {
    let mut object = Map::new();
    for member in members {
        let mut deserializer = serde_json::Deserializer::from_str(member.raw.get());
        let value = StrictValue { depth_left: limits.max_depth.saturating_sub(1) }
            .deserialize(&mut deserializer)
            .map_err(|error| {
                let said = error.to_string();
                let reason = said.split(" at line ").next().unwrap_or(&said);
                Violation::new(pointer(&member.name), "json", reason.to_owned())
            })?;
        object.insert(member.name.clone().into_owned(), value);
    }
    Ok(Value::Object(object))
}

/// A JSON value whose objects name each member once and which nests no deeper than allowed.
#[derive(Clone, Copy)]
struct StrictValue {
    depth_left: usize,
}

impl StrictValue {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left }),
            None => Err(E::custom("objects and arrays are nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let element = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(element)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let member = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(duplicate(&name)));
            }
            let value = map.next_value_seed(member)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// RFC 6901 pointer to a top-level member.
fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Reads the envelope's members into spans, gathering what is wrong.
struct EnvelopeReader<'a> {
    text: &'a str,
    limits: &'a Limits,
    tail: String,
    violations: Vec<Violation>,
}

impl<'a> EnvelopeReader<'a> {
    fn new(text: &'a str, limits: &'a Limits) -> Self {
        Self { text, limits, tail: String::new(), violations: Vec::new() }
    }

    fn read(mut self, members: &[Member<'_>], value: &Value) -> Result<Event, Vec<Violation>> {
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
        // What `data` holds is its schema's business, and comes back digit for digit.
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

    /// A member that must be a string within the limits.
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

    /// Where a string stands: in the text itself, or decoded in the tail if it is spelled with escapes.
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
        // Only strings name entities; what type the member should be is its schema's business.
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

    /// The envelope is read by every consumer in every language: no integer there may need more than 64 bits.
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
