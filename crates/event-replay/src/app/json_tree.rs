//! JSON documents whose numbers keep all their digits.
//!
//! A parser of values turns a number of thirty digits into a float. A state or an answer would then differ from the
//! events that it came from, and two different numbers would be equal.

use std::collections::BTreeMap;

use domain::event::same_content;
use serde::{Serialize, de::Error as _};
use serde_json::value::{RawValue, to_raw_value};

/// The deepest nesting of a document. Events have the same bound.
const MOST_LEVELS: usize = 128;

/// A JSON document. Members are in alphabetical order.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum JsonTree {
    /// An object.
    Object(BTreeMap<String, JsonTree>),
    /// An array.
    Array(Vec<JsonTree>),
    /// A number, a text, a boolean or null, as it is written.
    Scalar(Box<RawValue>),
}

impl JsonTree {
    /// Parses a JSON text.
    ///
    /// # Errors
    /// Returns an error when the text is not JSON, or has more than 128 levels.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        Self::of(serde_json::from_str(text)?, MOST_LEVELS)
    }

    fn of(raw: &RawValue, levels: usize) -> Result<Self, serde_json::Error> {
        let below = || {
            let too_deep = || serde_json::Error::custom(format!("it has more than {MOST_LEVELS} levels"));
            levels.checked_sub(1).ok_or_else(too_deep)
        };
        match raw.get().as_bytes().first() {
            Some(b'{') => {
                let levels = below()?;
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get())?;
                let members = members.into_iter().map(|(name, value)| Ok((name, Self::of(value, levels)?)));
                members.collect::<Result<_, serde_json::Error>>().map(Self::Object)
            }
            Some(b'[') => {
                let levels = below()?;
                let elements: Vec<&RawValue> = serde_json::from_str(raw.get())?;
                elements
                    .into_iter()
                    .map(|value| Self::of(value, levels))
                    .collect::<Result<_, _>>()
                    .map(Self::Array)
            }
            _ => Ok(Self::Scalar(raw.to_owned())),
        }
    }

    /// Returns an object without members.
    pub fn empty() -> Self {
        Self::Object(BTreeMap::new())
    }

    /// Returns a number, a text or a boolean as a document.
    pub fn scalar<T: Serialize + ?Sized>(value: &T) -> Self {
        // Numbers, texts and booleans always have a JSON text.
        Self::Scalar(to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(raw) if raw.get() == "null")
    }

    /// Applies a JSON Merge Patch (RFC 7396): members of the patch replace members of the document, null removes a
    /// member, and an object is merged into an object.
    pub fn merge(&mut self, patch: &Self) {
        let Self::Object(changes) = patch else {
            self.clone_from(patch);
            return;
        };
        if !matches!(self, Self::Object(_)) {
            *self = Self::empty();
        }
        let Self::Object(members) = self else { return };
        for (name, change) in changes {
            match change.is_null() {
                true => drop(members.remove(name)),
                false => members.entry(name.clone()).or_insert_with(Self::empty).merge(change),
            }
        }
    }
}

impl PartialEq for JsonTree {
    /// Compares numbers by their decimal value, and texts without their escapes.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Object(own), Self::Object(other)) => own == other,
            (Self::Array(own), Self::Array(other)) => own == other,
            (Self::Scalar(own), Self::Scalar(other)) => same_content(own.get(), other.get()),
            _ => false,
        }
    }
}

impl Eq for JsonTree {}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn merged(document: &str, patch: &str) -> String {
        let mut document = JsonTree::parse(document).unwrap();
        document.merge(&JsonTree::parse(patch).unwrap());
        serde_json::to_string(&document).unwrap()
    }

    /// The examples of RFC 7396, appendix A.
    const EXAMPLES: [(&str, &str, &str); 15] = [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ];

    #[test]
    fn merges_are_those_of_the_standard_and_of_another_implementation() {
        for (document, patch, expected) in EXAMPLES {
            assert_eq!(merged(document, patch), expected, "{document} {patch}");
            let mut value: Value = serde_json::from_str(document).unwrap();
            json_patch::merge(&mut value, &serde_json::from_str(patch).unwrap());
            assert_eq!(value.to_string(), expected, "{document} {patch}");
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        let patch = r#"{"a":123456789012345678901234567890,"b":[1.50,{"c":1e2}]}"#;
        assert_eq!(merged("{}", patch), patch);
        let [one, other] =
            ["9007199254740993", "9007199254740992"].map(|text| JsonTree::parse(text).unwrap());
        assert!(one != other);
        assert_eq!(JsonTree::parse("[100]").unwrap(), JsonTree::parse(" [ 1e2 ] ").unwrap());
    }

    #[test]
    fn a_text_that_is_not_json_or_too_deep_is_refused() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(JsonTree::parse(&nested(128)).is_ok());
        for text in ["", "{", "{} {}", "ok", &nested(129), &nested(100_000)] {
            assert!(JsonTree::parse(text).is_err(), "{:.10}", text);
        }
    }
}
