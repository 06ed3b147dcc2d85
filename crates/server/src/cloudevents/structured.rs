//! CloudEvents as JSON documents.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{CloudEvent, Data, VERSION, bad, names};
use crate::problem::Problem;

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

/// Parses one document. `at` is its index in a batch, from 0.
pub(super) fn read(text: &[u8], at: Option<usize>) -> Result<CloudEvent, Problem> {
    let Pairs(pairs) = serde_json::from_slice(text).map_err(|error| bad(at, error))?;
    of_pairs(&pairs, at)
}

/// Parses a JSON array of documents.
pub(super) fn read_batch(text: &[u8]) -> Result<Vec<CloudEvent>, Problem> {
    let all: Vec<Pairs> = serde_json::from_slice(text).map_err(|error| bad(None, error))?;
    all.into_iter().enumerate().map(|(at, Pairs(pairs))| of_pairs(&pairs, Some(at))).collect()
}

fn of_pairs(pairs: &[(String, Box<RawValue>)], at: Option<usize>) -> Result<CloudEvent, Problem> {
    let mut event = CloudEvent { attributes: Vec::with_capacity(pairs.len()), data: None };
    let mut version = None;
    for (n, (name, value)) in pairs.iter().enumerate() {
        if pairs.iter().take(n).any(|(other, _)| other == name) {
            return Err(bad(at, format!("{name:?} occurs twice")));
        }
        // An attribute that is null counts as missing. Data may be null.
        let is_null = value.get() == "null";
        let data = match name.as_str() {
            "specversion" => {
                version = serde_json::from_str::<String>(value.get()).ok();
                continue;
            }
            "data" => Data::Json(value.clone()),
            "data_base64" if is_null => continue,
            "data_base64" => Data::Base64(base64_of(value).map_err(|error| bad(at, error))?),
            _ if is_null => continue,
            _ => {
                names::check(name).map_err(|error| bad(at, error))?;
                check_value(name, value).map_err(|error| bad(at, error))?;
                event.attributes.push((name.clone(), value.clone()));
                continue;
            }
        };
        if event.data.replace(data).is_some() {
            return Err(bad(at, "it has both data and data_base64"));
        }
    }
    match version.as_deref() {
        Some(VERSION) => Ok(event),
        Some(other) => Err(bad(at, format!("specversion is {other:?}, and {VERSION:?} is understood"))),
        None => Err(bad(at, "it has no specversion")),
    }
}

fn check_value(name: &str, value: &RawValue) -> Result<(), String> {
    match is_value(value) {
        true => Ok(()),
        false => Err(format!("the attribute {name:?} is not a string, an integer of 32 bits, or a boolean")),
    }
}

fn base64_of(value: &RawValue) -> Result<String, String> {
    use base64::Engine as _;
    let text: String =
        serde_json::from_str(value.get()).map_err(|_| "data_base64 is not a string".to_owned())?;
    match base64::engine::general_purpose::STANDARD.decode(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("data_base64 is not base64: {error}")),
    }
}
