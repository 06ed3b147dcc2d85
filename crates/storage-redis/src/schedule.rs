//! The schedule.

#![allow(unused_variables, reason = "to be written")]

use std::{collections::*, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{*, dead_letter::*, group::*, ports::*, ports::schedule_store::*};
use jiff::Timestamp;

use crate::store::RedisStore;

#[async_trait]
impl ScheduleStore for RedisStore {
    async fn schedule(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, ScheduleStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn scheduled(&self, limit: usize) -> Result<Vec<ScheduledEvent>, ScheduleStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn cancel_scheduled(&self, event_id: &str) -> Result<bool, ScheduleStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn append_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, ScheduleStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, ScheduleStoreError> {
        Err(domain::StorageFailure::Other("not yet".to_owned()).into())
    }

}
