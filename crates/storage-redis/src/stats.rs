//! Counters.

#![allow(unused_variables, reason = "to be written")]

use std::{collections::*, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{*, dead_letter::*, group::*, ports::*, ports::stats_store::*};
use jiff::Timestamp;

use crate::store::RedisStore;

#[async_trait]
impl StatsStore for RedisStore {
    async fn add_stats(&self, samples: &[StatSample]) -> Result<(), StatsStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn stats(&self, since_minute: Option<i64>) -> Result<Vec<StatSample>, StatsStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn fold_stats(&self, before_minute: i64) -> Result<(), StatsStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

}
