//! Whether an event is what its type's schema says.

use serde::Serialize;
use serde_json::Value;

use crate::violation::Violation;

/// What a validator says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is as its schema says.
    Valid,
    /// It breaks these rules: all of them, sorted by pointer, not the first alone.
    Invalid(Vec<Violation>),
    /// No schema describes its type.
    NoSchema,
}

/// A schema that a validator knows, for lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaSummary {
    /// The event type it describes.
    pub event_type: String,
    /// The event version it is for; none: every version that has no schema of its own.
    pub event_version: Option<String>,
    /// Whether it came with the program (`built-in`) or was added by a user (`store`).
    pub origin: &'static str,
    /// The schema's own sentence about itself, if it has one.
    pub description: Option<String>,
    /// Members that the schema requires, as JSON Pointers (`/userId`, `/data/email`), one level of `data` deep.
    pub required: Vec<String>,
    /// Members that the schema knows and does not require, likewise.
    pub optional: Vec<String>,
    /// The member that names the ordering key, if the schema says (`x-ordering-key`).
    pub ordering_key: Option<String>,
}

/// Checks events against the schemas of their types.
///
/// Laws:
/// - `validate` MUST report every violation, not the first alone, each with a pointer into the event.
/// - A null member MUST count as missing: fine where it is optional, refused where it is required.
/// - Members that the schema does not name MUST be allowed, unless the schema forbids them.
/// - An event of a type without schema MUST be [`Verdict::NoSchema`]: whether that is an error is the publisher's setting.
/// - The verdict MUST NOT depend on anything but the event and the registered schemas.
pub trait EventValidator: Send + Sync {
    /// Validates a whole event, parsed.
    fn validate(&self, event: &Value) -> Verdict;

    /// The member that names the ordering key of events of this type and version, where their schema says so.
    fn ordering_member(&self, event_type: &str, event_version: &str) -> Option<&str>;

    /// All schemas, sorted by type, then version.
    fn schemas(&self) -> Vec<SchemaSummary>;
}
