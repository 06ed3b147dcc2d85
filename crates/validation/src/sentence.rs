//! The sentences of violations. Both engines use the same sentences.

use std::fmt::Write as _;
use std::io;

use serde_json::Value;

/// Most characters of an event that a sentence quotes.
const EXCERPT: usize = 80;

/// Returns a value as JSON, cut to [`EXCERPT`] characters. A large value is not written in full first.
pub(crate) fn excerpt(value: &Value) -> String {
    let mut room = Room { bytes: Vec::new(), left: EXCERPT * 4 + 4 };
    // The only possible error is that of `Room`, when no space is left.
    let cut = serde_json::to_writer(&mut room, value).is_err();
    shortened(&String::from_utf8_lossy(&room.bytes), cut)
}

/// Returns a text of the schema or of the event, cut to [`EXCERPT`] characters.
pub(crate) fn short(text: &str) -> String {
    shortened(text, false)
}

fn shortened(text: &str, more_follows: bool) -> String {
    if text.chars().count() <= EXCERPT && !more_follows {
        return text.to_owned();
    }
    text.chars().take(EXCERPT - 1).chain(['…']).collect()
}

struct Room {
    bytes: Vec<u8>,
    left: usize,
}

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.left);
        if taken == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes.extend(bytes.iter().take(taken));
        self.left -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the kind of a value, with its article.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Returns the name of a type in a schema, with its article.
pub(crate) fn kind_named(name: &str) -> String {
    match name {
        "null" => "null".to_owned(),
        "integer" => "a whole number".to_owned(),
        "array" | "object" => format!("an {name}"),
        other => format!("a {other}"),
    }
}

/// Returns the kinds as words: "a string or null".
pub(crate) fn one_of_kinds<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.map(kind_named).collect();
    // The sentence is easiest to read with null at the end.
    names.sort_by_key(|name| name == "null");
    let mut sentence = String::new();
    let count = names.len();
    for (index, name) in names.iter().enumerate() {
        let joint = if index == 0 {
            ""
        } else if index + 1 == count {
            " or "
        } else {
            ", "
        };
        let _ = write!(sentence, "{joint}{name}");
    }
    sentence
}

/// Returns the sentence for a missing member.
pub(crate) fn required(name: &str) -> String {
    format!("\"{}\" is required", short(name))
}

/// Returns the sentence for a member that is null although a value is required.
pub(crate) fn required_not_null(name: &str) -> String {
    format!("\"{}\" is required, and null counts as missing", short(name))
}

/// Returns the sentence for a member that the schema forbids.
pub(crate) fn unexpected(name: &str) -> String {
    format!("\"{}\" is not a member that the schema allows here", short(name))
}

/// Returns the sentence for a value of another type than the allowed ones.
pub(crate) fn wrong_type(wanted: &str, value: &Value) -> String {
    match value {
        Value::Null => format!("must be {wanted}, but is null"),
        other => format!("must be {wanted}, but is {}: {}", kind_of(other), excerpt(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_excerpt_never_exceeds_eighty_characters() {
        assert_eq!(excerpt(&json!("abc")), "\"abc\"");
        for long in [json!("é".repeat(100_000)), json!(vec![1; 100_000]), json!("x".repeat(79))] {
            let text = excerpt(&long);
            assert_eq!(text.chars().count(), EXCERPT, "{text}");
            assert!(text.ends_with('…'));
        }
        assert_eq!(excerpt(&json!("x".repeat(78))).chars().count(), 80);
    }

    #[test]
    fn kinds_read_as_a_sentence() {
        assert_eq!(one_of_kinds(["null", "string"].into_iter()), "a string or null");
        assert_eq!(
            one_of_kinds(["array", "integer", "null"].into_iter()),
            "an array, a whole number or null"
        );
        assert_eq!(wrong_type("a string", &json!(5)), "must be a string, but is a number: 5");
    }
}
