//! Where dead letters are kept, and how their rows read.
//!
//! A letter is a record as JSON and, beside it, its event, which never changes: a change of state writes the record alone.
//! All letters stand in one index in the order of the list, and those of a group and state in one of their own, so that they
//! are counted without being read. Whoever adds, changes or removes a letter does it by [`Change`], which keeps all of that.

use domain::{
    DeadLetter, DeadLetterState, Event, Position, StorageFailure, dead_letter::Failure, event::head,
};
use redis::{FromRedisValue, Pipeline, Value};
use serde::{Deserialize, Serialize};

use crate::{
    failure::shape,
    group_rows::{answers, from_json, to_json},
    keys::Keys,
    state::{from_micros, micros},
    store::RedisStore,
    write::Write,
};

/// The states, each as keys name it, in the order in which counts are given.
pub(crate) const STATES: [(DeadLetterState, &str); 4] = [
    (DeadLetterState::Open, "open"),
    (DeadLetterState::Redriving, "redriving"),
    (DeadLetterState::Handled, "handled"),
    (DeadLetterState::Discarded, "discarded"),
];

/// Records as JSON, by id.
pub(crate) fn records_key(keys: &Keys) -> String {
    keys.named("dl")
}

/// Events by the id of their letter: the length of the head as four bytes, the head, the JSON.
pub(crate) fn events_key(keys: &Keys) -> String {
    keys.named("dl:events")
}

/// Ids by the place of the event and the group: `PARTITION:SEQUENCE:GROUP`.
pub(crate) fn at_key(keys: &Keys) -> String {
    keys.named("dl:at")
}

/// Every letter, by [`member`]; all have the score 0.
pub(crate) fn order_key(keys: &Keys) -> String {
    keys.named("dl:order")
}

/// Every group that ever had a letter.
pub(crate) fn groups_key(keys: &Keys) -> String {
    keys.named("dl:groups")
}

/// The letters of a group in a state, as [`order_key`].
pub(crate) fn state_key(keys: &Keys, group: &str, state: DeadLetterState) -> String {
    keys.with_text(&format!("dl:in:{}", state_name(state)), group)
}

/// A state as keys name it.
pub(crate) fn state_name(state: DeadLetterState) -> &'static str {
    STATES.iter().find(|(known, _)| *known == state).map(|(_, name)| *name).unwrap_or_default()
}

/// The letters of a group that are on their way.
pub(crate) fn redriving_key(keys: &Keys, group: &str) -> String {
    state_key(keys, group, DeadLetterState::Redriving)
}

/// The field of an event's place in [`at_key`].
pub(crate) fn at_field(group: &str, position: Position) -> String {
    format!("{}:{}:{group}", position.partition, position.sequence)
}

/// The name of a letter in an index: when it was made, so that names sort as the list does, then its id.
pub(crate) fn member(created: i64, id: &str) -> String {
    format!("{:016x}:{id}", (created as u64) ^ (1 << 63))
}

/// When a letter was made, in microseconds, and its id.
pub(crate) fn of_member(member: &str) -> Option<(i64, &str)> {
    let (created, id) = member.split_once(':')?;
    Some(((u64::from_str_radix(created, 16).ok()? ^ (1 << 63)) as i64, id))
}

/// The record of a letter.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) group: String,
    partition: u16,
    sequence: u64,
    pub(crate) state: DeadLetterState,
    attempts: u32,
    history: Vec<Failure>,
    pub(crate) fingerprint: String,
    replay_id: Option<String>,
    parked: bool,
    /// In microseconds.
    pub(crate) created: i64,
    /// In microseconds.
    pub(crate) updated: i64,
    reason: Option<String>,
}

impl Row {
    fn of(letter: &DeadLetter) -> Self {
        Self {
            group: letter.group.clone(),
            partition: letter.position.partition,
            sequence: letter.position.sequence,
            state: letter.state,
            attempts: letter.attempts,
            history: letter.history.clone(),
            fingerprint: letter.fingerprint.clone(),
            replay_id: letter.replay_id.clone(),
            parked: letter.parked,
            created: micros(letter.created_at),
            updated: micros(letter.updated_at),
            reason: letter.reason.clone(),
        }
    }

    /// Where its event is, or was.
    pub(crate) fn position(&self) -> Position {
        Position::new(self.partition, self.sequence)
    }

    /// The name of the letter of this id in an index.
    pub(crate) fn member(&self, id: &str) -> String {
        member(self.created, id)
    }

    /// As people see it.
    pub(crate) fn letter(self, id: String, event: Event) -> DeadLetter {
        DeadLetter {
            id,
            group: self.group,
            position: Position::new(self.partition, self.sequence),
            event,
            state: self.state,
            attempts: self.attempts,
            history: self.history,
            fingerprint: self.fingerprint,
            replay_id: self.replay_id,
            parked: self.parked,
            created_at: from_micros(self.created),
            updated_at: from_micros(self.updated),
            reason: self.reason,
        }
    }
}

/// A record as it was read, to guard a change with.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) row: Row,
    text: Vec<u8>,
}

impl Record {
    pub(crate) fn read(id: &str, text: Vec<u8>) -> Result<Self, StorageFailure> {
        Ok(Self { row: from_json(&text, || format!("the dead letter {id}"))?, text })
    }
}

/// A letter as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) letter: DeadLetter,
    record: Vec<u8>,
}

/// An event as [`events_key`] keeps it.
fn event_text(event: &Event) -> Vec<u8> {
    let head = head::encode(event);
    let mut text = Vec::with_capacity(4 + head.len() + event.json().len());
    text.extend_from_slice(&(head.len() as u32).to_be_bytes());
    text.extend_from_slice(&head);
    text.extend_from_slice(event.json().as_bytes());
    text
}

