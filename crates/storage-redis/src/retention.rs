//! Trimming.

use domain::ports::{EventStoreError, TrimRequest, Trimmed};

use crate::store::RedisStore;

pub(crate) async fn trim(_store: &RedisStore, _request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
    Err(domain::StorageFailure::Other("not yet".to_owned()).into())
}
