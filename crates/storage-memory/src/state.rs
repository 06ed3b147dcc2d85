//! What a store holds, and the two steps that change it: an event comes in with its index entries, or goes with them.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use domain::{
    Checkpoint, CorruptEvent, Cursor, Event, Position, StoreId, StoredEvent,
    ports::{EventStoreError, Keeps, SchemaRecord, StoreInfo},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    dead_letters::DeadLetters, groups::Groups, index::Index, replays::Replays, schedule::Schedule,
    stats::Stats,
};

/// The only partition.
pub(crate) const PARTITION: u16 = 0;
/// How many there are.
pub(crate) const PARTITIONS: u16 = 1;
/// The only log epoch: a store in RAM does not outlive its process.
const EPOCH: u64 = 1;

/// One event in the log.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) event: Event,
    pub(crate) stored_at: Timestamp,
    pub(crate) replay_count: u32,
    pub(crate) last_replay_at: Option<Timestamp>,
    /// What a test says is wrong with the event's bytes.
    pub(crate) damage: Option<String>,
}

impl Entry {
    pub(crate) fn read(&self, sequence: u64) -> Result<StoredEvent, CorruptEvent> {
        match &self.damage {
            Some(detail) => Err(CorruptEvent { position: position(sequence), detail: detail.clone() }),
            None => Ok(StoredEvent {
                event: self.event.clone(),
                position: position(sequence),
                stored_at: self.stored_at,
                replay_count: self.replay_count,
                last_replay_at: self.last_replay_at,
            }),
        }
    }
}

/// Everything in the store.
#[derive(Debug)]
pub(crate) struct State {
    id: StoreId,
    pub(crate) keeps: Keeps,
    /// The newest sequence that was handed out; it never falls.
    pub(crate) last: u64,
    /// When the newest was stored; it never falls, whatever the clock does.
    last_stored_at: Timestamp,
    pub(crate) log: BTreeMap<u64, Entry>,
    pub(crate) index: Index,
    /// Ids of erased events.
    pub(crate) tombstones: HashSet<String>,
    pub(crate) trimmed_through: u64,
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) schemas: BTreeMap<(String, Option<String>), SchemaRecord>,
    pub(crate) replays: Replays,
    pub(crate) groups: Groups,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) schedule: Schedule,
    pub(crate) stats: Stats,
    bytes: u64,
}

impl State {
    pub(crate) fn new(id: StoreId, keeps: Keeps) -> Self {
        Self {
            id,
            keeps,
            last: 0,
            last_stored_at: Timestamp::MIN,
            log: BTreeMap::new(),
            index: Index::default(),
            tombstones: HashSet::new(),
            trimmed_through: 0,
            checkpoints: Vec::new(),
            schemas: BTreeMap::new(),
            replays: Replays::default(),
            groups: Groups::default(),
            dead_letters: DeadLetters::default(),
            schedule: Schedule::default(),
            stats: Stats::default(),
            bytes: 0,
        }
    }

    /// Puts an event at the end of the log.
    pub(crate) fn push(&mut self, event: Event, stored_at: Timestamp) {
        self.last += 1;
        let stored_at = self.last_stored_at.max(stored_at);
        self.last_stored_at = stored_at;
        self.bytes += event.size_bytes() as u64;
        self.index.insert(self.last, &event);
        let entry = Entry { event, stored_at, replay_count: 0, last_replay_at: None, damage: None };
        self.log.insert(self.last, entry);
    }

    /// Takes an event out of the log and of every index.
    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Event> {
        let event = self.log.remove(&sequence)?.event;
        self.index.remove(sequence, &event);
        self.bytes -= event.size_bytes() as u64;
        Some(event)
    }

    /// The event at a position, if one is there and can be read.
    pub(crate) fn readable_event(&self, at: Position) -> Option<&Event> {
        let entry = self.log.get(&sequence(at)?)?;
        entry.damage.is_none().then_some(&entry.event)
    }

    pub(crate) fn cursor(&self, sequence: u64) -> Cursor {
        Cursor::new(self.id, EPOCH, vec![sequence])
    }

    pub(crate) fn head(&self) -> Cursor {
        self.cursor(self.last)
    }

    /// The sequence that a cursor marks, if it is a cursor of this log.
    pub(crate) fn sequence_of(&self, cursor: &Cursor) -> Result<u64, EventStoreError> {
        if cursor.store != self.id {
            return Err(EventStoreError::ForeignCursor { cursor: cursor.store, store: self.id });
        }
        if cursor.epoch != EPOCH {
            let lost = format!("it is of log epoch {}, this log is in epoch {EPOCH}", cursor.epoch);
            return Err(EventStoreError::LostCursor(lost));
        }
        match cursor.sequences.as_slice() {
            [sequence] if *sequence <= self.last => Ok(*sequence),
            [sequence] => {
                Err(EventStoreError::LostCursor(format!("{sequence} is beyond the head, {}", self.last)))
            }
            other => Err(EventStoreError::LostCursor(format!("it has {} partitions, not 1", other.len()))),
        }
    }

    pub(crate) fn info(&self) -> StoreInfo {
        StoreInfo {
            id: self.id,
            namespace: "memory".to_owned(),
            keeps: self.keeps,
            head: self.head(),
            events: self.log.len() as u64,
            bytes: self.bytes,
            bytes_occupied: None,
            trimmed_through: vec![self.trimmed_through],
        }
    }
}

/// The position of a sequence.
pub(crate) fn position(sequence: u64) -> Position {
    Position::new(PARTITION, sequence)
}

/// The sequence of a position; none where it is of another partition.
pub(crate) fn sequence(position: Position) -> Option<u64> {
    (position.partition == PARTITION).then_some(position.sequence)
}

/// An instant after another; the end of time where that is beyond it.
pub(crate) fn later(instant: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| instant.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// An instant before another; none where that is before all time.
pub(crate) fn earlier(instant: Timestamp, by: Duration) -> Option<Timestamp> {
    SignedDuration::try_from(by).ok().and_then(|by| instant.checked_sub(by).ok())
}
