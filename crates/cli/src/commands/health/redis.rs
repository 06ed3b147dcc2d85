//! What the adapter finds of a Redis server.

use storage_redis::{RedisStore, Verdict};

use super::check::{Check, Status};
use crate::{
    errors::CliError,
    settings::Settings,
    store::{self, Place},
};

/// Checks the server.
pub(super) async fn checks(store: &RedisStore) -> Result<Vec<Check>, CliError> {
    Ok(store.checks().await?.into_iter().map(check).collect())
}

/// Checks what can be reached of several servers, where the store cannot be opened. Nothing more is said where none can be.
pub(super) async fn of_servers(settings: &Settings) -> Vec<Check> {
    let Place::Redis(address) = settings.store.place() else { return Vec::new() };
    let Ok(options) = store::redis::options(settings, address) else { return Vec::new() };
    let found = Box::pin(RedisStore::server_checks(&options)).await.unwrap_or_default();
    found.into_iter().map(check).collect()
}

fn check(found: storage_redis::Check) -> Check {
    let status = match found.verdict {
        Verdict::Pass => Status::Pass,
        Verdict::Warn => Status::Warn,
        Verdict::Fail => Status::Fail,
    };
    // Of every kind of store it is asked whether this user may write to it.
    let name = if found.name == "redis-rights" { "writable" } else { found.name };
    Check::new(name, status, found.message)
}
