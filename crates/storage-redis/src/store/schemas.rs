//! Schemas, all in partition 0.

use async_trait::async_trait;
use domain::ports::{SchemaRecord, SchemaStore, SchemaStoreError};

use super::RedisStore;

#[async_trait]
impl SchemaStore for RedisStore {
    async fn put_schema(&self, record: SchemaRecord) -> Result<(), SchemaStoreError> {
        self.first().put_schema(record).await
    }

    async fn list_schemas(&self) -> Result<Vec<SchemaRecord>, SchemaStoreError> {
        self.first().list_schemas().await
    }

    async fn remove_schema(
        &self,
        event_type: &str,
        event_version: Option<&str>,
    ) -> Result<bool, SchemaStoreError> {
        self.first().remove_schema(event_type, event_version).await
    }
}
