//! A strict JSON reader: it refuses repeated members and nesting beyond the limit. It also records the places of the
//! top-level members.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};

use super::Limits;
use crate::violation::Violation;

/// Returns a violation of the event as a whole.
pub(super) fn malformed(rule: &'static str, message: impl Into<String>) -> Violation {
    Violation::new("", rule, message)
}

/// A member of the event, as it stands in the text.
pub(super) struct Member<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) raw: &'a RawValue,
}

/// Returns the top-level members, unparsed, so that their places in the text are known.
pub(super) fn parse_members(text: &str) -> Result<Vec<Member<'_>>, Violation> {
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

    /// A member name. It borrows from the text if it has no escapes.
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

/// Returns the violation for a JSON error. It names the line only if the text has more than one line.
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

/// Returns the kind of a JSON text, by its first character.
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
pub(super) fn parse_value(members: &[Member<'_>], limits: &Limits) -> Result<Value, Violation> {
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

/// A JSON value whose objects name each member once, and whose nesting is within the limit.
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

/// Returns the RFC 6901 pointer to a top-level member.
pub(super) fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}
