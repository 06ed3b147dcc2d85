//! The model: a list of events, with the simplest interpretation of the ports' laws.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{
    Checkpoint, Cursor, Position, StoredEvent,
    ports::{AppendOutcome, Atomicity, Trimmed},
};
use jiff::Timestamp;
use serde_json::Value;

use super::wanted::{Wanted, accepts_type, names};

/// An event in the model.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) position: Position,
    pub(super) json: String,
    value: Value,
    stored_at: Timestamp,
    replay_count: u32,
    last_replay_at: Option<Timestamp>,
}

/// The values of an event that a reader sees, for comparisons.
pub(super) type Seen = (Position, String, Timestamp, u32, Option<Timestamp>);

pub(super) fn seen(stored: &StoredEvent) -> Seen {
    let json = stored.event.json().to_owned();
    (stored.position, json, stored.stored_at, stored.replay_count, stored.last_replay_at)
}

impl Kept {
    fn seen(&self) -> Seen {
        (self.position, self.json.clone(), self.stored_at, self.replay_count, self.last_replay_at)
    }

    fn id(&self) -> &str {
        self.value["id"].as_str().unwrap()
    }
}

/// A retention rule of the model.
#[derive(Debug, Clone, Default)]
pub(super) struct Rule {
    pub(super) types: Vec<String>,
    pub(super) max_age: Option<Duration>,
    pub(super) max_events: Option<u64>,
    pub(super) max_bytes: Option<u64>,
    pub(super) through: Option<Cursor>,
    pub(super) holds: Vec<(String, Cursor)>,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Events in log order: by stored time, then by partition.
    pub(super) log: Vec<Kept>,
    erased: BTreeSet<String>,
    /// Newest sequence of each partition, with its stored time.
    newest: BTreeMap<u16, (u64, Timestamp)>,
    /// Last trimmed sequence of each partition. A partition without trimmed events is absent.
    pub(super) trimmed_through: BTreeMap<u16, u64>,
    pub(super) checkpoints: Vec<Checkpoint>,
}

impl Oracle {
    /// Checks the outcomes of an append, and adopts the positions that the store chose.
    pub(super) fn append(
        &mut self,
        batch: &[String],
        atomicity: Atomicity,
        outcomes: &[AppendOutcome],
        now: Timestamp,
    ) -> Result<(), String> {
        let values: Vec<Value> = batch.iter().map(|json| serde_json::from_str(json).unwrap()).collect();
        if outcomes.len() != batch.len() {
            return Err(format!("{} outcomes for {} events", outcomes.len(), batch.len()));
        }
        let refused = self.refuses(&values);
        let nothing = atomicity == Atomicity::AllOrNothing && refused;
        let known = self.log.len();
        for ((json, value), outcome) in batch.iter().zip(&values).zip(outcomes) {
            let id = value["id"].as_str().unwrap();
            let at = self.log.iter().position(|kept| kept.id() == id);
            let ok = match (outcome, at.map(|at| (at < known, &self.log[at]))) {
                (AppendOutcome::Erased, None) => self.erased.contains(id),
                // An earlier event of a batch that is not stored has no position to compare.
                (AppendOutcome::Conflict(position), Some((before, kept))) => {
                    kept.value != *value && (nothing && !before || kept.position == *position)
                }
                (AppendOutcome::AlreadyStored(position), Some((before, kept))) => {
                    kept.value == *value && kept.position == *position && (before || !nothing)
                }
                (AppendOutcome::NotStored, Some((before, kept))) => {
                    nothing && !before && kept.value == *value
                }
                (AppendOutcome::NotStored, None) => nothing && !self.erased.contains(id),
                (AppendOutcome::Stored(position), None) => {
                    !nothing && !self.erased.contains(id) && position.sequence > self.newest_of(*position).0
                }
                _ => false,
            };
            if !ok {
                return Err(format!(
                    "{id:?} was answered {outcome:?}; known: {at:?}; nothing stored: {nothing}"
                ));
            }
            // Events of a batch that is not stored stay in the model until the end of the batch. Repeats in the batch
            // are compared with them.
            if let AppendOutcome::Stored(_) | AppendOutcome::NotStored = outcome
                && at.is_none()
            {
                let position = match outcome {
                    AppendOutcome::Stored(position) => *position,
                    _ => Position::new(0, u64::MAX),
                };
                let stored_at = self.newest_of(position).1.max(now);
                if !nothing {
                    self.newest.insert(position.partition, (position.sequence, stored_at));
                }
                let (json, value) = (json.clone(), value.clone());
                self.log.push(Kept {
                    position,
                    json,
                    value,
                    stored_at,
                    replay_count: 0,
                    last_replay_at: None,
                });
            }
        }
        if nothing {
            self.log.truncate(known);
        }
        self.log.sort_by_key(|kept| (kept.stored_at, kept.position));
        Ok(())
    }

    fn newest_of(&self, position: Position) -> (u64, Timestamp) {
        self.newest.get(&position.partition).copied().unwrap_or((0, Timestamp::MIN))
    }

    /// Returns whether any event of a batch is a conflict or erased.
    fn refuses(&self, batch: &[Value]) -> bool {
        let other = |one: &Value, two: &Value| one["id"] == two["id"] && one != two;
        batch.iter().any(|event| {
            self.erased.contains(event["id"].as_str().unwrap())
                || self.log.iter().any(|kept| other(&kept.value, event))
                || batch.iter().any(|sibling| other(sibling, event))
        })
    }

