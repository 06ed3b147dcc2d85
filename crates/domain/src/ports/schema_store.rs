//! The schemas that users added, kept with their events.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::StorageFailure;

/// What a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Describes {
    /// The whole event.
    Event,
    /// The event's `data` alone.
    Data,
}

/// A schema as its user gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaRecord {
    /// The event type it describes.
    pub event_type: String,
    /// The event version it is for; none: every version that has no schema of its own.
    pub event_version: Option<String>,
    /// The JSON text of the whole schema file: `$ref`s resolve against it.
    pub document: String,
    /// JSON Pointer to the schema within the document; empty for the document itself.
    pub pointer: String,
    /// Whether it describes the event or its `data`.
    pub describes: Describes,
    /// When it was added.
    pub added_at: Timestamp,
}

/// Keeps users' schemas.
///
/// Laws:
/// - There MUST be at most one record a type and version (none being a version of its own); `put` replaces.
/// - `list` MUST give every record as it was put, sorted by type, then version, those without a version first.
/// - Removing what is not there MUST answer false and change nothing.
#[async_trait]
pub trait SchemaStore: Send + Sync {
    /// Adds a schema, or replaces the one of the same type and version.
    async fn put_schema(&self, record: SchemaRecord) -> Result<(), StorageFailure>;

    /// All records.
    async fn list_schemas(&self) -> Result<Vec<SchemaRecord>, StorageFailure>;

    /// Removes a record; whether there was one.
    async fn remove_schema(
        &self,
        event_type: &str,
        event_version: Option<&str>,
    ) -> Result<bool, StorageFailure>;
}
