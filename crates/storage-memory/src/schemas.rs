//! Users' schemas.

use async_trait::async_trait;
use domain::ports::{SchemaRecord, SchemaStore, SchemaStoreError};

use crate::MemoryStore;

#[async_trait]
impl SchemaStore for MemoryStore {
    async fn put_schema(&self, record: SchemaRecord) -> Result<(), SchemaStoreError> {
        let key = (record.event_type.clone(), record.event_version.clone());
        self.state_mut().schemas.insert(key, record);
        Ok(())
    }

    async fn list_schemas(&self) -> Result<Vec<SchemaRecord>, SchemaStoreError> {
        // The map's order is the port's: by type, then version, none before any.
        Ok(self.state().schemas.values().cloned().collect())
    }

    async fn remove_schema(
        &self,
        event_type: &str,
        event_version: Option<&str>,
    ) -> Result<bool, SchemaStoreError> {
        let key = (event_type.to_owned(), event_version.map(str::to_owned));
        Ok(self.state_mut().schemas.remove(&key).is_some())
    }
}
