//! What a server must be like before it is written to, and what `health` says of it.

use std::collections::HashMap;

use domain::StorageFailure;
use futures_util::future::try_join_all;
use redis::{FromRedisValue, Pipeline, Value, cmd};

use crate::{
    keys::Keys, link::Link, partition::Partition, rights, state::State, store::RedisStore, write::text,
};

/// The oldest version that has all that the adapter needs.
const OLDEST: (u32, u32) = (7, 0);
/// From this share of its memory on a server is worth a look, in percent.
const MEMORY_WARNING: u64 = 85;
/// What a bucket of the dictionary may come to, as the compact encoding must allow it: fields, and bytes of each.
const BUCKET: (u64, u64) = (128, 64);
/// What is read of the configuration.
const SETTINGS: [&str; 3] = ["appendfsync", "hash-max-listpack-entries", "hash-max-listpack-value"];
/// Buckets whose encoding is looked at.
const BUCKETS_LOOKED_AT: u32 = 32;
/// From how many fields on the encoding of a bucket says something.
const FULL_BUCKET: i64 = 16;

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Pass,
    /// The store works, and somebody should look at this.
    Warn,
    /// The store must not be written to.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, of lower-case words and dashes.
    pub name: &'static str,
    /// What it says.
    pub verdict: Verdict,
    /// The same for people: what was found, and what to do about it.
    pub message: String,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, message: impl Into<String>) -> Self {
        Self { name, verdict, message: message.into() }
    }
}

/// What a server says of itself. Where the user may not ask, there is nothing.
#[derive(Debug, Default)]
struct Facts {
    info: HashMap<String, String>,
    config: HashMap<String, String>,
    may_ask: bool,
    may_configure: bool,
}

