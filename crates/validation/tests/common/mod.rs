//! Helpers that the tests of this crate share.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeSet;

use domain::ports::{Describes, EventValidator, SchemaRecord, Verdict};
use event_replay_validation::{EngineKind, SchemaError, SchemaRegistry};
use serde_json::{Value, json};

/// Both engines. Every test of verdicts runs on each of them.
pub const ENGINES: [EngineKind; 2] = [EngineKind::JsonSchema, EngineKind::Valico];

/// Returns a record of a schema for whole events of the type `t`.
pub fn record(document: &Value) -> SchemaRecord {
    text_record(&document.to_string())
}

/// Returns such a record with any text.
pub fn text_record(document: &str) -> SchemaRecord {
    SchemaRecord {
        event_type: "t".to_owned(),
        event_version: None,
        document: document.to_owned(),
        pointer: String::new(),
        describes: Describes::Event,
        added_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// Returns such a record for `data` alone.
pub fn data_record(document: &Value) -> SchemaRecord {
    SchemaRecord { describes: Describes::Data, ..record(document) }
}

/// Returns a registry with one schema of `data` for the type `t`.
pub fn registry_of(engine: EngineKind, schema: &Value) -> Result<SchemaRegistry, SchemaError> {
    let mut registry = SchemaRegistry::empty(engine);
    registry.add(&data_record(schema)).map(|()| registry)
}

/// Returns an event of the type `t` with this data.
pub fn event_of(data: Value) -> Value {
    json!({"id": "e-1", "type": "t", "version": "1.0", "timestamp": "2024-01-01T00:00:00Z", "source": "s",
           "metadata": {}, "data": data})
}

/// Returns the violations of an event, as `POINTER RULE`.
pub fn broken(registry: &SchemaRegistry, event: &Value) -> Vec<String> {
    match registry.validate(event) {
        Verdict::Valid => Vec::new(),
        Verdict::Invalid(violations) => {
            assert!(!violations.is_empty(), "an invalid event has at least one violation");
            assert!(violations.is_sorted(), "violations come sorted");
            for violation in &violations {
                assert!(!violation.message.is_empty());
                assert!(violation.message.chars().count() <= 400, "too long: {}", violation.message);
            }
            violations.iter().map(|v| format!("{} {}", v.pointer, v.rule)).collect()
        }
        Verdict::NoSchema => vec!["no schema".to_owned()],
    }
}

/// Returns only the pointers of the violations, as a set.
pub fn pointers(registry: &SchemaRegistry, event: &Value) -> BTreeSet<String> {
    broken(registry, event).iter().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}
