//! A namespace as a whole: how its partitions are found, made and removed.
//!
//! A program that knows only the name reads one key, `{NAMESPACE:0}:meta`. If the namespace has one partition, this
//! key is the state of the partition. If it has several, the key is a signpost: it states the number of partitions.
//! The keys of the partitions have the tags that [`tags::tag`] gives. The signpost is written last, so if it exists,
//! all partitions exist. It is one key, so of two callers that make the namespace with different numbers of partitions
//! only one succeeds.

use std::collections::HashMap;

use domain::{StorageFailure, StoreId, ports::RetentionMode};
use futures_util::future::{join_all, try_join_all};
use redis::{FromRedisValue, Value, cmd};

use crate::{
    client::{failure::unexpected_reply, link::Link},
    engine::RedisEngine,
    engine::{
        keys::Keys,
        state::{self, LAYOUT, State},
        tags,
    },
    options::RedisOptions,
    server::checks,
};

/// The layout of a signpost. Programs that support only one partition refuse the namespace.
const SIGNPOST: &str = "3-parts";
/// The dictionary of a namespace with one partition begins with 2^LEVEL buckets. With several partitions, their
/// dictionaries begin with 2^LEVEL buckets in total. A bucket has a key only once it has an entry.
const LEVEL: u32 = 14;
/// The number of keys that one round trip of a removal scans.
const LOOKED_AT_ONCE: usize = 1_000;

/// The partitions of a namespace: the keys and the state of each.
pub(crate) type Found = Vec<(Keys, State)>;

/// Returns the keys of a namespace's root.
pub(crate) fn root(namespace: &str) -> Keys {
    Keys::new(&tags::root(namespace))
}

/// Returns the keys of a partition.
fn keys_of(namespace: &str, partition: u16, partitions: u16) -> Keys {
    Keys::new(&tags::tag(namespace, partition, partitions))
}

/// Returns the namespace's partitions, in order. None if the namespace does not exist.
pub(crate) async fn find(link: &Link, namespace: &str) -> Result<Option<Found>, StorageFailure> {
    let keys = root(namespace);
    let fields = fields_of(link, &keys).await?;
    if fields.is_empty() {
        return Ok(None);
    }
    if fields.get("layout").map(String::as_str) != Some(SIGNPOST) {
        let state = State::of(&fields)?;
        return Ok(Some(vec![(keys, state)]));
    }
    let (store, count) = (state::store_in(&fields)?, state::number_in(&fields, "partitions")?);
    let count = u16::try_from(count).ok().filter(|count| RedisOptions::may_have(*count) && *count > 1);
    let count = count.ok_or_else(|| StorageFailure::Corrupt("the signpost of the namespace".to_owned()))?;
    let partitions = (0..count).map(|partition| partition_of(link, namespace, partition, count, store));
    try_join_all(partitions).await.map(Some)
}

/// Reads a partition that must exist.
async fn partition_of(
    link: &Link,
    namespace: &str,
    partition: u16,
    partitions: u16,
    store: StoreId,
) -> Result<(Keys, State), StorageFailure> {
    let keys = keys_of(namespace, partition, partitions);
    match load(link, &keys).await? {
        Some(state) if (state.store, state.partitions) == (store, partitions) => Ok((keys, state)),
        Some(_) => Err(StorageFailure::Corrupt(format!(
            "the key {} is not of the namespace that {} says it is of",
            keys.meta(),
            root(namespace).meta()
        ))),
        None => Err(StorageFailure::Corrupt(format!(
            "partition {partition} of the namespace is gone: there is no key {}",
            keys.meta()
        ))),
    }
}

/// Reads the state of a partition. None if the partition does not exist.
pub(crate) async fn load(link: &Link, keys: &Keys) -> Result<Option<State>, StorageFailure> {
    let fields = fields_of(link, keys).await?;
    if fields.is_empty() { Ok(None) } else { State::of(&fields).map(Some) }
}

