//! The state of a partition, as the hash `meta` keeps it.

use std::collections::HashMap;

use domain::{
    Cursor, Position, StorageFailure, StoreId,
    ports::{EventStoreError, Keeps},
};
use jiff::Timestamp;
use redis::{FromRedisValue, Value};

/// The layout of a partition that this program writes and reads.
pub(crate) const LAYOUT: &str = "1";
/// A partition is a store by itself and calls itself so: positions, segments and cursors within it are its own. What they
/// are in the whole store is said by [`crate::store`].
pub(crate) const PARTITION: u16 = 0;
/// As a partition sees it, there is but one.
pub(crate) const PARTITIONS: u16 = 1;
/// Sequences of one log epoch, as a rule: each begins beyond the next multiple.
const EPOCH: u64 = 1 << 32;

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
    /// Of how many partitions it is one.
    pub(crate) partitions: u16,
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
        if fields.is_empty() { Ok(None) } else { Self::of(&fields).map(Some) }
    }

    /// Reads the fields of `meta`.
    pub(crate) fn of(fields: &HashMap<String, String>) -> Result<Self, StorageFailure> {
        check_layout(fields)?;
        let number = |name: &str| number_in(fields, name);
        let keeps = match fields.get("keeps").map(String::as_str) {
            Some("deliveries") => Keeps::Deliveries,
            _ => Keeps::History,
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
            level: number("level")? as u32,
            split: number("split")? as u32,
            fields: number("fields")?,
        })
    }

    pub(crate) fn cursor(&self, sequence: u64) -> Cursor {
        Cursor::new(self.store, self.epoch, vec![sequence])
    }

    /// The sequence that a cursor marks, for whoever relies on it: everything up to it is there, but for what was removed.
    pub(crate) fn sequence_of(&self, cursor: &Cursor) -> Result<u64, EventStoreError> {
        let sequence = self.place_of(cursor)?;
        match self.end_before(sequence) {
            Some(End { epoch, last, .. }) => Err(EventStoreError::LostCursor(format!(
                "{sequence} is beyond {last}, the end of log epoch {epoch}"
            ))),
            None => Ok(sequence),
        }
    }

    /// The sequence that a cursor marks, for whoever reads on from there, or up to there: that may be where something was
    /// lost, since nothing is passed over for that. A consumer whose cursor has come so far has handled what was lost.
    pub(crate) fn place_of(&self, cursor: &Cursor) -> Result<u64, EventStoreError> {
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
        if sequence > self.head {
            return lost(format!("{sequence} is beyond {}, the end of the log", self.head));
        }
        Ok(sequence)
    }

    /// The end of the log epoch that a sequence was handed out in, where the sequence was lost with what was behind that end.
    /// It can be told from the sequence alone, since an epoch begins beyond whatever was handed out before.
    pub(crate) fn end_before(&self, sequence: u64) -> Option<End> {
        self.ends.iter().find(|end| end.last < sequence && sequence < end.next).copied()
    }
}

/// The store's identity.
pub(crate) fn store_in(fields: &HashMap<String, String>) -> Result<StoreId, StorageFailure> {
    let store = fields.get("store").and_then(|text| u64::from_str_radix(text, 16).ok());
    store.map(StoreId).ok_or_else(|| StorageFailure::Corrupt("the store has no id".to_owned()))
}

/// A number of the state; 0 where it is absent.
pub(crate) fn number_in(fields: &HashMap<String, String>, name: &str) -> Result<u64, StorageFailure> {
    let text = fields.get(name).map(String::as_str).unwrap_or("0");
    text.parse().map_err(|_| StorageFailure::Corrupt(format!("the field {name} of the state is {text:?}")))
}

/// Refuses a namespace of a layout that this program does not know.
fn check_layout(fields: &HashMap<String, String>) -> Result<(), StorageFailure> {
    match fields.get("layout").map(String::as_str) {
        Some(LAYOUT) => Ok(()),
        Some(other) => Err(unknown_layout(other)),
        None => Err(StorageFailure::Foreign("the key of the namespace's state is not ours".to_owned())),
    }
}

/// A namespace of a layout that another program made.
pub(crate) fn unknown_layout(layout: &str) -> StorageFailure {
    StorageFailure::Foreign(format!(
        "the namespace has layout {layout}, this program knows layout {LAYOUT}: use the program that made it, or \
         `event-replay migrate`"
    ))
}

/// Reads `EPOCH:LAST:NEXT,` for each epoch that is over.
fn ends(text: &str) -> Vec<End> {
    let end = |part: &str| {
        let mut numbers = part.split(':').map(|number| number.parse().ok());
        let (epoch, last) = (numbers.next()??, numbers.next()??);
        let next = numbers.next().flatten().unwrap_or((last / EPOCH + 1) * EPOCH);
        Some(End { epoch, last, next })
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
