//! Users' schemas.

#![allow(unused_variables, reason = "to be written")]

use std::{collections::*, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{*, dead_letter::*, group::*, ports::*, ports::schema_store::*};
use jiff::Timestamp;

use crate::store::RedisStore;

#[async_trait]
impl SchemaStore for RedisStore {
    async fn put_schema(&self, record: SchemaRecord) -> Result<(), SchemaStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn list_schemas(&self) -> Result<Vec<SchemaRecord>, SchemaStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn remove_schema(
        &self,
        event_type: &str,
        event_version: Option<&str>,
    ) -> Result<bool, SchemaStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

}
