//! CloudEvents as JSON documents.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    CloudEvent, Parsed, VERSION,
    content::{Data, bytes_of},
    malformed, media_of,
    names::{self, BYTES},
};
use crate::problem::{Code, Problem};

/// The members of an object in their order. A duplicate name stays a duplicate.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Parses the members of an object, in their order.
pub(super) fn pairs_of(text: &str) -> Result<Vec<(String, Box<RawValue>)>, serde_json::Error> {
    serde_json::from_str(text).map(|Pairs(pairs)| pairs)
}

/// Whether an attribute can have the value: a string, a 32-bit integer, or a boolean.
pub(super) fn is_value(value: &RawValue) -> bool {
    let text = value.get();
    text.starts_with('"') || matches!(text, "true" | "false") || text.parse::<i32>().is_ok()
}

/// Parses one document.
pub(super) fn read(text: &[u8]) -> Parsed {
    let value: &RawValue =
        serde_json::from_slice(text).map_err(|error| malformed(None, None, error.to_string()))?;
    of_text(value.get())
}

/// Parses a JSON array of documents. A document that is not valid does not affect the others.
pub(super) fn read_batch(text: &[u8]) -> Result<Vec<Parsed>, Problem> {
    let all: Vec<&RawValue> = serde_json::from_slice(text).map_err(|error| {
        Problem::new(Code::BadRequest, format!("the body is not a JSON array of CloudEvents: {error}"))
    })?;
    Ok(all.into_iter().map(|value| of_text(value.get())).collect())
}

fn of_text(text: &str) -> Parsed {
    let pairs = pairs_of(text).map_err(|error| malformed(None, None, error.to_string()))?;
    of_pairs(&pairs).map_err(|reason| {
        let named = |member: &str| {
            let (_, value) = pairs.iter().find(|(name, _)| name == member)?;
            serde_json::from_str(value.get()).ok()
        };
        malformed(named("id"), named("type"), reason)
    })
}

fn of_pairs(pairs: &[(String, Box<RawValue>)]) -> Result<CloudEvent, String> {
    let mut attributes = Vec::with_capacity(pairs.len());
    let (mut version, mut value, mut bytes) = (None, None, None);
    for (n, (name, member)) in pairs.iter().enumerate() {
        if pairs.iter().take(n).any(|(other, _)| other == name) {
            return Err(format!("{name:?} occurs twice"));
        }
        match name.as_str() {
            "specversion" => version = serde_json::from_str::<String>(member.get()).ok(),
            "data" => value = Some(member),
            // An attribute that is null counts as missing. Data may be null.
            _ if member.get() == "null" => {}
            BYTES => {
                bytes = Some(bytes_of(member).ok_or("data_base64 is not a string of bytes in base64")?);
            }
            _ => {
                names::check(name)?;
                check_value(name, member)?;
                attributes.push((name.clone(), member.clone()));
            }
        }
    }
    match version.as_deref() {
        Some(VERSION) => {}
        Some(other) => return Err(format!("specversion is {other:?}, and {VERSION:?} is understood")),
        None => return Err("it has no specversion".to_owned()),
    }
    let media = media_of(&attributes)?;
    let data = match (value, bytes) {
        (Some(_), Some(_)) => return Err("it has both data and data_base64".to_owned()),
        (Some(value), None) => Data::of_value(value, media.as_deref())?,
        (None, Some(bytes)) => Data::of_bytes(&bytes, media.as_deref())?,
        (None, None) => None,
    };
    Ok(CloudEvent { attributes, data })
}

fn check_value(name: &str, value: &RawValue) -> Result<(), String> {
    match is_value(value) {
        true => Ok(()),
        false => Err(format!("the attribute {name:?} is not a string, an integer of 32 bits, or a boolean")),
    }
}
