//! Stores on a Redis server, or on several servers that form one store.

use std::sync::Arc;

use domain::StorageFailure;
use storage_redis::{Copies, RedisEngine, RedisOptions, Tls};
use store::Store;

use crate::{
    adapters::Adapter,
    handle::StoreHandle,
    location::RedisUrl,
    options::{Access, OpenOptions, RedisCopies},
    refused::Refused,
};

/// Opens a namespace.
pub(crate) async fn open(
    url: &RedisUrl,
    namespace: &str,
    options: OpenOptions,
    access: Access,
) -> Result<StoreHandle, Refused> {
    let options = of(url, namespace, options);
    let opened = match access {
        Access::Create => RedisEngine::create(options).await,
        Access::Read => RedisEngine::open(options).await,
        Access::Write => match RedisEngine::open(options).await {
            Ok(engine) => engine.check_writable().await.map(|()| engine),
            Err(failure) => Err(failure),
        },
    };
    match opened {
        Ok(engine) => Ok(StoreHandle::new(Arc::new(Store::new(engine.clone())), Adapter::Redis(engine))),
        Err(StorageFailure::Unavailable(text)) if text.starts_with("there is no namespace") => {
            Err(Refused::Missing)
        }
        Err(failure) => Err(Refused::Failed(failure)),
    }
}

/// Returns whether the namespace exists on the server.
pub(crate) async fn exists(url: &RedisUrl, namespace: &str, options: OpenOptions) -> Result<bool, Refused> {
    RedisEngine::exists(&of(url, namespace, options)).await.map_err(Refused::Failed)
}

fn of(url: &RedisUrl, namespace: &str, options: OpenOptions) -> RedisOptions {
    let OpenOptions { keeps, redis: access, .. } = options;
    RedisOptions {
        // A password in the address is for this server. A password from the settings is for any server, so the address
        // takes precedence.
        password: if url.has_password() { None } else { access.password },
        sentinel_user: access.sentinel_user,
        sentinel_password: access.sentinel_password,
        namespace: namespace.to_owned(),
        tls: Tls { ca: access.ca, client: access.client },
        keeps,
        compression: access.compression,
        partitions: access.partitions,
        copies: access.copies.map(|RedisCopies { replicas, synced, within }| Copies {
            replicas,
            synced,
            within,
        }),
        ..RedisOptions::new(url.reveal())
    }
}

/// Returns an error when the client library cannot parse the address.
#[cfg(feature = "app")]
pub(crate) fn check(url: &RedisUrl) -> Result<(), crate::location::BadLocation> {
    storage_redis::check_url(url.reveal()).map_err(crate::location::BadLocation::Address)
}

/// Returns whether a namespace can have this number of partitions.
#[cfg(feature = "app")]
pub(crate) fn may_have_partitions(partitions: u16) -> bool {
    RedisOptions::may_have(partitions)
}

/// Returns the health checks for the servers of an open store.
#[cfg(feature = "app")]
pub(crate) async fn checks(engine: &RedisEngine) -> Result<Vec<crate::check::Check>, StorageFailure> {
    Ok(engine.checks().await?.into_iter().map(check_of).collect())
}

/// Returns the health checks for several servers when the store cannot be opened. Returns no checks if no server
/// answers.
#[cfg(feature = "app")]
pub(crate) async fn server_checks(
    url: &RedisUrl,
    namespace: &str,
    options: OpenOptions,
) -> Vec<crate::check::Check> {
    let options = of(url, namespace, options);
    let found = Box::pin(RedisEngine::server_checks(&options)).await.unwrap_or_default();
    found.into_iter().map(check_of).collect()
}

#[cfg(feature = "app")]
fn check_of(found: storage_redis::Check) -> crate::check::Check {
    use storage_redis::Verdict;

    use crate::check::{Check, Status};

    let status = match found.verdict {
        Verdict::Pass => Status::Pass,
        Verdict::Warn => Status::Warn,
        Verdict::Fail => Status::Fail,
    };
    // Every kind of store reports the right to write under the same name.
    let name = if found.name == "redis-rights" { "writable" } else { found.name };
    Check::new(name, status, found.message)
}
