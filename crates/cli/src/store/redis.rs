//! Opening a store on a Redis server.

use domain::StorageFailure;
use storage_redis::{RedisOptions, RedisStore, Tls};

use super::{Access, location::Address, no_store};
use crate::{errors::CliError, settings::Settings};

/// How the settings want the server to be reached.
pub(crate) fn options(settings: &Settings, address: &Address) -> Result<RedisOptions, CliError> {
    let redis = &settings.redis;
    Ok(RedisOptions {
        // What stands in the address is meant for this server, what is set for whichever.
        password: if address.has_password() { None } else { redis.password()? },
        sentinel_user: redis.sentinel_user.clone(),
        sentinel_password: redis.sentinel_password.clone(),
        namespace: settings.store.namespace().to_owned(),
        tls: Tls { ca: redis.ca.clone(), client: redis.client.clone() },
        keeps: settings.event_store.keeps(),
        compression: redis.compression,
        partitions: redis.partitions,
        copies: redis.copies,
        ..RedisOptions::new(address.url())
    })
}

/// Opens the store.
pub(super) async fn open(
    settings: &Settings,
    address: &Address,
    access: Access,
) -> Result<RedisStore, CliError> {
    let options = options(settings, address)?;
    let opened = match access {
        Access::Create => RedisStore::create(options).await,
        Access::Read => RedisStore::open(options).await,
        Access::Write => match RedisStore::open(options).await {
            Ok(store) => store.check_writable().await.map(|()| store),
            Err(failure) => Err(failure),
        },
    };
    opened.map_err(|failure| refused(failure, settings))
}

/// Whether there is such a namespace on the server.
pub(super) async fn exists(settings: &Settings, address: &Address) -> Result<bool, CliError> {
    RedisStore::exists(&options(settings, address)?).await.map_err(|failure| refused(failure, settings))
}

fn refused(failure: StorageFailure, settings: &Settings) -> CliError {
    let store = &settings.store;
    let advice = match &failure {
        StorageFailure::Unavailable(text) if text.starts_with("there is no namespace") => {
            return no_store(store);
        }
        StorageFailure::Unavailable(_) => {
            format!(
                "is the server running? its address is from {}; nothing was read or written",
                store.origin()
            )
        }
        StorageFailure::Denied(_) => {
            "docs/redis.md has the rights that a user needs; a password is set with REDIS_PASSWORD or \
             EVENT_REPLAY_REDIS_PASSWORD_FILE"
                .to_owned()
        }
        StorageFailure::Foreign(_) => "nothing was changed".to_owned(),
        _ => return CliError::from(failure).during(format!("store {store}")),
    };
    CliError::failed(format!("store {store}: {failure}")).hint(advice)
}
