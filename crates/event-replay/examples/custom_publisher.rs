//! A publisher of a type of its own: the schema goes into the registry, and what breaks it is rejected before it is stored.

use std::sync::Arc;

use event_replay::{
    PublishError, Published, Timestamp,
    domain::ports::{Describes, SchemaRecord},
    prelude::*,
    validation::{EngineKind, SchemaRegistry},
};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// What the data of `custom.event` must look like.
const SCHEMA: &str = r#"{
    "type": "object",
    "required": ["shelf", "count"],
    "properties": { "shelf": { "type": "string" }, "count": { "type": "integer", "minimum": 0 } }
}"#;

/// The built-in schemas, and that of `custom.event`.
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

/// Publishes what the warehouse counts.
struct CustomEventPublisher {
    bus: Bus,
}

impl CustomEventPublisher {
    async fn publish_custom_event(&self, data: &Value) -> Result<Published, PublishError> {
        // The id and the bytes are fixed before the first attempt: should the answer be lost, the same is sent again,
        // and is recognised.
        let event = json!({
            "id": uuid::Uuid::now_v7().to_string(),
            "type": "custom.event",
            "version": "1.0",
            "timestamp": Timestamp::now().to_string(),
            "source": "custom-service",
            "metadata": { "serviceName": "custom-service" },
            "data": data,
        });
        // Publishing validates: there is no way around it, and none to forget it.
        self.bus.publish(event.to_string().as_bytes()).await
    }
}

/// Publishes one event that is as it must be, and one that is not.
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
