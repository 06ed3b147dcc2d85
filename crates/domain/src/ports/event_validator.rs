//! The port of validation: it checks an event against the schema of its type.

use serde::Serialize;
use serde_json::Value;

use crate::violation::Violation;

/// Result of a validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The event matches its schema.
    Valid,
    /// The event breaks these rules. The list has every violation, sorted by pointer.
    Invalid(Vec<Violation>),
    /// No schema describes the event type.
    NoSchema,
}

/// A schema that a validator knows, for lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaSummary {
    /// Event type that the schema describes.
    pub event_type: String,
    /// Event version that the schema is for. None: every version without its own schema.
    pub event_version: Option<String>,
    /// Origin of the schema: part of the program (`built-in`), or added by a user (`store`).
    pub origin: &'static str,
    /// Description that the schema gives of itself, if it has one.
    pub description: Option<String>,
    /// Members that the schema requires, as JSON Pointers (`/userId`, `/data/email`), one level of `data` deep.
    pub required: Vec<String>,
    /// Members that the schema describes and does not require, in the same form.
    pub optional: Vec<String>,
    /// Member that names the ordering key, if the schema has `x-ordering-key`.
    pub ordering_key: Option<String>,
}

/// Checks events against the schemas of their types.
///
/// Laws:
/// - `validate` MUST report every violation, not only the first, each with a pointer into the event.
/// - A null member MUST count as missing: valid if it is optional, refused if it is required.
/// - Members that the schema does not name MUST be allowed, unless the schema forbids them.
/// - An event of a type without schema MUST be [`Verdict::NoSchema`]. The publisher's settings decide whether that is
///   an error.
/// - The verdict MUST NOT depend on anything but the event and the registered schemas.
pub trait EventValidator: Send + Sync {
    /// Validates a whole parsed event.
    fn validate(&self, event: &Value) -> Verdict;

    /// Returns the member that names the ordering key of events of this type and version, if their schema names one.
    fn ordering_member(&self, event_type: &str, event_version: &str) -> Option<&str>;

    /// Returns all schemas, sorted by type, then version.
    fn schemas(&self) -> Vec<SchemaSummary>;
}
