//! The schemas of a service's events: derived from Rust types, stored in the store, and used for validation.

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    StorageFailure,
    ports::{Clock, Describes, EventValidator, SchemaRecord, SchemaSummary, Stores, Verdict},
};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    error::ServiceError,
    typed::{EntityField, TypedEvent},
};

/// Returns the schema record of an event type. The schema describes the whole event, with its entities and its data.
pub fn schema_record<T: TypedEvent>(added_at: Timestamp) -> SchemaRecord {
    SchemaRecord {
        event_type: T::TYPE.to_owned(),
        event_version: Some(T::VERSION.to_owned()),
        document: event_schema(T::data_schema(), T::ENTITIES).to_string(),
        pointer: String::new(),
        describes: Describes::Event,
        added_at,
    }
}

/// Returns the schema of an event from the schema of its value. Fields that are entities move from the data to the
/// event.
fn event_schema(of_value: Option<Value>, entities: &[EntityField]) -> Value {
    let mut data = match of_value {
        Some(Value::Object(schema)) => schema,
        // Without an object schema, the data may have any content.
        _ => Map::new(),
    };
    let mut event = Map::new();
    // `$ref` references resolve from the root of the document, so these members move to the root.
    for of_document in ["$schema", "$defs", "definitions"] {
        if let Some(value) = data.remove(of_document) {
            event.insert(of_document.to_owned(), value);
        }
    }
    for of_event in ["title", "description"] {
        if let Some(value) = data.get(of_event) {
            event.insert(of_event.to_owned(), value.clone());
        }
    }
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for entity in entities {
        let field = remove_property(&mut data, entity.field);
        let value = field.unwrap_or_else(string_schema);
        properties.insert(entity.member(), value);
        if remove_required(&mut data, entity.field) {
            required.push(Value::String(entity.member()));
        }
    }
    required.push("data".into());
    properties.insert("data".to_owned(), Value::Object(data));
    event.insert("type".to_owned(), "object".into());
    event.insert("required".to_owned(), Value::Array(required));
    event.insert("properties".to_owned(), Value::Object(properties));
    if let Some(key) = entities.iter().find(|entity| entity.is_key) {
        event.insert("x-ordering-key".to_owned(), key.member().into());
    }
    Value::Object(event)
}

fn string_schema() -> Value {
    Value::Object(Map::from_iter([("type".to_owned(), "string".into())]))
}

fn remove_property(schema: &mut Map<String, Value>, field: &str) -> Option<Value> {
    schema.get_mut("properties")?.as_object_mut()?.remove(field)
}

/// Removes a field from the required fields. Returns whether the field was required.
fn remove_required(schema: &mut Map<String, Value>, field: &str) -> bool {
    let Some(Value::Array(required)) = schema.get_mut("required") else { return false };
    let before = required.len();
    required.retain(|name| name != field);
    required.len() < before
}

/// The event types that a service owns.
#[derive(Default)]
pub(crate) struct OwnSchemas(BTreeMap<(&'static str, &'static str), Own>);

struct Own {
    record: fn(Timestamp) -> SchemaRecord,
    /// The member that is the ordering key.
    key: Option<String>,
}

impl OwnSchemas {
    pub(crate) fn add<T: TypedEvent>(&mut self) {
        let key = T::ENTITIES.iter().find(|entity| entity.is_key).map(EntityField::member);
        self.0.insert((T::TYPE, T::VERSION), Own { record: schema_record::<T>, key });
    }

    /// Stores the schemas that the store lacks or that differ. Returns a validator with all schemas.
    pub(crate) async fn register(
        self,
        store: &Arc<dyn Stores>,
        clock: &dyn Clock,
    ) -> Result<Arc<dyn EventValidator>, ServiceError> {
        let records: Vec<SchemaRecord> = self.0.values().map(|own| (own.record)(clock.now())).collect();
        let stored = store.list_schemas().await?;
        let schemas = schemas_with(&stored, &records)?;
        put(store, &stored, records).await?;
        let keys = self.0.into_iter().filter_map(|((event_type, version), own)| {
            Some(((event_type.to_owned(), version.to_owned()), own.key?))
        });
        Ok(Arc::new(WithKeys { schemas, keys: keys.collect() }))
    }
}

