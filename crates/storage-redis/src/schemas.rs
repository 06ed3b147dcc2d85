//! Users' schemas: a hash from type and version to the record.

use async_trait::async_trait;
use domain::{
    StorageFailure,
    ports::{SchemaRecord, SchemaStore, SchemaStoreError},
};
use redis::{FromRedisValue, Value, cmd};

use crate::{
    failure::shape,
    partition::Partition,
    tries::Tries,
    write::{Write, Written},
};

/// The field of a record: a JSON array, so that no two of them are spelled alike.
fn field(event_type: &str, event_version: Option<&str>) -> String {
    serde_json::json!([event_type, event_version]).to_string()
}

impl Partition {
    fn schemas_key(&self) -> String {
        self.keys().named("schemas")
    }

    /// Does one command to the hash; what it answered.
    async fn change_schemas(&self, write: &Write) -> Result<Value, StorageFailure> {
        let mut tries = Tries::new();
        loop {
            match write.run(self.link(), &self.keys().meta()).await? {
                Written::Done(answers) => return answers.into_iter().next().ok_or_else(|| shape("a schema")),
                // Nothing guards it but the server's being the same.
                Written::Refused(_) | Written::Moved => tries.again().await?,
            }
        }
    }
}

#[async_trait]
impl SchemaStore for Partition {
    async fn put_schema(&self, record: SchemaRecord) -> Result<(), SchemaStoreError> {
        let json =
            serde_json::to_string(&record).map_err(|error| StorageFailure::Other(error.to_string()))?;
        let mut write = Write::new();
        let field = field(&record.event_type, record.event_version.as_deref());
        write.fenced().hset(&self.schemas_key(), field, json);
        self.change_schemas(&write).await?;
        Ok(())
    }

    async fn list_schemas(&self) -> Result<Vec<SchemaRecord>, SchemaStoreError> {
        let answer = self.link().read(cmd("HVALS").arg(self.schemas_key())).await?;
        let texts: Vec<String> = FromRedisValue::from_redis_value(answer).map_err(|_| shape("schemas"))?;
        let record = |json: &String| {
            serde_json::from_str(json).map_err(|error| {
                StorageFailure::Corrupt(format!("the record of a schema is damaged: {error}"))
            })
        };
        let mut records: Vec<SchemaRecord> = texts.iter().map(record).collect::<Result<_, _>>()?;
        records.sort_by(|one, other| {
            (&one.event_type, &one.event_version).cmp(&(&other.event_type, &other.event_version))
        });
        Ok(records)
    }

    async fn remove_schema(
        &self,
        event_type: &str,
        event_version: Option<&str>,
    ) -> Result<bool, SchemaStoreError> {
        let mut write = Write::new();
        write.fenced().hdel(&self.schemas_key(), field(event_type, event_version));
        Ok(self.change_schemas(&write).await? == Value::Int(1))
    }
}