async fn fields_of(link: &Link, keys: &Keys) -> Result<HashMap<String, String>, StorageFailure> {
    let mut command = cmd("HGETALL");
    command.arg(keys.meta());
    match link.read(&command).await {
        // The type of the key shows that it belongs to another program.
        Err(StorageFailure::Corrupt(text)) if text.contains("WRONGTYPE") => Err(StorageFailure::Foreign(
            format!("the key {} on this server is another program's: name another namespace", keys.meta()),
        )),
        answer => FromRedisValue::from_redis_value(answer?).map_err(|_| unexpected_reply("the state")),
    }
}

/// Makes the namespace. Continues the work of a caller that did not finish. If another caller was first, its namespace
/// stays.
pub(crate) async fn make(link: &Link, options: &RedisOptions) -> Result<(), StorageFailure> {
    if let Some(wanted) = options.partitions.filter(|wanted| !RedisOptions::may_have(*wanted)) {
        return Err(StorageFailure::Foreign(format!(
            "a namespace has 1, 2, 4, 8, 16, 32 or 64 partitions, not {wanted}"
        )));
    }
    let (namespace, root) = (&options.namespace, root(&options.namespace));
    checks::before_making(link, &root).await?;
    let begun = begun(link, namespace).await?;
    let count = match (options.partitions, &begun) {
        (Some(wanted), Some(begun)) if wanted != begun.partitions => {
            return Err(StorageFailure::Foreign(format!(
                "a namespace of {} partitions was begun under this name and is not finished: make it with so many, or \
                 remove the keys {{{namespace}:*}}:*",
                begun.partitions
            )));
        }
        (_, Some(begun)) => begun.partitions,
        (Some(wanted), None) => wanted,
        (None, None) => options.usual_partitions(),
    };
    let mut plan = Plan::of(options, count);
    if count == 1 {
        return plan.put(link, &root).await;
    }
    for partition in (0..count).rev() {
        let keys = keys_of(namespace, partition, count);
        let found = load(link, &keys).await?;
        if found.is_none() {
            if begun.as_ref().is_some_and(|begun| begun.is_used) {
                return Err(StorageFailure::Foreign(format!(
                    "under this name are the remains of a namespace of {count} partitions, and there is no key {}: \
                     name another namespace, or remove the keys {{{namespace}:*}}:*",
                    keys.meta()
                )));
            }
            checks::before_making(link, &keys).await?;
            plan.put(link, &keys).await?;
        }
        // The settings of the first partition apply to all others.
        let made = load(link, &keys).await?.ok_or_else(gone)?;
        plan.agree_with(&made);
    }
    plan.put_signpost(link, &root).await
}

fn gone() -> StorageFailure {
    StorageFailure::Corrupt("the namespace that was made is gone".to_owned())
}

/// A namespace of several partitions that has no signpost.
struct Begun {
    partitions: u16,
    /// Whether anything was ever stored in the partition that is made first.
    is_used: bool,
}

/// Finds a namespace that was only partly made or partly removed, by the partition that is made first.
async fn begun(link: &Link, namespace: &str) -> Result<Option<Begun>, StorageFailure> {
    let counts = (1..).map(|power| 1u16 << power).take_while(|count| RedisOptions::may_have(*count));
    let look = |count: u16| async move {
        let state = load(link, &keys_of(namespace, count - 1, count)).await?;
        let of_it = state.filter(|state| state.partitions == count);
        Ok(of_it.map(|state| Begun { partitions: count, is_used: state.head > 0 }))
    };
    let found: Result<Vec<Option<Begun>>, StorageFailure> =
        join_all(counts.map(look)).await.into_iter().collect();
    Ok(found?.into_iter().flatten().next())
}

/// The initial fields of every partition of a namespace.
struct Plan {
    store: String,
    keeps: &'static str,
    compression: &'static str,
    partitions: u16,
}

impl Plan {
    fn of(options: &RedisOptions, partitions: u16) -> Self {
        let compressed = options.compression;
        let (keeps, store) = (options.keeps, format!("{:016x}", fastrand::u64(1..)));
        Self { store, keeps: keeps_name(keeps), compression: compression_name(compressed), partitions }
    }

    fn agree_with(&mut self, state: &State) {
        self.store = state.store.to_string();
        (self.keeps, self.compression) = (keeps_name(state.keeps), compression_name(state.compression));
    }

