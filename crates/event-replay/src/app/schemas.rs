//! The schemas of a store, beside those that came with the program.

use domain::{
    StoredEvent, Violation,
    ports::{Describes, EventValidator, SchemaRecord, SchemaSummary, Verdict},
};
use jiff::Timestamp;
use serde::Serialize;
use validation::{EngineKind, SchemaRegistry, builtin};

use super::error::AppError;
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
pub async fn put(store: &StoreHandle, record: SchemaRecord) -> Result<bool, AppError> {
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
