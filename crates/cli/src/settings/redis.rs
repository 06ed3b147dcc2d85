//! How to reach a Redis server, beside its address.

use std::{fmt, path::PathBuf};

use config::{Map, Value};
use storage_redis::{Copies, RedisOptions};

use super::{anchored_path, boolean, optional, raw, required, timeout};
use crate::errors::CliError;

/// What is set of it. Secrets are read when a server is opened, and shown by nothing.
#[derive(Clone, Default)]
pub(crate) struct RedisSettings {
    /// The password, where the address has none.
    password: Option<String>,
    /// A file with nothing but the password.
    password_file: Option<PathBuf>,
    /// Who the sentinels know us as, if they want to.
    pub(crate) sentinel_user: Option<String>,
    /// The password of the sentinels, if they want one.
    pub(crate) sentinel_password: Option<String>,
    /// The authority that signed the server's certificate.
    pub(crate) ca: Option<PathBuf>,
    /// The certificate and the key that the server wants of a client.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    /// Whether a namespace that is made keeps its events compressed.
    pub(crate) compression: bool,
    /// Into how many partitions a namespace that is made is divided.
    pub(crate) partitions: Option<u16>,
    /// The copies that are waited for.
    pub(crate) copies: Option<Copies>,
}

impl RedisSettings {
    pub(super) fn read(tree: &Map<String, Value>) -> Result<Self, CliError> {
        let path = |name: &str| -> Result<Option<PathBuf>, CliError> {
            let raw = raw(tree, name)?;
            Ok(raw.text.map(|path| anchored_path(&path, &raw.origin)))
        };
        let client = match (path("redis.cert")?, path("redis.key")?) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                return Err(CliError::usage("redis.cert and redis.key go together: one of them is not set")
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

    /// The password that is set, if one is: the one that is said before the one in a file.
    pub(crate) fn password(&self) -> Result<Option<String>, CliError> {
        if self.password.is_some() {
            return Ok(self.password.clone());
        }
        let Some(file) = &self.password_file else { return Ok(None) };
        let text = std::fs::read_to_string(file).map_err(|error| {
            CliError::failed(format!("the file with the Redis password, {}: {error}", file.display()))
        })?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// None where the server's own answer is enough.
fn copies(tree: &Map<String, Value>) -> Result<Option<Copies>, CliError> {
    let number = |text: &str| text.parse().map_err(|_| "it is a number of replicas, 0 for none".to_owned());
    let copies = Copies {
        replicas: required(tree, "redis.copies.replicas", number)?,
        synced: required(tree, "redis.copies.synced", boolean)?,
        within: required(tree, "redis.copies.within", timeout)?,
    };
    Ok((copies.replicas > 0 || copies.synced).then_some(copies))
}

/// A number of partitions that a namespace may have.
pub(crate) fn partitions(text: &str) -> Result<u16, String> {
    let partitions = text.parse().ok().filter(|partitions| RedisOptions::may_have(*partitions));
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