    /// Returns the events of a read, in log order.
    pub(super) fn read(&self, wanted: &Wanted, until: Option<&Cursor>) -> Vec<Seen> {
        let matches = |kept: &&Kept| {
            until.is_none_or(|until| until.covers(kept.position)) && wanted.accepts(&kept.value)
        };
        self.log.iter().filter(matches).map(Kept::seen).collect()
    }

    pub(super) fn get(&self, ids: &[String]) -> Vec<Seen> {
        let one = |id: &String| self.log.iter().find(|kept| kept.id() == id).map(Kept::seen);
        ids.iter().filter_map(one).collect()
    }

    /// Trims as a complete sequence of steps does. The trim starts at the oldest end of the log. It stops in each
    /// partition at the first event that must stay.
    pub(super) fn trim(&mut self, rule: &Rule, now: Timestamp, dry_run: bool) -> Trimmed {
        let of_rule: Vec<&Kept> =
            self.log.iter().filter(|kept| accepts_type(&rule.types, &kept.value)).collect();
        let mut own: Vec<_> = self.checkpoints.iter().filter(|checkpoint| checkpoint.hold).collect();
        own.sort_by_key(|checkpoint| (checkpoint.created_at, checkpoint.id.clone()));
        let own = own.iter().map(|it| (format!("checkpoint {}", it.name), it.mark.clone()));
        let holds: Vec<(String, Cursor)> = rule.holds.iter().cloned().chain(own).collect();
        let holder = |position: Position| {
            let lowest = holds.iter().min_by_key(|(_, mark)| mark.sequence(position.partition));
            lowest.filter(|(_, mark)| !mark.covers(position)).map(|(holder, _)| holder.clone())
        };
        let (mut left, mut held_by) = (BTreeSet::new(), None);
        let mut gone: Vec<(Position, usize)> = Vec::new();
        for (at, kept) in of_rule.iter().enumerate() {
            if left.contains(&kept.position.partition) {
                continue;
            }
            let from_here_on = &of_rule[at..];
            let bytes: usize = from_here_on.iter().map(|kept| kept.json.len()).sum();
            let too_old = rule.max_age.is_some_and(|age| {
                now.as_nanosecond() - kept.stored_at.as_nanosecond() > age.as_nanos() as i128
            });
            // A held event stays and still exceeds the limit. No later event is removed because of that limit.
            let too_many = held_by.is_none()
                && (rule.max_events.is_some_and(|most| from_here_on.len() as u64 > most)
                    || rule.max_bytes.is_some_and(|most| bytes as u64 > most));
            let passed = rule.through.as_ref().is_some_and(|mark| mark.covers(kept.position));
            if !(too_old || too_many || passed) {
                left.insert(kept.position.partition);
            } else if let Some(holder) = holder(kept.position) {
                left.insert(kept.position.partition);
                held_by.get_or_insert(holder);
            } else {
                gone.push((kept.position, kept.json.len()));
            }
        }
        if !dry_run {
            self.log.retain(|kept| gone.iter().all(|(position, _)| *position != kept.position));
            for (position, _) in &gone {
                let last = self.trimmed_through.entry(position.partition).or_default();
                *last = position.sequence.max(*last);
            }
        }
        Trimmed {
            events: gone.len() as u64,
            bytes: gone.iter().map(|(_, bytes)| *bytes as u64).sum(),
            more: false,
            held_by,
        }
    }

    /// Erases an entity. Returns the number of removed events and their bytes.
    pub(super) fn erase(&mut self, kind: &str, id: &str) -> (u64, u64) {
        let (gone, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.log).into_iter().partition(|kept| names(&kept.value, kind) == Some(id));
        self.log = left;
        self.erased.extend(gone.iter().map(|kept| kept.id().to_owned()));
        // A checkpoint drops the id of an erased event, but keeps its mark.
        for checkpoint in &mut self.checkpoints {
            if self.erased.contains(&checkpoint.last_processed_event_id) {
                checkpoint.last_processed_event_id.clear();
            }
        }
        (gone.len() as u64, gone.iter().map(|kept| kept.json.len() as u64).sum())
    }

    pub(super) fn record_replayed(&mut self, positions: &[Position], at: Timestamp) {
        for kept in self.log.iter_mut().filter(|kept| positions.contains(&kept.position)) {
            kept.replay_count += 1;
            kept.last_replay_at = Some(at);
        }
    }

    /// Saves a checkpoint. Returns whether it was saved.
    pub(super) fn save_checkpoint(&mut self, checkpoint: Checkpoint, replace: bool) -> bool {
        let taken = self.checkpoints.iter().any(|existing| existing.name == checkpoint.name);
        if taken && !replace {
            return false;
        }
        self.checkpoints.retain(|existing| existing.name != checkpoint.name);
        self.checkpoints.push(checkpoint);
        true
    }

    pub(super) fn delete_checkpoint(&mut self, name: &str) -> bool {
        let before = self.checkpoints.len();
        self.checkpoints.retain(|existing| existing.name != name);
        self.checkpoints.len() < before
    }

    /// Returns the number of events and their bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.log.len() as u64, self.log.iter().map(|kept| kept.json.len() as u64).sum())
    }
}
