//! A checkpoint as the old system keeps it.

use domain::event::parse_timestamp;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// A checkpoint as the old system keeps it. Its count of events is not read: the old system always writes 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OldCheckpoint {
    pub(crate) id: String,
    pub(crate) name: String,
    /// When it was made.
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) last_processed_event_id: Option<String>,
    pub(crate) metadata: Map<String, Value>,
}

type Field = Option<Vec<u8>>;

impl OldCheckpoint {
    /// The fields that are read, in the order that [`OldCheckpoint::new`] wants.
    pub(crate) const FIELDS: [&str; 5] = ["id", "name", "timestamp", "lastProcessedEventId", "metadata"];

    /// A checkpoint of these fields; what its key says is its id where none of them does.
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

/// What is said; an empty text says nothing.
fn text(field: Field) -> Option<String> {
    String::from_utf8(field?).ok().filter(|text| !text.is_empty())
}

/// Metadata as an object: what is none is kept as the member `metadata`.
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
