//! The draft of JSON Schema in which a schema is written.

use serde_json::Value;

use crate::error::SchemaError;

/// A published draft of JSON Schema, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Draft {
    /// Draft 4.
    Draft4,
    /// Draft 6.
    Draft6,
    /// Draft 7. It is the draft of a schema without `$schema`.
    Draft7,
    /// Draft 2019-09.
    Draft201909,
    /// Draft 2020-12.
    Draft202012,
}

impl Draft {
    /// Returns the draft that `$schema` names, on the schema itself or otherwise on its whole document. Returns
    /// `None` if neither has `$schema`.
    pub(crate) fn declared(schema: &Value, document: &Value) -> Result<Option<Self>, SchemaError> {
        let uri = [schema, document].into_iter().find_map(|value| value.get("$schema"));
        match uri {
            None => Ok(None),
            Some(Value::String(uri)) => Self::of_uri(uri).map(Some),
            Some(other) => Err(SchemaError::UnknownDraft { uri: other.to_string() }),
        }
    }

    fn of_uri(uri: &str) -> Result<Self, SchemaError> {
        let bare = uri.trim_end_matches('#').trim_end_matches('/');
        let bare = bare.strip_prefix("https://").or_else(|| bare.strip_prefix("http://")).unwrap_or(bare);
        match bare {
            "json-schema.org/draft-04/schema" => Ok(Self::Draft4),
            "json-schema.org/draft-06/schema" => Ok(Self::Draft6),
            "json-schema.org/draft-07/schema" => Ok(Self::Draft7),
            "json-schema.org/draft/2019-09/schema" => Ok(Self::Draft201909),
            "json-schema.org/draft/2020-12/schema" => Ok(Self::Draft202012),
            _ => Err(SchemaError::UnknownDraft { uri: uri.to_owned() }),
        }
    }

    /// Returns the keyword that states a schema's own URI.
    pub(crate) fn id_keyword(self) -> &'static str {
        if self == Self::Draft4 { "id" } else { "$id" }
    }

    /// Returns the member that holds the definitions.
    pub(crate) fn definitions_keyword(self) -> &'static str {
        if self >= Self::Draft201909 { "$defs" } else { "definitions" }
    }

    /// Returns whether the draft ignores all keywords beside a `$ref`. Drafts up to draft 7 do.
    pub(crate) fn ref_hides_siblings(self) -> bool {
        self <= Self::Draft7
    }
}

impl std::fmt::Display for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Draft4 => "draft 4",
            Self::Draft6 => "draft 6",
            Self::Draft7 => "draft 7",
            Self::Draft201909 => "draft 2019-09",
            Self::Draft202012 => "draft 2020-12",
        })
    }
}
