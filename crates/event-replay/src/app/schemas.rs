//! The schemas of a store, beside those that came with the program.

use domain::{
    StoredEvent, Violation,
    ports::{Describes, EventValidator, SchemaRecord, SchemaSummary, Verdict},
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

/// The built-in schemas and the store's. Nothing is compiled before it is needed.
///
/// # Errors
/// When the store fails.
pub async fn registry(store: &StoreHandle, engine: EngineKind) -> Result<SchemaRegistry, AppError> {
    Ok(registry_of(&store.list_schemas().await?, engine))
}

/// The built-in schemas, and these.
pub fn registry_of(records: &[SchemaRecord], engine: EngineKind) -> SchemaRegistry {
    let mut registry = SchemaRegistry::new(engine);
    records.iter().for_each(|record| registry.restore(record));
    registry
}

/// Adds a schema; whether it replaced one of its type and version.
///
/// # Errors
/// When the store fails.
pub async fn put(store: &StoreHandle, by: &Actor, record: SchemaRecord) -> Result<bool, AppError> {
    let action = of_schema("schemas add", &record.event_type, record.event_version.as_deref());
    let outcome = |replaced: &bool| facts([("replaced", (*replaced).into())]);
    audited(store, by, action, replace(store, record), outcome).await
}

/// Removes a schema; whether there was one.
///
/// # Errors
/// When the store fails.
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

/// Whether a type has a built-in schema.
pub fn is_built_in(event_type: &str) -> bool {
    builtin::SCHEMAS.iter().any(|(name, _)| *name == event_type)
}

/// A schema's text, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaSource<'a> {
    /// The type.
    pub event_type: &'a str,
    /// The version that it serves; none: every version that has no schema of its own.
    pub event_version: Option<&'a str>,
    /// `store` or `built-in`.
    pub origin: &'static str,
    /// Where in the text the schema is.
    pub pointer: &'a str,
    /// The part of an event that it describes.
    pub describes: Describes,
    /// The text.
    pub text: &'a str,
}

impl<'a> SchemaSource<'a> {
    /// It as programs read it.
    ///
    /// # Errors
    /// When the text is not JSON.
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
    /// The schema of whole events; none where it describes their data, or is no JSON.
    pub fn event_schema(&self) -> Option<serde_json::Value> {
        let document: serde_json::Value = serde_json::from_str(self.text).ok()?;
        let schema = document.pointer(self.pointer.trim_start_matches('#'));
        schema.filter(|_| self.describes == Describes::Event).cloned()
    }
}

/// The schema that serves exactly this type and version: one of these, else a built-in one.
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
    /// The type.
    pub event_type: String,
    /// The version that it serves; none: every version that has no schema of its own.
    pub event_version: Option<String>,
    /// What the engine says.
    pub error: String,
}

/// The schemas that the engine refuses, the built-in ones and these.
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

/// A schema, and whether it can be used.
#[derive(Debug, Clone, Serialize)]
pub struct SchemaState {
    /// What it says.
    #[serde(flatten)]
    pub summary: SchemaSummary,
    /// Whether it can be used.
    pub valid: bool,
    /// Why not.
    pub error: Option<String>,
}

/// All schemas, the built-in ones and these, and whether they can be used.
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

/// Most events whose violations are kept.
const MAX_EXAMPLES: usize = 20;

/// What a schema would say of the events that are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaTrial {
    /// The type.
    pub event_type: String,
    /// Events that it serves.
    pub checked: u64,
    /// Those that it would let in.
    pub valid: u64,
    /// Those that it would refuse.
    pub invalid: u64,
    /// Some of these.
    pub examples: Vec<RefusedEvent>,
}

/// An event that a schema would refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedEvent {
    /// Its id.
    pub event_id: String,
    /// Its position.
    pub position: String,
    /// What is wrong with it.
    pub violations: Vec<Violation>,
}

impl SchemaTrial {
    /// A trial for a type, before any event.
    pub fn new(event_type: &str) -> Self {
        let event_type = event_type.to_owned();
        Self { event_type, checked: 0, valid: 0, invalid: 0, examples: vec![] }
    }

    /// Looks at a stored event. One of another type is none of its business: a type that itself contains `*` is a pattern to
    /// the store.
    pub fn look(&mut self, registry: &SchemaRegistry, stored: &StoredEvent) {
        if stored.event.event_type() != self.event_type {
            return;
        }
        let Ok(value) = stored.event.value() else { return };
        let violations = match registry.validate(&value) {
            // Another version of the type than the schema serves.
            Verdict::NoSchema => return,
            Verdict::Valid => vec![],
            Verdict::Invalid(violations) => violations,
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
