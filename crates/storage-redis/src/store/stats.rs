//! Counters, all in partition 0.

use async_trait::async_trait;
use domain::ports::{StatSample, StatsStore, StatsStoreError};

use super::RedisStore;

#[async_trait]
impl StatsStore for RedisStore {
    async fn add_stats(&self, samples: &[StatSample]) -> Result<(), StatsStoreError> {
        self.first().add_stats(samples).await
    }

    async fn stats(&self, since_minute: Option<i64>) -> Result<Vec<StatSample>, StatsStoreError> {
        self.first().stats(since_minute).await
    }

    async fn fold_stats(&self, before_minute: i64) -> Result<(), StatsStoreError> {
        self.first().fold_stats(before_minute).await
    }
}
