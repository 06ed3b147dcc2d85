//! Positions and cursors: the place of an event in the log, and the progress of a reader.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::varint;

/// The position of an event in the log. It is shown as `PARTITION:SEQUENCE`.
///
/// Within a partition, sequences rise in commit order, start at 1, and are never assigned twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the partition, from 0.
    pub partition: u16,
    /// Sequence within the partition, from 1.
    pub sequence: u64,
}

impl Position {
    /// Returns the position of this partition and sequence.
    pub fn new(partition: u16, sequence: u64) -> Self {
        Self { partition, sequence }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.partition, self.sequence)
    }
}

impl std::str::FromStr for Position {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (partition, sequence) = text.split_once(':').ok_or(CursorError::Malformed)?;
        Ok(Self {
            partition: partition.parse().map_err(|_| CursorError::Malformed)?,
            sequence: sequence.parse().map_err(|_| CursorError::Malformed)?,
        })
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Identity of a store. It distinguishes the cursors of different stores. It is drawn at random when a store is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub u64);

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The progress of a reader: the sequence that it has reached in each partition, in one store and log epoch.
///
/// The text form is opaque and URL-safe, and carries a checksum. An edited text does not parse.
///
/// ```
/// use event_replay_domain::{Cursor, StoreId};
/// let cursor = Cursor::new(StoreId(7), 1, vec![42]);
/// assert_eq!(cursor.to_string().parse(), Ok(cursor));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Store of the cursor.
    pub store: StoreId,
    /// Log epoch in which the cursor was taken.
    pub epoch: u64,
    /// One sequence for each partition. It is 0 if the reader has reached no event there.
    pub sequences: Vec<u64>,
}

/// Errors of the text form of a cursor or position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CursorError {
    /// The text was cut or edited, or this program did not write it.
    #[error("this is not a cursor or position as this program prints them")]
    Malformed,
}

const CURSOR_VERSION: u8 = 1;

impl Cursor {
    /// Returns a cursor with these parts.
    pub fn new(store: StoreId, epoch: u64, sequences: Vec<u64>) -> Self {
        Self { store, epoch, sequences }
    }

    /// Returns the sequence that the reader has reached in a partition. It is 0 if the reader has reached no event
    /// there.
    pub fn sequence(&self, partition: u16) -> u64 {
        self.sequences.get(usize::from(partition)).copied().unwrap_or(0)
    }

    /// Returns the cursor before this one. A read in log order from there returns the events of a read against log
    /// order that ended at this cursor.
    pub fn before(&self) -> Self {
        let sequences = self.sequences.iter().map(|sequence| sequence.saturating_sub(1)).collect();
        Self { sequences, ..*self }
    }

    /// Returns whether an event at this position is at or before the cursor.
    pub fn covers(&self, position: Position) -> bool {
        position.sequence <= self.sequence(position.partition)
    }

    /// Returns whether the cursor covers every event that the other cursor covers.
    pub fn reaches(&self, other: &Self) -> bool {
        (0u16..).zip(&other.sequences).all(|(partition, sequence)| *sequence <= self.sequence(partition))
    }

    /// Returns the cursor that covers the events of either cursor. It belongs to the store of this cursor.
    #[must_use]
    pub fn later(&self, other: &Self) -> Self {
        self.combined(other, u64::max)
    }

    /// Returns the cursor that covers the events of both cursors. It belongs to the store of this cursor.
    #[must_use]
    pub fn earlier(&self, other: &Self) -> Self {
        self.combined(other, u64::min)
    }

    fn combined(&self, other: &Self, choose: impl Fn(u64, u64) -> u64) -> Self {
        let sequences = (0u16..).zip(&self.sequences);
        let sequences = sequences.map(|(partition, own)| choose(*own, other.sequence(partition)));
        Self { store: self.store, epoch: self.epoch.max(other.epoch), sequences: sequences.collect() }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = vec![CURSOR_VERSION];
        bytes.extend_from_slice(&self.store.0.to_le_bytes());
        varint::put(&mut bytes, self.epoch);
        varint::put(&mut bytes, self.sequences.len() as u64);
        for sequence in &self.sequences {
            varint::put(&mut bytes, *sequence);
        }
        let sum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl std::str::FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError::Malformed)?;
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or(CursorError::Malformed)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return Err(CursorError::Malformed);
        }
        parse_body(body).ok_or(CursorError::Malformed)
    }
}

fn parse_body(body: &[u8]) -> Option<Cursor> {
    let (&version, rest) = body.split_first()?;
    let (store, mut rest) = rest.split_first_chunk::<8>()?;
    if version != CURSOR_VERSION {
        return None;
    }
    let epoch = varint::take(&mut rest)?;
    let partitions = u16::try_from(varint::take(&mut rest)?).ok()?;
    let sequences = (0..partitions).map(|_| varint::take(&mut rest)).collect::<Option<Vec<_>>>()?;
    rest.is_empty().then(|| Cursor::new(StoreId(u64::from_le_bytes(*store)), epoch, sequences))
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_cursor_does_not_parse() {
        let text = Cursor::new(StoreId(7), 1, vec![42, 7]).to_string();
        for at in 0..text.len() {
            let mut edited: Vec<char> = text.chars().collect();
            edited[at] = if edited[at] == 'A' { 'B' } else { 'A' };
            let edited: String = edited.into_iter().collect();
            assert_eq!(edited.parse::<Cursor>(), Err(CursorError::Malformed), "edited at {at}");
        }
    }

    #[test]
    fn two_cursors_combine_partition_by_partition() {
        let cursor = |epoch, sequences: [u64; 3]| Cursor::new(StoreId(7), epoch, sequences.to_vec());
        let (one, other) = (cursor(1, [5, 0, 9]), cursor(2, [3, 4, 9]));
        assert_eq!(one.later(&other), cursor(2, [5, 4, 9]));
        assert_eq!(one.earlier(&other), cursor(2, [3, 0, 9]));
        assert!(one.later(&other).reaches(&one) && one.later(&other).reaches(&other));
        assert!(!one.reaches(&other) && !other.reaches(&one));
        // A cursor of another store stays one, so that a read refuses it.
        let foreign = Cursor::new(StoreId(8), 1, vec![1]);
        assert_eq!(foreign.later(&one), Cursor::new(StoreId(8), 1, vec![5]));
    }

    #[test]
    fn positions_show_as_partition_and_sequence() {
        assert_eq!(Position::new(0, 17).to_string(), "0:17");
        assert_eq!("3:9".parse(), Ok(Position::new(3, 9)));
        assert!("17".parse::<Position>().is_err());
    }
}
