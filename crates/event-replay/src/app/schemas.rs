//! The schemas of a store, beside the built-in schemas.

use domain::{
    StoredEvent, Violation,
    ports::{Describes, EventUpcaster, EventValidator, SchemaRecord, SchemaSummary, Verdict},
    upcast::upcast_stored,
};
use jiff::Timestamp;
use serde::Serialize;
use validation::{EngineKind, SchemaRegistry, builtin};

use super::{
    audit::{Action, Actor, audited, facts},
    documents::SchemaDocument,
    error::AppError,
};
use crate::handle::StoreHandle;

/// Returns the built-in schemas together with the schemas of the store. Each schema is compiled at its first use.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn registry(store: &StoreHandle, engine: EngineKind) -> Result<SchemaRegistry, AppError> {
    Ok(registry_of(&store.list_schemas().await?, engine))
}

/// Returns the built-in schemas together with the given schemas.
pub fn registry_of(records: &[SchemaRecord], engine: EngineKind) -> SchemaRegistry {
    let mut registry = SchemaRegistry::new(engine);
    records.iter().for_each(|record| registry.restore(record));
    registry
}

/// Adds a schema. Returns whether it replaced a schema of the same type and version.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn put(store: &StoreHandle, by: &Actor, record: SchemaRecord) -> Result<bool, AppError> {
    let action = of_schema("schemas add", &record.event_type, record.event_version.as_deref());
    let outcome = |replaced: &bool| facts([("replaced", (*replaced).into())]);
    audited(store, by, action, replace(store, record), outcome).await
}

/// Removes a schema. Returns whether the schema existed.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn remove(
    store: &StoreHandle,
    by: &Actor,
    event_type: &str,
    event_version: Option<&str>,
) -> Result<bool, AppError> {
    let action = of_schema("schemas remove", event_type, event_version);
    let removing = async { store.remove_schema(event_type, event_version).await.map_err(AppError::from) };
    audited(store, by, action, removing, |removed| facts([("removed", (*removed).into())])).await
}

fn of_schema(name: &'static str, event_type: &str, event_version: Option<&str>) -> Action {
    Action::new(name).to(event_type).with("version", event_version.map(str::to_owned))
}

async fn replace(store: &StoreHandle, record: SchemaRecord) -> Result<bool, AppError> {
    let same = |known: &SchemaRecord| {
        known.event_type == record.event_type && known.event_version == record.event_version
    };
    let replaced = store.list_schemas().await?.iter().any(same);
    store.put_schema(record).await?;
    Ok(replaced)
}

/// Returns whether an event type has a built-in schema.
pub fn is_built_in(event_type: &str) -> bool {
    builtin::SCHEMAS.iter().any(|(name, _)| *name == event_type)
}

/// The text of a schema and its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaSource<'a> {
    /// The event type.
    pub event_type: &'a str,
    /// The version of the event type. `None`: every version without its own schema.
    pub event_version: Option<&'a str>,
    /// `store` or `built-in`.
    pub origin: &'static str,
    /// The JSON pointer of the schema in the text.
    pub pointer: &'a str,
    /// The part of an event that the schema describes.
    pub describes: Describes,
    /// The text.
    pub text: &'a str,
}

impl<'a> SchemaSource<'a> {
    /// Returns the JSON document of the schema.
    ///
    /// # Errors
    /// Returns the parser's error when the text is not JSON.
    pub fn document(&self) -> Result<SchemaDocument<'a>, serde_json::Error> {
        Ok(SchemaDocument {
            event_type: self.event_type,
            event_version: self.event_version,
            origin: self.origin,
            pointer: self.pointer,
            describes: self.describes,
            document: serde_json::from_str(self.text)?,
        })
    }
}

impl SchemaSource<'_> {
    /// Returns the schema if it describes whole events. Returns `None` if it describes only the data, or if the text is
    /// not JSON.
    pub fn event_schema(&self) -> Option<serde_json::Value> {
        let document: serde_json::Value = serde_json::from_str(self.text).ok()?;
        let schema = document.pointer(self.pointer.trim_start_matches('#'));
        schema.filter(|_| self.describes == Describes::Event).cloned()
    }
}

