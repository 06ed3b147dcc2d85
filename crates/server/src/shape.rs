//! The values that parameters and members may have, for the description of the API.
//!
//! The handlers check the values. A shape says the same in JSON Schema, for programs that send requests.

use serde_json::{Value, json};

/// A pattern for text without NUL.
const NO_NUL: &str = r"^[^\x00]*$";
/// A pattern for a duration with its unit, such as `90s` or `1h30m`.
const DURATION: &str = "^(0|([0-9]{1,9}ms|[0-9]{1,5}[smhdw]){1,4})$";
/// A pattern for milliseconds, or a duration with its unit.
const DELAY: &str = "^([0-9]{1,12}|([0-9]{1,9}ms|[0-9]{1,5}[smhdw]){1,4})$";
/// A pattern for a duration of at most one day, or milliseconds.
const PAUSE: &str = "^([0-9]{1,7}(ms)?|[0-7]?[0-9]{1,4}s|[0-9]{1,3}m|([01]?[0-9]|2[0-4])h|[01]d)$";
/// A pattern for a duration from 100 milliseconds to one day, or milliseconds.
const LIMIT: &str =
    "^([1-9][0-9]{2,6}(ms)?|[1-7][0-9]{0,4}s|[89][0-9]{0,3}s|[1-9][0-9]{0,2}m|([1-9]|1[0-9]|2[0-4])h|1d)$";
/// A pattern for the times that are neither RFC 3339 nor a date.
const RELATIVE: &str =
    "^(now|(today|yesterday)( ([01][0-9]|2[0-3]):[0-5][0-9])?|0|([0-9]{1,9}ms|[0-9]{1,5}[smhdw])( ago)?)$";

/// The values that a parameter or a member may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A text.
    Text,
    /// A name or an id: a text that is not empty, without NUL.
    Name,
    /// The name of a consumer group.
    Group,
    /// An entity, in the form `KIND=ID`.
    Entity,
    /// A CEL expression.
    Condition,
    /// A cursor that the store gave.
    Cursor,
    /// A point in time.
    Time,
    /// A duration with its unit.
    Duration,
    /// Milliseconds in a text, or a duration with its unit.
    Delay,
    /// The same as [`Shape::Delay`], at most one day.
    Pause,
    /// The same as [`Shape::Pause`], at least 100 milliseconds.
    Limit,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text that matches this pattern.
    Like(&'static str),
    /// A whole number from the first number to the second.
    Whole(u64, u64),
    /// A number of events per second.
    Rate,
    /// True or false.
    Flag,
    /// A JSON object.
    Object,
    /// A JSON Schema.
    Schema,
    /// A list of such values.
    List(&'static Shape),
    /// Such a value, or a list of them.
    Several(&'static Shape),
    /// A value of the first shape or of the second.
    Either(&'static Shape, &'static Shape),
}

impl Shape {
    /// Returns the JSON Schema of the values.
    pub(crate) fn schema(self) -> Value {
        match self {
            Self::Text => json!({"type": "string"}),
            Self::Name => json!({"type": "string", "minLength": 1, "pattern": NO_NUL}),
            Self::Group => json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": NO_NUL}),
            Self::Entity => like(r"^[^=\x00]+=[^\x00]+$"),
            Self::Condition => json!({"type": "string", "format": "cel"}),
            Self::Cursor => json!({"type": "string", "format": "cursor"}),
            Self::Time => json!({"anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "format": "date"},
                like(RELATIVE),
            ]}),
            Self::Duration => like(DURATION),
            Self::Delay => like(DELAY),
            Self::Pause => like(PAUSE),
            Self::Limit => like(LIMIT),
            Self::Word(words) => json!({"type": "string", "enum": words}),
            Self::Like(pattern) => like(pattern),
            Self::Whole(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
            Self::Rate => json!({"type": "number", "minimum": 0.001}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Object => json!({"type": "object", "additionalProperties": true}),
            Self::Schema => {
                json!({"anyOf": [{"type": "object", "additionalProperties": true}, {"type": "boolean"}]})
            }
            Self::List(item) => json!({"type": "array", "items": item.schema()}),
            Self::Several(item) => json!({"anyOf": [item.schema(), Self::List(item).schema()]}),
            Self::Either(one, other) => json!({"anyOf": [one.schema(), other.schema()]}),
        }
    }
}

fn like(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

/// A member of a JSON object in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The name of the member.
    pub name: &'static str,
    /// The values of the member.
    pub shape: Shape,
    /// Whether a request without the member is refused.
    pub required: bool,
}

impl Member {
    /// A member that may be left out, or be null.
    pub(crate) const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, required: false }
    }

    /// A member that every request has.
    pub(crate) const fn required(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, required: true }
    }

    /// Returns the JSON Schema of the member.
    fn schema(&self) -> Value {
        let schema = self.shape.schema();
        if self.required { schema } else { or_null(schema) }
    }
}

/// Returns a schema that allows null, too. Null means that the member is left out. Where there are alternatives, the first
/// one allows it: generators of clients do not know an alternative that is null alone.
fn or_null(mut schema: Value) -> Value {
    if let Some(first) = schema.get_mut("anyOf").and_then(|alternatives| alternatives.get_mut(0)) {
        *first = or_null(first.take());
    } else if let Some(Value::String(kind)) = schema.get("type") {
        schema["type"] = json!([kind, "null"]);
        if let Some(Value::Array(values)) = schema.get_mut("enum") {
            values.push(Value::Null);
        }
    }
    schema
}

/// Returns the JSON Schema of an object with exactly these members.
pub(crate) fn object(members: &[Member]) -> Value {
    let properties: serde_json::Map<String, Value> =
        members.iter().map(|member| (member.name.to_owned(), member.schema())).collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    let required: Vec<&str> =
        members.iter().filter(|member| member.required).map(|member| member.name).collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_may_be_left_out_may_be_null() {
        let text = Member::new("a", Shape::Text).schema();
        assert_eq!(text["type"], json!(["string", "null"]));
        let texts = Member::new("a", Shape::Several(&Shape::Text)).schema();
        assert_eq!(texts["anyOf"][0], json!({"type": ["string", "null"]}), "{texts}");
        assert_eq!(texts["anyOf"][1], json!({"type": "array", "items": {"type": "string"}}), "{texts}");
        let word = Member::new("a", Shape::Word(&["b"])).schema();
        assert_eq!(word, json!({"type": ["string", "null"], "enum": ["b", null]}));
        assert_eq!(Member::required("a", Shape::Text).schema(), json!({"type": "string"}));
    }

    #[test]
    fn an_object_lists_its_required_members() {
        let members = [Member::required("name", Shape::Name), Member::new("hold", Shape::Flag)];
        let schema = object(&members);
        assert_eq!(schema["required"], json!(["name"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        assert!(object(&members[1..]).get("required").is_none());
    }
}
