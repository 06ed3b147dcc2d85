//! What the adapter finds of a Redis server.

use storage_redis::{RedisStore, Verdict};

use super::check::{Check, Status};
use crate::errors::CliError;

/// Checks the server.
pub(super) async fn checks(store: &RedisStore) -> Result<Vec<Check>, CliError> {
    let found = store.checks().await?.into_iter().map(|check| {
        let status = match check.verdict {
            Verdict::Pass => Status::Pass,
            Verdict::Warn => Status::Warn,
            Verdict::Fail => Status::Fail,
        };
        // Of every kind of store it is asked whether this user may write to it.
        let name = if check.name == "redis-rights" { "writable" } else { check.name };
        Check::new(name, status, check.message)
    });
    Ok(found.collect())
}
