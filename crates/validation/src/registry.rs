//! The registry: it maps each event to its schema, built-in or added by a user.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use domain::Violation;
use domain::ports::{Describes, EventValidator, SchemaRecord, SchemaSummary, Verdict};
use serde_json::Value;

use crate::builtin;
use crate::document::{Document, Documents};
use crate::engine::{EngineKind, SchemaEngine};
use crate::entry::{Entry, Origin};
use crate::error::SchemaError;
use crate::result::ValidationResult;
use crate::sentence;

/// The schemas of all types, and the engine that applies them.
///
/// A schema for the event's own version takes precedence over a schema without a version. A user's schema without a
/// version replaces the built-in schema of its type. After it is filled, threads share the registry behind an `Arc`.
#[derive(Debug)]
pub struct SchemaRegistry {
    kind: EngineKind,
    engine: Arc<dyn SchemaEngine>,
    documents: Documents,
    by_type: HashMap<String, Versions>,
}

#[derive(Debug, Default)]
struct Versions {
    /// Schema for every version without its own schema.
    any: Option<Entry>,
    own: BTreeMap<String, Entry>,
}

impl Versions {
    fn serving(&self, event_version: Option<&str>) -> Option<&Entry> {
        event_version.and_then(|version| self.own.get(version)).or(self.any.as_ref())
    }
}

impl SchemaRegistry {
    /// Returns a registry with the built-in schemas. Each schema is parsed and compiled on its first use.
    pub fn new(kind: EngineKind) -> Self {
        let mut registry = Self::empty(kind);
        for (event_type, text) in builtin::SCHEMAS {
            let document = Arc::new(Document::new(text.to_owned()));
            let entry = Entry::new(event_type, None, Origin::BuiltIn, document, "", Describes::Event);
            registry.insert(entry);
        }
        registry
    }

    /// Returns a registry without schemas.
    pub fn empty(kind: EngineKind) -> Self {
        Self { kind, engine: kind.engine(), documents: Documents::default(), by_type: HashMap::new() }
    }

    /// Returns the chosen engine.
    pub fn engine(&self) -> EngineKind {
        self.kind
    }

    /// Checks a user's schema and adds it. If a check fails, nothing changes, and the error states the fault.
    ///
    /// The schema replaces the schema of the same type and version.
    pub fn add(&mut self, record: &SchemaRecord) -> Result<(), SchemaError> {
        let entry = self.entry(record);
        entry.check(self.engine.as_ref())?;
        self.insert(entry);
        Ok(())
    }

    /// Restores a schema that was checked when it was added. This is cheap, because the schema is compiled on its
    /// first use.
    ///
    /// If the schema cannot be used, events of its type are refused with the rule `schema` and the reason.
    pub fn restore(&mut self, record: &SchemaRecord) {
        let entry = self.entry(record);
        self.insert(entry);
    }

    fn entry(&self, record: &SchemaRecord) -> Entry {
        let document = self
            .documents
            .find(&record.document)
            .unwrap_or_else(|| Arc::new(Document::new(record.document.clone())));
        let version = record.event_version.as_deref();
        Entry::new(&record.event_type, version, Origin::Store, document, &record.pointer, record.describes)
    }

    fn insert(&mut self, entry: Entry) {
        if entry.origin == Origin::Store {
            self.documents.keep(&entry.document);
        }
        let versions = self.by_type.entry(entry.event_type.clone()).or_default();
        match entry.event_version.clone() {
            Some(version) => {
                versions.own.insert(version, entry);
            }
            None => versions.any = Some(entry),
        }
    }

    fn serving(&self, event_type: &str, event_version: Option<&str>) -> Option<&Entry> {
        self.by_type.get(event_type)?.serving(event_version)
    }

    /// Validates a whole event. A type without a schema is an error here.
    pub fn validate_event(&self, event: &Value) -> ValidationResult {
        match self.validate(event) {
            Verdict::Valid => Vec::new().into(),
            Verdict::Invalid(errors) => errors.into(),
            Verdict::NoSchema => {
                let event_type = event.get("type").and_then(Value::as_str).unwrap_or_default();
                vec![Violation::no_schema(event_type)].into()
            }
        }
    }
}

impl EventValidator for SchemaRegistry {
    fn validate(&self, event: &Value) -> Verdict {
        let event_type = match type_of(event) {
            Ok(event_type) => event_type,
            Err(violation) => return Verdict::Invalid(vec![violation]),
        };
        let event_version = event.get("version").and_then(Value::as_str);
        let Some(entry) = self.serving(event_type, event_version) else { return Verdict::NoSchema };
        let violations = entry.violations(event, self.engine.as_ref());
        if violations.is_empty() { Verdict::Valid } else { Verdict::Invalid(violations) }
    }

    fn ordering_member(&self, event_type: &str, event_version: &str) -> Option<&str> {
        self.serving(event_type, Some(event_version))?.ordering_key()
    }

    fn schemas(&self) -> Vec<SchemaSummary> {
        let entries =
            self.by_type.values().flat_map(|versions| versions.any.iter().chain(versions.own.values()));
        let mut summaries: Vec<SchemaSummary> = entries.map(Entry::summary).collect();
        summaries.sort_by(|a, b| (&a.event_type, &a.event_version).cmp(&(&b.event_type, &b.event_version)));
        summaries
    }
}

/// Returns the event's type, or the violation if there is no valid type. Without the type, the registry cannot find
/// the schema.
fn type_of(event: &Value) -> Result<&str, Violation> {
    let Some(object) = event.as_object() else {
        return Err(Violation::new("", "type", sentence::wrong_type("an object", event)));
    };
    match object.get("type") {
        Some(Value::String(event_type)) => Ok(event_type),
        Some(Value::Null) => Err(Violation::new("/type", "required", sentence::required_not_null("type"))),
        Some(other) => Err(Violation::new("/type", "type", sentence::wrong_type("a string", other))),
        None => Err(Violation::new("/type", "required", sentence::required("type"))),
    }
}
