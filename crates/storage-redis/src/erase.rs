//! Erasing.

use domain::{Entity, ports::{Erased, EventStoreError}};

use crate::store::RedisStore;

pub(crate) async fn erase(_store: &RedisStore, _entity: &Entity) -> Result<Erased, EventStoreError> {
    Err(domain::StorageFailure::Other("not yet".to_owned()).into())
}
