//! Counting.

use std::sync::Arc;

use domain::{Cursor, Filter, ports::EventStoreError};

use crate::store::RedisStore;

pub(crate) async fn count(_store: &RedisStore, _filter: &Arc<Filter>, _until: Option<&Cursor>) -> Result<u64, EventStoreError> {
    Err(domain::StorageFailure::Other("not yet".to_owned()).into())
}
