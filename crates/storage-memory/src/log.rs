//! The log of one partition: a map from sequence to event, with its index.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::Bound,
};

use domain::{
    Event, Position, StoredEvent,
    batch::{Resolution, known_outcome},
    expectation::NewerEvents,
    ports::{
        AppendOutcome, Atomicity,
        engine::{DamagedEvent, Entry, IdState, PartitionState, Removal, RemovalKind, log::sequence_of},
    },
};
use jiff::Timestamp;

use crate::{index::Index, rows::Rows};

/// The only log epoch and generation. A store in RAM ends with its process, so it never loses an acknowledged event
/// before that.
pub(crate) const GENERATION: u64 = 1;

/// One event in the log.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) event: Event,
    pub(crate) stored_at: Timestamp,
    replay_count: u32,
    last_replay_at: Option<Timestamp>,
    /// Damage that a test has set for the event's bytes.
    pub(crate) damage: Option<String>,
}

/// One partition: its log, its index, and its rows.
#[derive(Debug)]
pub(crate) struct Partition {
    number: u16,
    /// Newest sequence. It never falls.
    pub(crate) head: u64,
    /// Stored time of the newest event. It never falls, even if the clock steps back.
    last_stored_at: Timestamp,
    pub(crate) log: BTreeMap<u64, Logged>,
    pub(crate) index: Index,
    /// Erased ids, which are refused.
    pub(crate) tombstones: HashSet<String>,
    trimmed_through: u64,
    bytes: u64,
    pub(crate) rows: Rows,
}

impl Partition {
    pub(crate) fn new(number: u16) -> Self {
        Self {
            number,
            head: 0,
            last_stored_at: Timestamp::MIN,
            log: BTreeMap::new(),
            index: Index::default(),
            tombstones: HashSet::new(),
            trimmed_through: 0,
            bytes: 0,
            rows: Rows::default(),
        }
    }

    pub(crate) fn state(&self, now: Timestamp) -> PartitionState {
        PartitionState {
            head: self.head,
            epoch: GENERATION,
            generation: GENERATION,
            ends: Vec::new(),
            events: self.log.len() as u64,
            bytes: self.bytes,
            trimmed_through: self.trimmed_through,
            now,
        }
    }

    /// Returns the event at a sequence.
    pub(crate) fn entry(&self, sequence: u64) -> Option<Entry> {
        let logged = self.log.get(&sequence)?;
        Some(match &logged.damage {
            None => Ok(StoredEvent {
                event: logged.event.clone(),
                position: Position::new(self.number, sequence),
                stored_at: logged.stored_at,
                replay_count: logged.replay_count,
                last_replay_at: logged.last_replay_at,
            }),
            Some(detail) => Err(DamagedEvent {
                sequence,
                stored_at: logged.stored_at,
                bytes: logged.event.size_bytes() as u64,
                detail: detail.clone(),
                indexed: true,
            }),
        })
    }

    pub(crate) fn locate(&self, id: &str) -> Option<IdState> {
        match self.tombstones.contains(id) {
            true => Some(IdState::Erased),
            false => self.index.id(id).map(IdState::Stored),
        }
    }

    /// Returns whether the log has none of these events. Returns false if retention has removed events after the
    /// sequence, or if a damaged event is after it, because such an event may match.
    pub(crate) fn has_none(&self, newer: &NewerEvents) -> bool {
        let above = (Bound::Excluded(newer.after), Bound::Unbounded);
        let is_one = |logged: &Logged| logged.damage.is_some() || newer.contains(&logged.event);
        self.trimmed_through <= newer.after && !self.log.range(above).any(|(_, logged)| is_one(logged))
    }

    pub(crate) fn append(
        &mut self,
        batch: &[Event],
        atomicity: Atomicity,
        now: Timestamp,
    ) -> Vec<AppendOutcome> {
        let mut resolution = Resolution::new(batch, atomicity);
        if atomicity == Atomicity::AllOrNothing {
            for (index, event) in batch.iter().enumerate() {
                self.settle(&mut resolution, index, event);
            }
            if resolution.is_refused() || resolution.is_contradictory() {
                return resolution.outcomes();
            }
        }
        loop {
            let pending = resolution.pending();
            if pending.is_empty() {
                return resolution.outcomes();
            }
            for index in pending {
                let Some(event) = batch.get(index) else { continue };
                if !self.settle(&mut resolution, index, event) {
                    let sequence = self.push(event.clone(), now);
                    resolution.settle(index, AppendOutcome::Stored(Position::new(self.number, sequence)));
                }
            }
        }
    }

    /// Settles an event whose id the log knows. Returns whether the log knows it.
    fn settle(&self, resolution: &mut Resolution<'_>, index: usize, event: &Event) -> bool {
        let Some(state) = self.locate(event.id()) else { return false };
        let stored = match state {
            IdState::Stored(sequence) => self.log.get(&sequence).map(|logged| logged.event.json()),
            IdState::Erased => None,
        };
        let outcome = known_outcome(event, state, self.number, stored);
        outcome.map(|outcome| resolution.settle(index, outcome)).is_some()
    }

    /// Appends an event to the end of the log. Returns its sequence.
    fn push(&mut self, event: Event, now: Timestamp) -> u64 {
        self.head += 1;
        self.last_stored_at = self.last_stored_at.max(now);
        self.bytes += event.size_bytes() as u64;
        self.index.insert(self.head, &event);
        let logged = Logged {
            event,
            stored_at: self.last_stored_at,
            replay_count: 0,
            last_replay_at: None,
            damage: None,
        };
        self.log.insert(self.head, logged);
        self.head
    }

    /// Removes events from the log and from every index. Returns their number and their bytes.
    pub(crate) fn remove(&mut self, removal: &Removal<'_>) -> (u64, u64) {
        let (mut events, mut bytes) = (0, 0);
        for sequence in removal.entries.iter().map(sequence_of) {
            let Some(Logged { event, .. }) = self.log.remove(&sequence) else { continue };
            self.index.remove(sequence, &event);
            events += 1;
            bytes += event.size_bytes() as u64;
            match removal.kind {
                RemovalKind::Erase => drop(self.tombstones.insert(event.id().to_owned())),
                RemovalKind::Oldest | RemovalKind::Among => {
                    self.trimmed_through = self.trimmed_through.max(sequence);
                }
            }
        }
        self.bytes -= bytes;
        (events, bytes)
    }

    pub(crate) fn count_replay(&mut self, sequences: &[u64], at: Timestamp) {
        let each_once: BTreeSet<u64> = sequences.iter().copied().collect();
        for sequence in each_once {
            if let Some(logged) = self.log.get_mut(&sequence) {
                logged.replay_count = logged.replay_count.saturating_add(1);
                logged.last_replay_at = Some(at);
            }
        }
    }
}
