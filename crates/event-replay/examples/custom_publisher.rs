//! A publisher with its own event type. It adds the schema to the registry. An event that violates the schema is
//! refused before it is stored.

use std::sync::Arc;

use event_replay::{
    PublishError, Published, Timestamp,
    domain::ports::{Describes, SchemaRecord},
    prelude::*,
    validation::{EngineKind, SchemaRegistry},
};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The schema of the data of `custom.event`.
const SCHEMA: &str = r#"{
    "type": "object",
    "required": ["shelf", "count"],
    "properties": { "shelf": { "type": "string" }, "count": { "type": "integer", "minimum": 0 } }
}"#;

/// Returns the built-in schemas and the schema of `custom.event`.
fn schemas() -> Result<Arc<SchemaRegistry>, Box<dyn std::error::Error + Send + Sync>> {
    let mut schemas = SchemaRegistry::new(EngineKind::JsonSchema);
    schemas.add(&SchemaRecord {
        event_type: "custom.event".to_owned(),
        event_version: None,
        document: SCHEMA.to_owned(),
        pointer: String::new(),
        describes: Describes::Data,
        added_at: Timestamp::now(),
    })?;
    Ok(Arc::new(schemas))
}

/// Publishes the counts of a warehouse.
struct CustomEventPublisher {
    bus: Bus,
}

impl CustomEventPublisher {
    async fn publish_custom_event(&self, data: &Value) -> Result<Published, PublishError> {
        // The id and the bytes are fixed before the first attempt. If the answer is lost, a second attempt sends the
        // same event, and the store recognises it.
        let event = json!({
            "id": uuid::Uuid::now_v7().to_string(),
            "type": "custom.event",
            "version": "1.0",
            "timestamp": Timestamp::now().to_string(),
            "source": "custom-service",
            "metadata": { "serviceName": "custom-service" },
            "data": data,
        });
        // Publishing always validates the event.
        self.bus.publish(event.to_string().as_bytes()).await
    }
}

/// Publishes one valid event and one that is not valid.
pub async fn run() -> Outcome {
    let bus = Bus::builder(open("memory:").await?).validator(schemas()?).build().await?;
    let publisher = CustomEventPublisher { bus: bus.clone() };

    let stored = publisher.publish_custom_event(&json!({ "shelf": "A4", "count": 12 })).await?;
    assert!(matches!(stored, Published::Stored(_)));

    let refused = publisher.publish_custom_event(&json!({ "shelf": "A5", "count": -1 })).await;
    let Err(PublishError::Rejected(rejection)) = refused else {
        return Err("an event that breaks its schema was not rejected".into());
    };
    let broken: Vec<_> = rejection.violations.iter().map(|v| (&*v.pointer, &*v.rule)).collect();
    assert_eq!(broken, [("/data/count", "minimum")]);
    assert_eq!(bus.store().info().await?.events, 1, "what is rejected is not stored");
    bus.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome {
    run().await
}
