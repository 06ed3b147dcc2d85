//! Dead letters.

#![allow(unused_variables, reason = "to be written")]

use std::{collections::*, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{*, dead_letter::*, group::*, ports::*, ports::dead_letter_store::*};
use jiff::Timestamp;

use crate::store::RedisStore;

#[async_trait]
impl DeadLetterStore for RedisStore {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, DeadLetterStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn dead_letters_by_id(&self, ids: &[String]) -> Result<Vec<DeadLetter>, DeadLetterStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn redrive(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, DeadLetterStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn discard(
        &self,
        ids: &[String],
        reason: &str,
    ) -> Result<Vec<DeadLetterChange>, DeadLetterStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn count_dead_letters(&self) -> Result<Vec<DeadLetterCount>, DeadLetterStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn purge_dead_letters(&self, closed_before: Timestamp) -> Result<u64, DeadLetterStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

}