    /// Makes a partition, unless it exists.
    async fn put(&self, link: &Link, keys: &Keys) -> Result<(), StorageFailure> {
        let level = LEVEL - u32::from(self.partitions).ilog2();
        let fields: [(&str, String); 13] = [
            ("layout", LAYOUT.to_owned()),
            ("store", self.store.clone()),
            ("keeps", self.keeps.to_owned()),
            ("compression", self.compression.to_owned()),
            ("partitions", self.partitions.to_string()),
            ("head", "0".to_owned()),
            ("epoch", "1".to_owned()),
            ("level", level.to_string()),
            ("split", "0".to_owned()),
            ("stored", "0".to_owned()),
            ("events", "0".to_owned()),
            ("bytes", "0".to_owned()),
            ("fields", "0".to_owned()),
        ];
        put(link, keys, &fields).await
    }

    async fn put_signpost(&self, link: &Link, root: &Keys) -> Result<(), StorageFailure> {
        let fields: [(&str, String); 3] = [
            ("layout", SIGNPOST.to_owned()),
            ("store", self.store.clone()),
            ("partitions", self.partitions.to_string()),
        ];
        put(link, root, &fields).await
    }
}

/// Writes the hash `meta`, unless it exists.
async fn put(link: &Link, keys: &Keys, fields: &[(&str, String)]) -> Result<(), StorageFailure> {
    let args: Vec<&str> = fields.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect();
    link.call("make", &[keys.meta(), keys.meta()], &args).await.map(drop)
}

fn keeps_name(keeps: RetentionMode) -> &'static str {
    match keeps {
        RetentionMode::History => "history",
        RetentionMode::UntilDelivered => "deliveries",
    }
}

fn compression_name(compressed: bool) -> &'static str {
    if compressed { "zstd" } else { "none" }
}

impl RedisEngine {
    /// Returns whether the namespace exists.
    ///
    /// # Errors
    /// Returns an error when the server cannot be reached, or when the key of the namespace holds other data.
    pub async fn exists(options: &RedisOptions) -> Result<bool, StorageFailure> {
        let link = Self::way(options)?;
        Ok(find(&link, &options.namespace).await?.is_some())
    }

    /// Removes the namespace permanently with all its data, even while others use it. It scans every key of the
    /// server. So it needs the right to `SCAN`, which stores otherwise do not need.
    ///
    /// # Errors
    /// Returns an error when the server fails. Part of the namespace may then be removed.
    pub async fn remove_namespace(self) -> Result<(), StorageFailure> {
        let namespace = &self.options().namespace;
        // Remove the states first. No other program then mistakes the remaining keys for a store.
        let metas = std::iter::once(root(namespace).meta());
        for meta in metas.chain(self.partitions().iter().map(|partition| partition.keys().meta())) {
            self.link().write(cmd("UNLINK").arg(meta)).await?;
        }
        for (_, server) in self.link().servers().await? {
            self.remove_from(&server).await?;
        }
        self.close().await;
        Ok(())
    }

    /// Removes the keys of the namespace from one server.
    async fn remove_from(&self, server: &Link) -> Result<(), StorageFailure> {
        // The name of a namespace has no character that is special in a pattern.
        let (mut place, pattern) = (0u64, format!("{{{}:*}}:*", self.options().namespace));
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(place).arg("MATCH").arg(&pattern).arg("COUNT").arg(LOOKED_AT_ONCE);
            let answer = server.read(&scan).await?;
            let (next, names): (u64, Vec<Value>) =
                FromRedisValue::from_redis_value(answer).map_err(|_| unexpected_reply("a scan"))?;
            // One command names only keys of one slot.
            let mut by_tag: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
            for name in names {
                let Value::BulkString(name) = name else { return Err(unexpected_reply("the name of a key")) };
                let tag = name.iter().take_while(|byte| **byte != b'}').copied().collect();
                by_tag.entry(tag).or_default().push(name);
            }
            // Send it to the server that has the keys now, since the slot may have moved.
            for names in by_tag.into_values() {
                self.link().write(cmd("UNLINK").arg(names)).await?;
            }
            if next == 0 {
                return Ok(());
            }
            place = next;
        }
    }
}
