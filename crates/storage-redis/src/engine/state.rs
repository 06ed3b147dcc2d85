//! The state of a partition, as the hash `meta` stores it.

use std::collections::HashMap;

use domain::{
    StorageFailure, StoreId,
    ports::{
        RetentionMode,
        engine::{EpochEnd, PartitionState},
    },
};
use jiff::Timestamp;
use redis::{FromRedisValue, Value};

/// The layout of a partition that this program writes and reads.
pub(crate) const LAYOUT: &str = "3";
/// The number of sequences of one log epoch. A new epoch begins beyond the next multiple of it.
const EPOCH: u64 = 1 << 32;

/// The state of a partition.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) store: StoreId,
    /// The number of partitions of the namespace.
    pub(crate) partitions: u16,
    pub(crate) keeps: RetentionMode,
    /// Whether events are stored compressed.
    pub(crate) compression: bool,
    /// The newest sequence in use, or the beginning of a new log epoch.
    pub(crate) head: u64,
    pub(crate) epoch: u64,
    /// The end of each past log epoch.
    pub(crate) ends: Vec<EpochEnd>,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) trimmed: u64,
    /// The number of pages of events that were ever removed.
    pub(crate) removals: u64,
    /// The dictionary has 2^level + split buckets.
    pub(crate) level: u32,
    pub(crate) split: u32,
    /// The number of fields of the dictionary.
    pub(crate) fields: u64,
}

impl State {
    /// Parses the answer to `HGETALL meta`. None if the namespace does not exist.
    pub(crate) fn read(answer: Value) -> Result<Option<Self>, StorageFailure> {
        let fields: HashMap<String, String> = FromRedisValue::from_redis_value(answer)
            .map_err(|_| crate::client::failure::unexpected_reply("the state"))?;
        if fields.is_empty() { Ok(None) } else { Self::of(&fields).map(Some) }
    }

    /// Parses the fields of `meta`.
    pub(crate) fn of(fields: &HashMap<String, String>) -> Result<Self, StorageFailure> {
        check_layout(fields)?;
        let number = |name: &str| number_in(fields, name);
        let keeps = match fields.get("keeps").map(String::as_str) {
            Some("deliveries") => RetentionMode::UntilDelivered,
            _ => RetentionMode::History,
        };
        Ok(Self {
            store: store_in(fields)?,
            partitions: number("partitions")?.clamp(1, u64::from(u16::MAX)) as u16,
            keeps,
            compression: fields.get("compression").is_some_and(|how| how == "zstd"),
            head: number("head")?,
            epoch: number("epoch")?,
            ends: ends(fields.get("ends").map(String::as_str).unwrap_or_default()),
            events: number("events")?,
            bytes: number("bytes")?,
            trimmed: number("trimmed")?,
            removals: number("removals")?,
            level: number("level")? as u32,
            split: number("split")? as u32,
            fields: number("fields")?,
        })
    }

    /// Returns the state in the form of the port.
    pub(crate) fn told(&self, now: Timestamp) -> PartitionState {
        PartitionState {
            head: self.head,
            epoch: self.epoch,
            generation: self.epoch,
            ends: self.ends.clone(),
            events: self.events,
            bytes: self.bytes,
            trimmed_through: self.trimmed,
            now,
        }
    }

    /// Returns whether no event was removed between two reads.
    pub(crate) fn kept_all_since(&self, earlier: &Self) -> bool {
        (self.removals, self.epoch) == (earlier.removals, earlier.epoch)
    }
}

/// Returns the identity of the store.
pub(crate) fn store_in(fields: &HashMap<String, String>) -> Result<StoreId, StorageFailure> {
    let store = fields.get("store").and_then(|text| u64::from_str_radix(text, 16).ok());
    store.map(StoreId).ok_or_else(|| StorageFailure::Corrupt("the store has no id".to_owned()))
}

/// Returns a number of the state, and 0 if the field is missing.
pub(crate) fn number_in(fields: &HashMap<String, String>, name: &str) -> Result<u64, StorageFailure> {
    let text = fields.get(name).map(String::as_str).unwrap_or("0");
    text.parse().map_err(|_| StorageFailure::Corrupt(format!("the field {name} of the state is {text:?}")))
}

/// Refuses a namespace with a layout that this program does not know.
fn check_layout(fields: &HashMap<String, String>) -> Result<(), StorageFailure> {
    match fields.get("layout").map(String::as_str) {
        Some(LAYOUT) => Ok(()),
        // Layout 1 used the number 2 for the hash with the number of partitions. That hash has no head.
        Some("2") if !fields.contains_key("head") => Err(unknown_layout("1")),
        Some("2-parts") => Err(unknown_layout("2")),
        Some(other) => Err(unknown_layout(other)),
        None => Err(StorageFailure::Foreign(
            "the key of the namespace's state belongs to another program".to_owned(),
        )),
    }
}

/// Returns the failure for a namespace with a layout of another program version.
fn unknown_layout(layout: &str) -> StorageFailure {
    StorageFailure::Foreign(match layout {
        "1" | "2" => format!(
            "the namespace has layout {layout} and this program reads layout {LAYOUT}: export its events with the program that \
             made it, and import them into a new namespace"
        ),
        _ => format!(
            "the namespace has layout {layout} and this program reads layout {LAYOUT}: use the program that made it"
        ),
    })
}

/// Parses `EPOCH:LAST:NEXT,` for each past epoch.
fn ends(text: &str) -> Vec<EpochEnd> {
    let end = |part: &str| {
        let mut numbers = part.split(':').map(|number| number.parse().ok());
        let (epoch, last) = (numbers.next()??, numbers.next()??);
        let next = numbers.next().flatten().unwrap_or((last / EPOCH + 1) * EPOCH);
        Some(EpochEnd { epoch, last, next, restored: false })
    };
    text.split(',').filter_map(end).collect()
}
