//! Schemas, beside their summaries and trials.

use domain::ports::Describes;
use serde::Serialize;
use serde_json::value::RawValue;

/// A schema, as its author wrote it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaDocument<'a> {
    /// The type.
    pub event_type: &'a str,
    /// The version that it serves; none: every version that has no schema of its own.
    pub event_version: Option<&'a str>,
    /// Where it comes from: `store` or `built-in`.
    pub origin: &'static str,
    /// Where in the document the schema is.
    pub pointer: &'a str,
    /// The part of an event that it describes.
    pub describes: Describes,
    /// The document.
    pub document: &'a RawValue,
}

/// A schema that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaAdded {
    /// The type.
    pub event_type: String,
    /// The version that it serves.
    pub event_version: Option<String>,
    /// Whether it replaced one of its type and version.
    pub replaced: bool,
}

/// A schema that was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaRemoved<'a> {
    /// The type.
    pub event_type: &'a str,
    /// The version that it served.
    pub event_version: Option<&'a str>,
}
