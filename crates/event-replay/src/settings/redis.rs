//! The settings for a Redis server, apart from its address.

use std::{fmt, path::PathBuf};

use config::{Map, Value};

use super::{
    error::SettingsError,
    password,
    values::{anchored_path, boolean, optional, raw, required, timeout},
};
use crate::{
    adapters,
    location::RedisUrl,
    options::{RedisAccess, RedisCopies},
};

/// The settings for a Redis server. Secrets are read when a server is opened, and are never shown.
#[derive(Clone, Default)]
pub struct RedisSettings {
    /// The password, used if the address has none.
    password: Option<String>,
    /// A file that contains only the password.
    password_file: Option<PathBuf>,
    /// The user name for the sentinels, if they need one.
    sentinel_user: Option<String>,
    /// The password of the sentinels, if they need one.
    sentinel_password: Option<String>,
    /// The authority that signed the server's certificate.
    ca: Option<PathBuf>,
    /// The client certificate and its key, if the server requires them.
    client: Option<(PathBuf, PathBuf)>,
    /// Whether a new namespace compresses its events.
    compression: bool,
    /// The number of partitions of a new namespace.
    pub partitions: Option<u16>,
    /// The copies that a publish waits for.
    copies: Option<RedisCopies>,
}

impl RedisSettings {
    pub(super) fn read(tree: &Map<String, Value>) -> Result<Self, SettingsError> {
        let path = |name: &str| -> Result<Option<PathBuf>, SettingsError> {
            let raw = raw(tree, name)?;
            Ok(raw.text.map(|path| anchored_path(path, &raw.origin)))
        };
        let client = match (path("redis.cert")?, path("redis.key")?) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                return Err(SettingsError::invalid(
                    "redis.cert and redis.key go together: one of them is not set",
                )
                .hint("set EVENT_REPLAY_REDIS_CERT and EVENT_REPLAY_REDIS_KEY, or neither"));
            }
        };
        Ok(Self {
            password: raw(tree, "redis.password")?.text,
            password_file: path("redis.password_file")?,
            sentinel_user: raw(tree, "redis.sentinel_user")?.text,
            sentinel_password: raw(tree, "redis.sentinel_password")?.text,
            ca: path("redis.ca")?,
            client,
            compression: required(tree, "redis.compression", boolean)?,
            partitions: optional(tree, "redis.partitions", partitions)?,
            copies: copies(tree)?,
        })
    }

    /// Returns the credentials and options for the server at an address. If the address has no password, this call
    /// reads the password.
    ///
    /// # Errors
    /// Returns [`SettingsError`] when the password file cannot be read.
    pub fn access(&self, url: &RedisUrl) -> Result<RedisAccess, SettingsError> {
        let password = match url.has_password() {
            true => None,
            false => password::read(self.password.clone(), self.password_file.clone())
                .map_err(|(file, error)| SettingsError::PasswordFile { file, error })?,
        };
        Ok(RedisAccess {
            password,
            sentinel_user: self.sentinel_user.clone(),
            sentinel_password: self.sentinel_password.clone(),
            ca: self.ca.clone(),
            client: self.client.clone(),
            compression: self.compression,
            partitions: self.partitions,
            copies: self.copies,
        })
    }
}

/// Returns the copies to wait for. `None` if the answer of the server is enough.
fn copies(tree: &Map<String, Value>) -> Result<Option<RedisCopies>, SettingsError> {
    let number = |text: &str| text.parse().map_err(|_| "it is a number of replicas, 0 for none".to_owned());
    let copies = RedisCopies {
        replicas: required(tree, "redis.copies.replicas", number)?,
        synced: required(tree, "redis.copies.synced", boolean)?,
        within: required(tree, "redis.copies.within", timeout)?,
    };
    Ok((copies.replicas > 0 || copies.synced).then_some(copies))
}

/// Parses a number of partitions.
///
/// # Errors
/// Returns a sentence with the valid numbers when the number is not valid.
pub fn partitions(text: &str) -> Result<u16, String> {
    let partitions = text.parse().ok().filter(|partitions| adapters::redis::may_have_partitions(*partitions));
    partitions.ok_or_else(|| "it is 1, 2, 4, 8, 16, 32 or 64".to_owned())
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("ca", &self.ca)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
