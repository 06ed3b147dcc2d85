//! The properties that a server reports, and their effect on a store.

use std::collections::HashMap;

use domain::StorageFailure;
use redis::{FromRedisValue, Value, cmd};

use super::{BUCKET, Check, Verdict, wide_encoding};
use crate::client::{link::Link, reply::text};

/// The oldest version that has all functions that the adapter needs.
const OLDEST: (u32, u32) = (7, 0);
/// The share of used memory from which a warning is given, in percent.
const MEMORY_WARNING: u64 = 85;
/// The settings that are read from the configuration.
const SETTINGS: [&str; 6] = [
    "appendfsync",
    "cluster-require-full-coverage",
    "hash-max-listpack-entries",
    "hash-max-listpack-value",
    "min-replicas-max-lag",
    "min-replicas-to-write",
];

/// The properties that a server reports. They are empty if this user may not ask for them.
#[derive(Debug, Default)]
pub(super) struct Facts {
    info: HashMap<String, String>,
    config: HashMap<String, String>,
    may_ask: bool,
    may_configure: bool,
}

impl Facts {
    pub(super) async fn of(link: &Link) -> Result<Self, StorageFailure> {
        let (info, mut config) = (cmd("INFO"), cmd("CONFIG"));
        // Only these settings are read, since others hold passwords.
        config.arg("GET").arg(&SETTINGS[..]);
        let (info, config) = tokio::join!(link.read(&info), link.read(&config));
        let (info, config) = (unless_refused(info)?, unless_refused(config)?);
        let lines = info.as_ref().and_then(text).unwrap_or_default().lines();
        let pairs = lines.filter_map(|line| line.split_once(':'));
        Ok(Self {
            may_ask: info.is_some(),
            may_configure: config.is_some(),
            config: config
                .and_then(|config| FromRedisValue::from_redis_value(config).ok())
                .unwrap_or_default(),
            info: pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect(),
        })
    }

    pub(super) fn info(&self, name: &str) -> &str {
        self.info.get(name).map(String::as_str).unwrap_or_default()
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.info(name).parse().unwrap_or(0)
    }

    /// Returns the checks of the server: as the only server of a store, or as one of several that replace each other.
    pub(super) fn checks(&self, is_of_several: bool) -> Vec<Check> {
        if !self.may_ask {
            let message = "this user may not run INFO, so the server could not be looked at";
            return vec![Check::new("redis-server", Verdict::Warn, message)];
        }
        let mut checks = vec![self.version(), self.role(), self.eviction()];
        checks.extend(self.memory());
        checks.push(self.persistence());
        checks.extend(self.replication(is_of_several));
        checks.push(self.encoding());
        checks
    }

    /// Returns a setting of the server. None if this user may not ask, or the server does not know the setting.
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        self.config.get(name).map(String::as_str)
    }

    /// Returns the name and version of the server, and the version of Redis that it is compatible with.
    pub(super) fn version_of(&self) -> (String, (u32, u32)) {
        let redis = self.info("redis_version");
        let name = match self.info("valkey_version") {
            "" => format!("Redis {redis}"),
            valkey => format!("Valkey {valkey}"),
        };
        let mut numbers = redis.split('.').map(|number| number.parse().unwrap_or(0));
        (name, (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
    }

    fn version(&self) -> Check {
        let (name, is) = self.version_of();
        match is >= OLDEST {
            true => Check::new("redis-server", Verdict::Pass, name),
            false => {
                let message = format!(
                    "the server is {name}, and Functions came with Redis 7.0: use 7.0 or newer, or Valkey"
                );
                Check::new("redis-server", Verdict::Fail, message)
            }
        }
    }

    fn role(&self) -> Check {
        match self.info("role") {
            "slave" => Check::new(
                "redis-role",
                Verdict::Fail,
                format!(
                    "the server is a replica, which takes no writes: name the master, {}:{}",
                    self.info("master_host"),
                    self.info("master_port")
                ),
            ),
            _ => {
                let replicas = self.number("connected_slaves");
                Check::new("redis-role", Verdict::Pass, format!("a master with {replicas} replicas"))
            }
        }
    }

    fn eviction(&self) -> Check {
        match self.info("maxmemory_policy") {
            "noeviction" => Check::new("redis-eviction", Verdict::Pass, "noeviction: what is stored stays"),
            policy => Check::new(
                "redis-eviction",
                Verdict::Fail,
                format!(
                    "the server's maxmemory-policy is {policy}, so it drops stored events without a word once its memory \
                     is used up: run `CONFIG SET maxmemory-policy noeviction`, and say so in its configuration"
                ),
            ),
        }
    }

    fn memory(&self) -> Option<Check> {
        let (used, most) = (self.number("used_memory"), self.number("maxmemory"));
        let share = used.saturating_mul(100).checked_div(most)?;
        let said = format!("{} of {} MiB are used, {share} %", used >> 20, most >> 20);
        Some(match share < MEMORY_WARNING {
            true => Check::new("redis-memory", Verdict::Pass, said),
            false => {
                let message = format!("{said}: raise maxmemory, or let retention drop old events");
                Check::new("redis-memory", Verdict::Warn, message)
            }
        })
    }

    fn persistence(&self) -> Check {
        let says = |verdict, message: &str| Check::new("redis-persistence", verdict, message);
        if self.info("aof_enabled") != "1" {
            return says(
                Verdict::Warn,
                "there is no append-only file: what was stored since the last snapshot is gone when the server ends. \
                 `CONFIG SET appendonly yes`, and say so in its configuration",
            );
        }
        if self.info("aof_last_write_status") == "err" {
            return says(
                Verdict::Fail,
                "the append-only file cannot be written: look at the server's disk and log",
            );
        }
        match self.setting("appendfsync") {
            Some("always") => {
                says(Verdict::Pass, "append-only file, synced before each answer: a crash loses nothing")
            }
            Some("everysec") => says(
                Verdict::Pass,
                "append-only file, synced about once a second: a killed server loses next to nothing, a machine that \
                 crashes the newest writes, of seconds where the disk is slow",
            ),
            Some("no") => says(
                Verdict::Warn,
                "append-only file, synced when the operating system likes: a machine that crashes may lose half a \
                 minute. `CONFIG SET appendfsync everysec`",
            ),
            _ => says(
                Verdict::Warn,
                "append-only file; this user may not run CONFIG GET, so how often it is synced could not be looked at",
            ),
        }
    }

    /// Checks the configured limits of the compact encoding, before any bucket exceeds them.
    fn encoding(&self) -> Check {
        let at_least = |name: &str, least: u64| {
            let set: Option<u64> = self.setting(name).and_then(|value| value.parse().ok());
            set.is_none_or(|set| set >= least)
        };
        let small = [("hash-max-listpack-entries", BUCKET.0), ("hash-max-listpack-value", BUCKET.1)]
            .into_iter()
            .find(|(name, least)| !at_least(name, *least));
        match small {
            Some((name, least)) => wide_encoding(&format!("{name} is below {least}")),
            None if self.may_configure => {
                Check::new("redis-encoding", Verdict::Pass, "small hashes are kept compact")
            }
            None => Check::new(
                "redis-encoding",
                Verdict::Warn,
                "this user may not run CONFIG GET, so how hashes are kept could not be looked at",
            ),
        }
    }
}

/// Returns none if this user may not ask, or the server does not know the command.
fn unless_refused(answer: Result<Value, StorageFailure>) -> Result<Option<Value>, StorageFailure> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(StorageFailure::Denied(text)) if text.contains("permission") => Ok(None),
        Err(StorageFailure::Other(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}
