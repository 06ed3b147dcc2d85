//! The port of the schemas that users added. The store keeps them with the events.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::StorageFailure;

/// The part of an event that a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Describes {
    /// The whole event.
    Event,
    /// Only the event's `data`.
    Data,
}

/// A schema as its user gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaRecord {
    /// Event type that the schema describes.
    pub event_type: String,
    /// Event version that the schema is for. None: every version without its own schema.
    pub event_version: Option<String>,
    /// JSON text of the whole schema file. `$ref`s resolve against it.
    pub document: String,
    /// JSON Pointer to the schema within the document. Empty for the document itself.
    pub pointer: String,
    /// Whether the schema describes the event or its `data`.
    pub describes: Describes,
    /// Time at which the schema was added.
    pub added_at: Timestamp,
}

/// Keeps users' schemas.
///
/// Laws:
/// - There MUST be at most one record for each type and version. A missing version counts as a separate version.
///   `put` replaces.
/// - `list` MUST return every record as it was put, sorted by type, then version. Records without a version are
///   first.
/// - Removing a record that does not exist MUST return false and change nothing.
#[async_trait]
pub trait SchemaStore: Send + Sync {
    /// Adds a schema, or replaces the schema of the same type and version.
    async fn put_schema(&self, record: SchemaRecord) -> Result<(), StorageFailure>;

    /// Returns all records.
    async fn list_schemas(&self) -> Result<Vec<SchemaRecord>, StorageFailure>;

    /// Removes a record. Returns whether there was one.
    async fn remove_schema(
        &self,
        event_type: &str,
        event_version: Option<&str>,
    ) -> Result<bool, StorageFailure>;
}