impl Facts {
    async fn of(link: &Link) -> Result<Self, StorageFailure> {
        let (info, mut config) = (cmd("INFO"), cmd("CONFIG"));
        // By name: there are passwords among the others.
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

    fn info(&self, name: &str) -> &str {
        self.info.get(name).map(String::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.info(name).parse().unwrap_or(0)
    }

    /// What a server of this kind may be without.
    fn checks(&self) -> Vec<Check> {
        if !self.may_ask {
            let message = "this user may not run INFO, so the server could not be looked at";
            return vec![Check::new("redis-server", Verdict::Warn, message)];
        }
        let mut checks = vec![self.version(), self.role(), self.eviction()];
        checks.extend(self.memory());
        checks.push(self.persistence());
        checks.push(self.encoding());
        checks
    }

    fn version(&self) -> Check {
        let redis = self.info("redis_version");
        let name = match self.info("valkey_version") {
            "" => format!("Redis {redis}"),
            valkey => format!("Valkey {valkey}"),
        };
        let mut numbers = redis.split('.').map(|number| number.parse().unwrap_or(0));
        let is = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
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
        match self.config.get("appendfsync").map(String::as_str) {
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

    /// What the configuration says beforehand.
    fn encoding(&self) -> Check {
        let at_least = |name: &str, least: u64| {
            let set: Option<u64> = self.config.get(name).and_then(|value| value.parse().ok());
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

fn wide_encoding(found: &str) -> Check {
    let (entries, value) = BUCKET;
    let message = format!(
        "{found}, so that the index of ids takes three times the memory: run `CONFIG SET hash-max-listpack-entries \
         {entries}` and `CONFIG SET hash-max-listpack-value {value}`, or more"
    );
    Check::new("redis-encoding", Verdict::Warn, message)
}

/// None where the user may not ask, or the server knows no such question.
fn unless_refused(answer: Result<Value, StorageFailure>) -> Result<Option<Value>, StorageFailure> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(StorageFailure::Denied(text)) if text.contains("permission") => Ok(None),
        Err(StorageFailure::Other(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Whether the user has the rights to write.
async fn rights(link: &Link, keys: &Keys) -> Result<Check, StorageFailure> {
    let missing = match rights::missing(link, keys).await {
        Ok(missing) => missing,
        // Not even the right to ask, which writing needs, too.
        Err(StorageFailure::Denied(text)) => {
            return Ok(Check::new("redis-rights", Verdict::Fail, format!("this user can only read: {text}")));
        }
        Err(failure) => return Err(failure),
    };
    Ok(match missing.is_empty() {
        true => Check::new("redis-rights", Verdict::Pass, "this user has the rights to write"),
        false => {
            let message = format!(
                "this user lacks rights that writing needs on {}: {}",
                keys.named("*"),
                missing.join(", ")
            );
            Check::new("redis-rights", Verdict::Fail, message)
        }
    })
}

/// Refuses a server that must not be written to as it is set up, and warns of what may be better.
pub(crate) async fn before_use(link: &Link, keys: &Keys) -> Result<(), StorageFailure> {
    let facts = Facts::of(link).await?;
    let mut checks = facts.checks();
    refuse(&checks)?;
    checks.push(rights(link, keys).await?);
    refuse(&checks)?;
    for check in checks.iter().filter(|check| check.verdict == Verdict::Warn) {
        tracing::warn!(check = check.name, "{}", check.message);
    }
    Ok(())
}

fn refuse(checks: &[Check]) -> Result<(), StorageFailure> {
    let Some(check) = checks.iter().find(|check| check.verdict == Verdict::Fail) else { return Ok(()) };
    let message = check.message.clone();
    Err(match check.name {
        "redis-rights" => StorageFailure::Denied(message),
        "redis-role" | "redis-persistence" => StorageFailure::Unavailable(message),
        _ => StorageFailure::Foreign(message),
    })
}

/// Refuses to make a namespace over keys that are there already without being one.
pub(crate) async fn before_making(link: &Link, keys: &Keys) -> Result<(), StorageFailure> {
    let names =
        [keys.chunks(), keys.log(0), keys.directory(0), keys.named("groups"), keys.named("checkpoints")];
    let mut pipeline = Pipeline::new();
    for name in &names {
        pipeline.cmd("EXISTS").arg(name);
    }
    for (name, answer) in names.iter().zip(link.read_all(&pipeline).await?) {
        if answer != Value::Int(0) {
            return Err(StorageFailure::Foreign(format!(
                "there is a key {name} on this server, and no namespace that it belongs to: what is left of one whose \
                 state was deleted, or another program's. Name another namespace, or remove the keys {}",
                keys.named("*")
            )));
        }
    }
    Ok(())
}

impl RedisStore {
    /// What there is to say of the server and of this user's rights. It needs no right to write; what the user may not ask
    /// is a warning.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn checks(&self) -> Result<Vec<Check>, StorageFailure> {
        let mut checks = Facts::of(self.link()).await?.checks();
        let wide = try_join_all(self.partitions().iter().map(Partition::wide_bucket)).await?;
        if let Some(wide) = wide.into_iter().flatten().next() {
            checks.retain(|check| check.name != wide.name);
            checks.push(wide);
        }
        let rights = rights(self.link(), self.first().keys()).await?;
        // Who only reads needs no more, and says so.
        let verdict = if rights.verdict == Verdict::Fail { Verdict::Warn } else { rights.verdict };
        checks.push(Check { verdict, ..rights });
        Ok(checks)
    }

    /// Refuses a server that must not be written to as it is set up, as [`RedisStore::create`] does.
    ///
    /// # Errors
    /// With the sentence that says what to do about it.
    pub async fn check_writable(&self) -> Result<(), StorageFailure> {
        before_use(self.link(), self.first().keys()).await
    }
}

impl Partition {
    /// Whether a bucket of the dictionary has left its compact encoding: whatever the configuration says now.
    async fn wide_bucket(&self) -> Result<Option<Check>, StorageFailure> {
        let state: State = self.state().await?;
        let buckets = (1u32 << state.level) + state.split;
        let mut pipeline = Pipeline::new();
        for _ in 0..BUCKETS_LOOKED_AT {
            let key = self.keys().bucket(fastrand::u32(..buckets));
            pipeline.cmd("HLEN").arg(&key);
            pipeline.cmd("OBJECT").arg("ENCODING").arg(&key);
        }
        let answers = match self.link().read_all(&pipeline).await {
            Err(StorageFailure::Denied(_)) => return Ok(None),
            answers => answers?,
        };
        let wide = answers.chunks_exact(2).any(|pair| match pair {
            [Value::Int(length), encoding] => {
                (FULL_BUCKET..=BUCKET.0 as i64).contains(length) && text(encoding) == Some("hashtable")
            }
            _ => false,
        });
        Ok(wide.then(|| wide_encoding("hashes of the index are not kept compact")))
    }
}
