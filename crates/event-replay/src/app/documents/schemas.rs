//! Documents of schemas, beside their summaries and trials.

use domain::ports::Describes;
use serde::Serialize;
use serde_json::value::RawValue;

/// A schema as its author wrote it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaDocument<'a> {
    /// The event type.
    pub event_type: &'a str,
    /// The version of the event type. `None`: every version without its own schema.
    pub event_version: Option<&'a str>,
    /// The origin: `store` or `built-in`.
    pub origin: &'static str,
    /// The JSON pointer of the schema in the document.
    pub pointer: &'a str,
    /// The part of an event that the schema describes.
    pub describes: Describes,
    /// The document.
    pub document: &'a RawValue,
}

/// An added schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaAdded {
    /// The event type.
    pub event_type: String,
    /// The version of the event type.
    pub event_version: Option<String>,
    /// Whether it replaced a schema of the same type and version.
    pub replaced: bool,
}

/// A removed schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaRemoved<'a> {
    /// The event type.
    pub event_type: &'a str,
    /// The version of the event type.
    pub event_version: Option<&'a str>,
}
