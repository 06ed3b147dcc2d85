//! A checkpoint of the old system.

use domain::event::parse_timestamp;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// A checkpoint of the old system. Its count of events is not read, because the old system always writes 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OldCheckpoint {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The creation time.
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) last_processed_event_id: Option<String>,
    pub(crate) metadata: Map<String, Value>,
}

type Field = Option<Vec<u8>>;

impl OldCheckpoint {
    /// The fields to read, in the order of the parameters of [`OldCheckpoint::new`].
    pub(crate) const FIELDS: [&str; 5] = ["id", "name", "timestamp", "lastProcessedEventId", "metadata"];

    /// Returns a checkpoint from these fields. If there is no `id` field, the id comes from the key.
    pub(crate) fn new(key_id: &[u8], fields: (Field, Field, Field, Field, Field)) -> Self {
        let (id, name, timestamp, last, metadata) = fields;
        let id = text(id).unwrap_or_else(|| String::from_utf8_lossy(key_id).into_owned());
        Self {
            name: text(name).unwrap_or_else(|| id.clone()),
            timestamp: text(timestamp).and_then(|at| parse_timestamp(&at).ok()),
            last_processed_event_id: text(last),
            metadata: text(metadata).map(object).unwrap_or_default(),
            id,
        }
    }
}

/// Returns a field as text. An empty text counts as absent.
fn text(field: Field) -> Option<String> {
    String::from_utf8(field?).ok().filter(|text| !text.is_empty())
}

/// Returns metadata as an object. Any other value becomes the member `metadata`.
fn object(text: String) -> Map<String, Value> {
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => object,
        Ok(Value::Null) => Map::new(),
        Ok(other) => Map::from_iter([("metadata".to_owned(), other)]),
        Err(_) => Map::from_iter([("metadata".to_owned(), Value::String(text))]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_or_strange_is_made_the_best_of() {
        let field = |text: &str| Some(text.as_bytes().to_vec());
        let bare = OldCheckpoint::new(b"key", (None, field(""), field("soon"), field(""), field("null")));
        assert_eq!((bare.id.as_str(), bare.name.as_str()), ("key", "key"));
        assert_eq!((bare.timestamp, bare.last_processed_event_id, bare.metadata.len()), (None, None, 0));
        for (metadata, kept) in [
            (r#"{"a":1}"#, json!({"a": 1})),
            ("[1]", json!({"metadata": [1]})),
            ("undefined", json!({"metadata": "undefined"})),
        ] {
            let checkpoint = OldCheckpoint::new(b"", (None, None, None, None, field(metadata)));
            assert_eq!(Value::Object(checkpoint.metadata), kept);
        }
    }
}
