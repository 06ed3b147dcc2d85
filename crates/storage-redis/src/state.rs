//! The state of a partition, as the hash `meta` keeps it.

use std::collections::HashMap;

use domain::{
    Cursor, Position, StorageFailure, StoreId,
    ports::{EventStoreError, Keeps},
};
use jiff::Timestamp;
use redis::{FromRedisValue, Value};

/// The layout that this program writes and reads.
pub(crate) const LAYOUT: &str = "1";
/// The only partition of a standalone server.
pub(crate) const PARTITION: u16 = 0;
/// How many there are.
pub(crate) const PARTITIONS: u16 = 1;
/// The dictionary begins with 2^LEVEL buckets: a bucket is a key only once something falls to it.
pub(crate) const LEVEL: u32 = 14;

/// Where a log epoch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) epoch: u64,
    /// The newest sequence of it.
    pub(crate) last: u64,
    /// Where the next one began: no sequence between was ever handed out, as far as is known.
    next: u64,
}

/// The state of a partition.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) store: StoreId,
    pub(crate) keeps: Keeps,
    /// Whether events are kept compressed.
    pub(crate) compression: bool,
    /// The newest sequence that was handed out, or where a new log epoch began.
    pub(crate) head: u64,
    pub(crate) epoch: u64,
    /// Where each log epoch ended that is over.
    pub(crate) ends: Vec<End>,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) trimmed: u64,
    /// The dictionary has 2^level + split buckets.
    pub(crate) level: u32,
    pub(crate) split: u32,
    /// Fields of the dictionary.
    pub(crate) fields: u64,
}

impl State {
    /// Reads what `HGETALL meta` answered; none where there is no namespace.
    pub(crate) fn read(answer: Value) -> Result<Option<Self>, StorageFailure> {
        let fields: HashMap<String, String> =
            FromRedisValue::from_redis_value(answer).map_err(|_| crate::failure::shape("the state"))?;
        if fields.is_empty() {
            return Ok(None);
        }
        check_layout(&fields)?;
        let number = |name: &str| -> Result<u64, StorageFailure> {
            let text = fields.get(name).map(String::as_str).unwrap_or("0");
            text.parse()
                .map_err(|_| StorageFailure::Corrupt(format!("the field {name} of the state is {text:?}")))
        };
        let keeps = match fields.get("keeps").map(String::as_str) {
            Some("deliveries") => Keeps::Deliveries,
            _ => Keeps::History,
        };
        let store = fields.get("store").and_then(|text| u64::from_str_radix(text, 16).ok());
        Ok(Some(Self {
            store: StoreId(store.ok_or_else(|| StorageFailure::Corrupt("the store has no id".to_owned()))?),
            keeps,
            compression: fields.get("compression").is_some_and(|how| how == "zstd"),
            head: number("head")?,
            epoch: number("epoch")?,
            ends: ends(fields.get("ends").map(String::as_str).unwrap_or_default()),
            events: number("events")?,
            bytes: number("bytes")?,
            trimmed: number("trimmed")?,
            level: number("level")? as u32,
            split: number("split")? as u32,
            fields: number("fields")?,
        }))
    }

    pub(crate) fn cursor(&self, sequence: u64) -> Cursor {
        Cursor::new(self.store, self.epoch, vec![sequence])
    }

    /// The sequence that a cursor marks. One of an earlier log epoch is good for what that epoch is known to have kept.
    pub(crate) fn sequence_of(&self, cursor: &Cursor) -> Result<u64, EventStoreError> {
        if cursor.store != self.store {
            return Err(EventStoreError::ForeignCursor { cursor: cursor.store, store: self.store });
        }
        let lost = |text: String| Err(EventStoreError::LostCursor(text));
        let [sequence] = *cursor.sequences.as_slice() else {
            return lost(format!("it has {} partitions, not 1", cursor.sequences.len()));
        };
        if cursor.epoch > self.epoch {
            return lost(format!("it is of log epoch {}, this log is in epoch {}", cursor.epoch, self.epoch));
        }
        let end = match self.ends.iter().find(|end| end.epoch == cursor.epoch) {
            Some(end) => end.last,
            None => self.head,
        };
        if sequence > end {
            return lost(format!("{sequence} is beyond {end}, the end of log epoch {}", cursor.epoch));
        }
        Ok(sequence)
    }

    /// As [`State::sequence_of`], for whoever relies on what the cursor marks: refuses what lies between two epochs. Where the
    /// beginning of an epoch was lost, another has its number, and a cursor that marks an event of the lost one looks like one
    /// of that. Reading goes on after it all the same: nothing is passed over.
    pub(crate) fn mark_of(&self, cursor: &Cursor) -> Result<u64, EventStoreError> {
        let sequence = self.sequence_of(cursor)?;
        match self.ends.iter().find(|end| end.last < sequence && sequence < end.next) {
            Some(End { epoch, last, next }) => Err(EventStoreError::LostCursor(format!(
                "{sequence} lies between {last}, the end of log epoch {epoch}, and {next}, where the next began"
            ))),
            None => Ok(sequence),
        }
    }
}

/// Refuses a namespace of a layout that this program does not know.
fn check_layout(fields: &HashMap<String, String>) -> Result<(), StorageFailure> {
    match fields.get("layout").map(String::as_str) {
        Some(LAYOUT) => Ok(()),
        Some(other) => Err(StorageFailure::Foreign(format!(
            "the namespace has layout {other}, this program knows layout {LAYOUT}: use the program that made it, or \
             `event-replay migrate`"
        ))),
        None => Err(StorageFailure::Foreign("the key of the namespace's state is not ours".to_owned())),
    }
}

/// Reads `EPOCH:LAST:NEXT,` for each epoch that is over.
fn ends(text: &str) -> Vec<End> {
    let end = |part: &str| {
        let mut numbers = part.split(':').map(|number| number.parse().ok());
        let (epoch, last) = (numbers.next()??, numbers.next()??);
        Some(End { epoch, last, next: numbers.next().flatten().unwrap_or(last) })
    };
    text.split(',').filter_map(end).collect()
}

/// The position of a sequence.
pub(crate) fn position(sequence: u64) -> Position {
    Position::new(PARTITION, sequence)
}

/// The sequence of a position; none where it is of another partition.
pub(crate) fn sequence(position: Position) -> Option<u64> {
    (position.partition == PARTITION).then_some(position.sequence)
}

/// An instant in microseconds of the Unix epoch.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// An instant of microseconds; the end of time where that is beyond it.
pub(crate) fn from_micros(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