async fn put(
    store: &Arc<dyn Stores>,
    stored: &[SchemaRecord],
    own: Vec<SchemaRecord>,
) -> Result<(), StorageFailure> {
    for record in own {
        let is_of_type = |known: &&SchemaRecord| {
            (&known.event_type, &known.event_version) == (&record.event_type, &record.event_version)
        };
        let known = stored.iter().find(is_of_type);
        let is_same = |known: &SchemaRecord| {
            (&known.document, &known.pointer, known.describes)
                == (&record.document, &record.pointer, record.describes)
        };
        if known.is_some_and(is_same) {
            continue;
        }
        tracing::info!(
            event_type = %record.event_type, version = record.event_version.as_deref().unwrap_or_default(),
            replaces = known.is_some(), "the schema of an event type was put into the store"
        );
        store.put_schema(record).await?;
    }
    Ok(())
}

/// Returns the validator: the built-in schemas, replaced by schemas of the store, replaced by the service's own
/// schemas.
#[cfg(feature = "validation")]
fn schemas_with(
    stored: &[SchemaRecord],
    own: &[SchemaRecord],
) -> Result<Arc<dyn EventValidator>, ServiceError> {
    let mut schemas = validation::SchemaRegistry::new(validation::EngineKind::JsonSchema);
    stored.iter().for_each(|record| schemas.restore(record));
    for record in own {
        schemas.add(record).map_err(|error| ServiceError::Schema {
            event_type: record.event_type.clone(),
            reason: error.to_string(),
        })?;
    }
    Ok(Arc::new(schemas))
}

/// Without the feature `validation`, only the envelope of an event is checked.
#[cfg(not(feature = "validation"))]
fn schemas_with(_: &[SchemaRecord], _: &[SchemaRecord]) -> Result<Arc<dyn EventValidator>, ServiceError> {
    Ok(Arc::new(bus::NoValidator))
}

/// Schemas, and the ordering keys of the service's own types. The ordering keys apply also without validation.
struct WithKeys {
    schemas: Arc<dyn EventValidator>,
    /// The member that is the ordering key, by type and version.
    keys: BTreeMap<(String, String), String>,
}

impl EventValidator for WithKeys {
    fn validate(&self, event: &Value) -> Verdict {
        self.schemas.validate(event)
    }

    fn ordering_member(&self, event_type: &str, event_version: &str) -> Option<&str> {
        let own = self.keys.get(&(event_type.to_owned(), event_version.to_owned()));
        own.map(String::as_str).or_else(|| self.schemas.ordering_member(event_type, event_version))
    }

    fn schemas(&self) -> Vec<SchemaSummary> {
        self.schemas.schemas()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entities_move_from_the_data_to_the_event_and_references_stay_good() {
        let of_value = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Order",
            "$defs": { "Line": { "type": "object" } },
            "type": "object",
            "required": ["user_id", "lines"],
            "properties": {
                "user_id": { "type": "string", "pattern": "^u" },
                "coupon_id": { "type": ["string", "null"] },
                "lines": { "type": "array", "items": { "$ref": "#/$defs/Line" } }
            }
        });
        let entities = [
            EntityField { field: "user_id", kind: "user", is_key: true },
            EntityField { field: "coupon_id", kind: "coupon", is_key: false },
        ];
        assert_eq!(
            event_schema(Some(of_value), &entities),
            json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": "Order",
                "$defs": { "Line": { "type": "object" } },
                "type": "object",
                "required": ["userId", "data"],
                "properties": {
                    "userId": { "type": "string", "pattern": "^u" },
                    "couponId": { "type": ["string", "null"] },
                    "data": {
                        "title": "Order",
                        "type": "object",
                        "required": ["lines"],
                        "properties": { "lines": { "type": "array", "items": { "$ref": "#/$defs/Line" } } }
                    }
                },
                "x-ordering-key": "userId"
            })
        );
    }

    #[test]
    fn without_a_schema_the_event_needs_its_data_alone() {
        let entities = [EntityField { field: "order", kind: "order", is_key: true }];
        assert_eq!(
            event_schema(None, &entities),
            json!({
                "type": "object", "required": ["data"],
                "properties": { "orderId": { "type": "string" }, "data": {} },
                "x-ordering-key": "orderId"
            })
        );
    }
}