/// Returns the schema of exactly this type and version: one of the given schemas, else a built-in schema.
pub fn source<'a>(
    records: &'a [SchemaRecord],
    event_type: &'a str,
    event_version: Option<&'a str>,
) -> Option<SchemaSource<'a>> {
    let is_it = |record: &&SchemaRecord| {
        record.event_type == event_type && record.event_version.as_deref() == event_version
    };
    if let Some(record) = records.iter().find(is_it) {
        return Some(SchemaSource {
            event_type,
            event_version,
            origin: "store",
            pointer: &record.pointer,
            describes: record.describes,
            text: &record.document,
        });
    }
    let built_in = builtin::SCHEMAS.iter().find(|(name, _)| *name == event_type && event_version.is_none());
    built_in.map(|(_, text)| SchemaSource {
        event_type,
        event_version,
        origin: "built-in",
        pointer: "",
        describes: Describes::Event,
        text,
    })
}

/// A schema that the engine refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFault {
    /// The event type.
    pub event_type: String,
    /// The version of the event type. `None`: every version without its own schema.
    pub event_version: Option<String>,
    /// The error of the engine.
    pub error: String,
}

/// Returns the schemas that the engine refuses, among the built-in and the given schemas.
pub fn faults(engine: EngineKind, records: &[SchemaRecord]) -> Vec<SchemaFault> {
    let mut checking = SchemaRegistry::empty(engine);
    let built_in = builtin::SCHEMAS.iter().map(|(event_type, text)| SchemaRecord {
        event_type: (*event_type).to_owned(),
        event_version: None,
        document: (*text).to_owned(),
        pointer: String::new(),
        describes: Describes::Event,
        added_at: Timestamp::UNIX_EPOCH,
    });
    built_in
        .chain(records.iter().cloned())
        .filter_map(|record| {
            let error = checking.add(&record).err()?;
            let SchemaRecord { event_type, event_version, .. } = record;
            Some(SchemaFault { event_type, event_version, error: error.to_string() })
        })
        .collect()
}

/// A schema and its validity.
#[derive(Debug, Clone, Serialize)]
pub struct SchemaState {
    /// The summary of the schema.
    #[serde(flatten)]
    pub summary: SchemaSummary,
    /// Whether the engine accepts the schema.
    pub valid: bool,
    /// The error of the engine, if the schema is not valid.
    pub error: Option<String>,
}

/// Returns the validity of all schemas, the built-in and the given schemas.
pub fn states(engine: EngineKind, records: &[SchemaRecord]) -> Vec<SchemaState> {
    let faults = faults(engine, records);
    let of = |summary: &SchemaSummary| {
        let same = |fault: &&SchemaFault| {
            fault.event_type == summary.event_type && fault.event_version == summary.event_version
        };
        faults.iter().find(same).map(|fault| fault.error.clone())
    };
    registry_of(records, engine)
        .schemas()
        .into_iter()
        .map(|summary| {
            let error = of(&summary);
            SchemaState { valid: error.is_none(), error, summary }
        })
        .collect()
}

/// The largest number of refused events with their violations.
const MAX_EXAMPLES: usize = 20;

/// The validation of stored events by a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaTrial {
    /// The event type.
    pub event_type: String,
    /// The number of events to which the schema applies.
    pub checked: u64,
    /// The number of events that the schema accepts.
    pub valid: u64,
    /// The number of events that the schema refuses.
    pub invalid: u64,
    /// The first refused events.
    pub examples: Vec<RefusedEvent>,
}

/// An event that a schema refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedEvent {
    /// The id of the event.
    pub event_id: String,
    /// The position of the event.
    pub position: String,
    /// The violations.
    pub violations: Vec<Violation>,
}

impl SchemaTrial {
    /// Makes an empty trial for an event type.
    pub fn new(event_type: &str) -> Self {
        let event_type = event_type.to_owned();
        Self { event_type, checked: 0, valid: 0, invalid: 0, examples: vec![] }
    }

    /// Validates a stored event in the form in which handlers get it. Events of other types are ignored: an event type
    /// that contains `*` is a pattern for the store. An event that cannot be upcast counts as refused.
    pub fn look(&mut self, registry: &SchemaRegistry, upcaster: &dyn EventUpcaster, stored: &StoredEvent) {
        if stored.event.event_type() != self.event_type {
            return;
        }
        let violations = match upcast_stored(upcaster, stored) {
            Err(error) => vec![Violation::new("", "upcast", error.failure())],
            Ok(stored) => match stored.event.value().map(|value| registry.validate(&value)) {
                // The schema is for another version of the type.
                Ok(Verdict::NoSchema) | Err(_) => return,
                Ok(Verdict::Valid) => vec![],
                Ok(Verdict::Invalid(violations)) => violations,
            },
        };
        self.checked += 1;
        if violations.is_empty() {
            self.valid += 1;
            return;
        }
        self.invalid += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(RefusedEvent {
                event_id: stored.event.id().to_owned(),
                position: stored.position.to_string(),
                violations,
            });
        }
    }
}
