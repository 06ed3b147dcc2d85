//! Verifying.

use domain::ports::{EventStoreError, VerifyReport, event_store::Progress};

use crate::store::RedisStore;

pub(crate) async fn verify(_store: &RedisStore, _progress: Option<Progress>) -> Result<VerifyReport, EventStoreError> {
    Err(domain::StorageFailure::Other("not yet".to_owned()).into())
}