/// The event of a letter.
pub(crate) fn event(id: &str, text: &[u8]) -> Result<Event, StorageFailure> {
    let damaged =
        |what: String| StorageFailure::Corrupt(format!("the event of the dead letter {id}: {what}"));
    let cut = || damaged("it is cut short".to_owned());
    let (length, rest) = text.split_first_chunk::<4>().ok_or_else(cut)?;
    let (head, json) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(cut)?;
    let json = std::str::from_utf8(json).map_err(|error| damaged(error.to_string()))?;
    head::decode(json, head).map_err(|error| damaged(error.to_string()))
}

/// Changes of letters on their way into a guarded write.
pub(crate) struct Change<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) write: &'a mut Write,
}

impl Change<'_> {
    /// Adds a letter, if its group has none for the position.
    pub(crate) fn add(&mut self, letter: &DeadLetter) -> Result<(), StorageFailure> {
        let (keys, id) = (self.keys, &letter.id);
        let member = member(micros(letter.created_at), id);
        let at = at_field(&letter.group, letter.position);
        self.write.if_absent(&at_key(keys), &at).hset(&at_key(keys), &at, id);
        self.write.hset(&records_key(keys), id, to_json(&Row::of(letter))?);
        self.write.hset(&events_key(keys), id, event_text(&letter.event));
        self.write.command("ZADD", &order_key(keys), (0, &member));
        self.write.command("ZADD", &state_key(keys, &letter.group, letter.state), (0, &member));
        self.write.command("SADD", &groups_key(keys), &letter.group);
        Ok(())
    }

    /// Only if a letter is as it was read.
    pub(crate) fn if_still(&mut self, id: &str, record: &Record) {
        self.write.if_is(&records_key(self.keys), id, &record.text);
    }

    /// Puts another record in place of one, if that is as it was read.
    pub(crate) fn turn(&mut self, id: &str, before: &Record, after: &Row) -> Result<(), StorageFailure> {
        let keys = self.keys;
        self.if_still(id, before);
        self.write.hset(&records_key(keys), id, to_json(after)?);
        if before.row.state != after.state {
            let member = member(before.row.created, id);
            self.write.command("ZREM", &state_key(keys, &before.row.group, before.row.state), &member);
            self.write.command("ZADD", &state_key(keys, &after.group, after.state), (0, &member));
        }
        Ok(())
    }

    /// As [`Change::turn`], for a whole letter.
    pub(crate) fn put(&mut self, before: &Stored, after: &DeadLetter) -> Result<(), StorageFailure> {
        let record = Record { row: Row::of(&before.letter), text: before.record.clone() };
        self.turn(&after.id, &record, &Row::of(after))
    }

    /// Removes a letter, if it is as it was read.
    pub(crate) fn remove(&mut self, id: &str, record: &Record) {
        let (keys, row) = (self.keys, &record.row);
        self.if_still(id, record);
        let member = member(row.created, id);
        let position = row.position();
        self.write.hdel(&records_key(keys), id).hdel(&events_key(keys), id);
        self.write.hdel(&at_key(keys), at_field(&row.group, position));
        self.write.command("ZREM", &order_key(keys), &member);
        self.write.command("ZREM", &state_key(keys, &row.group, row.state), &member);
    }
}

impl RedisStore {
    /// Letters by their ids, as they are; none where there is no such.
    pub(crate) async fn stored_letters(&self, ids: &[String]) -> Result<Vec<Option<Stored>>, StorageFailure> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("HMGET").arg(records_key(self.keys())).arg(ids);
        pipeline.cmd("HMGET").arg(events_key(self.keys())).arg(ids);
        let [records, events] = answers(self.link().read_all(&pipeline).await?)?;
        let (records, events) = (texts(records)?, texts(events)?);
        let mut stored = Vec::with_capacity(ids.len());
        for ((id, record), text) in ids.iter().zip(records).zip(events) {
            // What is removed between the two answers is gone.
            stored.push(match (record, text) {
                (Some(record), Some(text)) => {
                    let row: Row = from_json(&record, || format!("the dead letter {id}"))?;
                    Some(Stored { letter: row.letter(id.clone(), event(id, &text)?), record })
                }
                _ => None,
            });
        }
        Ok(stored)
    }

    /// The records of letters, without their events.
    pub(crate) async fn letter_records(&self, ids: &[String]) -> Result<Vec<Option<Record>>, StorageFailure> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("HMGET");
        command.arg(records_key(self.keys())).arg(ids);
        let found = texts(self.link().read(&command).await?)?;
        ids.iter().zip(found).map(|(id, text)| text.map(|text| Record::read(id, text)).transpose()).collect()
    }
}

/// The texts of an `HMGET`.
pub(crate) fn texts(answer: Value) -> Result<Vec<Option<Vec<u8>>>, StorageFailure> {
    FromRedisValue::from_redis_value(answer).map_err(|_| shape("dead letters"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]
mod tests {
    use super::*;

    #[test]
    fn names_in_an_index_sort_as_the_list_does() {
        let mut places = vec![(i64::MIN, "b"), (-1, "a"), (0, "a:c"), (0, "b"), (17, "a"), (i64::MAX, "")];
        let members: Vec<String> = places.iter().map(|(created, id)| member(*created, id)).collect();
        assert!(members.is_sorted(), "{members:?}");
        places.reverse();
        for (place, member) in places.into_iter().rev().zip(&members) {
            assert_eq!(of_member(member).unwrap(), place);
        }
    }
}
