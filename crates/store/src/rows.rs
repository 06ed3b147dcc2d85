//! The place of each row, and the encoding of its value: JSON, decimal number, or bytes for events.

use std::fmt::Display;

use domain::{
    DeadLetterState, Event, StorageFailure,
    event::head,
    group::Key,
    ports::engine::{
        Guard, IdState, RowId, Space, SpaceKind, Transaction, Write,
        rows::{KeyReader, Part, key},
    },
};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use Part::{Number, Text, Time};
use SpaceKind as Kind;

/// Keys and values, as a range read returns them.
pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The names of the counters of a partition.
pub(crate) const REMOVALS: &str = "removals";
pub(crate) const HOLDS: &str = "holds";
pub(crate) const LEASES: &str = "leases";
pub(crate) const SCHEDULED: &str = "scheduled";
pub(crate) const SCHEMAS: &str = "schemas";
pub(crate) const STATS: &str = "stats";
/// The number of audit entries.
pub(crate) const AUDIT: &str = "audit";
/// The number of changes to the tokens.
pub(crate) const TOKENS: &str = "tokens";

pub(crate) fn counter(name: &str) -> RowId {
    RowId::of(Kind::Counter, key(&[Text(name)]))
}

/// Returns the counter of a group's redrives. The deletion of a group guards it to notice redrives that it did not
/// read.
pub(crate) fn redrives(group: &str) -> RowId {
    RowId::of(Kind::Counter, key(&[Text("redrives"), Text(group)]))
}

/// Returns the row of a kind that has this text as its key.
pub(crate) fn named(kind: Kind, name: &str) -> RowId {
    RowId::of(kind, key(&[Text(name)]))
}

/// Returns the part of a kind that belongs to a group or a replay.
pub(crate) fn of(kind: Kind, owner: &str) -> Space {
    Space::within(kind, key(&[Text(owner)]))
}

/// Returns the row of a group for one segment.
pub(crate) fn by_segment(kind: Kind, group: &str, segment: u16) -> RowId {
    of(kind, group).into_row(segment_key(segment))
}

/// Returns the key of a row by segment.
pub(crate) fn segment_key(segment: u16) -> Vec<u8> {
    key(&[Number(segment.into())])
}

/// Returns the segment in a key of [`by_segment`].
pub(crate) fn segment_in(key: &[u8]) -> Result<u16, StorageFailure> {
    let number = KeyReader::new(key).number().and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| corrupt("the key of a segment's row"))
}

/// Returns the part of a kind that belongs to a segment.
pub(crate) fn of_segment(kind: Kind, group: &str, segment: u16) -> Space {
    Space::within(kind, key(&[Text(group), Number(segment.into())]))
}

pub(crate) fn blocked(group: &str, segment: u16, of: &Key) -> RowId {
    of_segment(Kind::Blocked, group, segment).into_row(key(&[Text(&of.kind), Text(&of.id)]))
}

/// Returns the row of a batch, or of its progress, in a segment's lane (its replay queue).
pub(crate) fn lane(kind: Kind, group: &str, segment: u16, place: u64) -> RowId {
    of_segment(kind, group, segment).into_row(key(&[Number(place)]))
}

/// Returns the number that a key begins with.
pub(crate) fn number_in(key: &[u8]) -> Result<u64, StorageFailure> {
    KeyReader::new(key).number().ok_or_else(|| corrupt("a key that begins with a number"))
}

/// Returns the row of a consumer of a group.
pub(crate) fn consumer(group: &str, name: &str) -> RowId {
    of(Kind::Consumer, group).into_row(key(&[Text(name)]))
}

/// Returns the row which records that a segment received a batch of a replay. The key names the group's incarnation.
pub(crate) fn replay_batch(replay: &str, batch: u64, group: &str, segment: u16, incarnation: &str) -> RowId {
    let parts = [Number(batch), Text(group), Number(segment.into()), Text(incarnation)];
    of(Kind::ReplayBatch, replay).into_row(key(&parts))
}

/// Returns the row with the result of a replay's batch in a segment.
pub(crate) fn replay_result(replay: &str, batch: u64, group: &str, segment: u16) -> RowId {
    of(Kind::ReplayResult, replay).into_row(key(&[Number(batch), Text(group), Number(segment.into())]))
}

/// Returns the key of a number. Keys sort as their numbers do.
pub(crate) fn number_key(number: u64) -> Vec<u8> {
    key(&[Number(number)])
}

/// Returns the row of an item in an index by time. The key is the creation time, then the id.
pub(crate) fn by_time(kind: Kind, at: Timestamp, id: &str) -> RowId {
    RowId::of(kind, time_key(at, id))
}

pub(crate) fn time_key(at: Timestamp, id: &str) -> Vec<u8> {
    key(&[Time(at), Text(id)])
}

/// Returns the time and the id in a key of [`time_key`].
pub(crate) fn time_and_id(key: &[u8]) -> Result<(Timestamp, String), StorageFailure> {
    let mut reader = KeyReader::new(key);
    reader.time().zip(reader.text()).ok_or_else(|| corrupt("a key of an index by time"))
}

/// Returns the ids in the keys of an index by time.
pub(crate) fn ids_in<'k>(keys: impl IntoIterator<Item = &'k Vec<u8>>) -> Result<Vec<String>, StorageFailure> {
    keys.into_iter().map(|key| Ok(time_and_id(key)?.1)).collect()
}

/// Returns the index of a group's dead letters in one state.
pub(crate) fn letters_in(group: &str, state: DeadLetterState) -> Space {
    Space::within(Kind::DeadLetterState, key(&[Text(group), Text(state_name(state))]))
}

/// Every state of a dead letter, in the order of the counts.
pub(crate) const LETTER_STATES: [DeadLetterState; 4] =
    [DeadLetterState::Open, DeadLetterState::Redriving, DeadLetterState::Handled, DeadLetterState::Discarded];

pub(crate) fn state_name(state: DeadLetterState) -> &'static str {
    match state {
        DeadLetterState::Open => "open",
        DeadLetterState::Redriving => "redriving",
        DeadLetterState::Handled => "handled",
        DeadLetterState::Discarded => "discarded",
    }
}

/// Returns the row with the dead letter id of a group and a sequence.
pub(crate) fn letter_at(group: &str, sequence: u64) -> RowId {
    of(Kind::DeadLetterAt, group).into_row(key(&[Number(sequence)]))
}

/// Extends a transaction that erases a copy of an event, so that the store refuses the event's id from then on. The
/// transaction is refused if the state of the id has changed.
pub(crate) fn refuse_id(transaction: &mut Transaction, id: &str, known: Option<IdState>) {
    transaction.erases = true;
    transaction.guard(Guard::Id(id.to_owned(), known));
    if known.is_none() {
        transaction.write(Write::Tombstone(id.to_owned()));
    }
}

/// Returns the text that a key begins with.
pub(crate) fn text_in(key: &[u8]) -> Result<String, StorageFailure> {
    KeyReader::new(key).text().ok_or_else(|| corrupt("a key that begins with a text"))
}

/// Encodes a value as JSON.
pub(crate) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, StorageFailure> {
    serde_json::to_vec(value).map_err(|error| StorageFailure::Other(error.to_string()))
}

/// Decodes a value from JSON. `what` names the value in the error.
pub(crate) fn from_json<T: DeserializeOwned>(value: &[u8], what: impl Display) -> Result<T, StorageFailure> {
    serde_json::from_slice(value)
        .map_err(|error| StorageFailure::Corrupt(format!("{what} cannot be read: {error}")))
}

/// Decodes the keys and values of rows.
pub(crate) fn read_rows<K, V, All: FromIterator<(K, V)>>(
    rows: Rows,
    key: impl Fn(&[u8]) -> Result<K, StorageFailure>,
    value: impl Fn(&[u8]) -> Result<V, StorageFailure>,
) -> Result<All, StorageFailure> {
    rows.into_iter().map(|(own_key, own_value)| Ok((key(&own_key)?, value(&own_value)?))).collect()
}

/// Decodes the values of rows.
pub(crate) fn read_values<V>(
    rows: Rows,
    value: impl Fn(&[u8]) -> Result<V, StorageFailure>,
) -> Result<Vec<V>, StorageFailure> {
    rows.into_iter().map(|(_, own)| value(&own)).collect()
}

/// Returns the value of the row with this key, if the rows contain one.
pub(crate) fn value_at<'r>(rows: &'r Rows, key: &[u8]) -> Option<&'r [u8]> {
    rows.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_slice())
}

/// Decodes a decimal number. An absent row counts as 0.
pub(crate) fn number(value: Option<&[u8]>) -> Result<u64, StorageFailure> {
    let Some(value) = value else { return Ok(0) };
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    // A counter can fall below zero when a subtraction is repeated after a loss. Such a counter counts as 0.
    number.map(|number| number.max(0) as u64).ok_or_else(|| corrupt("a number"))
}

/// Decodes a text.
pub(crate) fn text(value: Vec<u8>) -> Result<String, StorageFailure> {
    String::from_utf8(value).map_err(|_| corrupt("a text"))
}

/// Encodes an event as bytes: the length of its head (4 bytes, big-endian), its head, its JSON.
pub(crate) fn event_bytes(event: &Event) -> Vec<u8> {
    let (head, json) = (head::encode(event), event.json());
    let mut bytes = Vec::with_capacity(4 + head.len() + json.len());
    bytes.extend_from_slice(&(head.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(json.as_bytes());
    bytes
}

/// Decodes an event. `what` names the event in the error.
pub(crate) fn event(bytes: &[u8], what: impl Display) -> Result<Event, StorageFailure> {
    let read = || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (head, json) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        head::decode(std::str::from_utf8(json).ok()?, head).ok()
    };
    read().ok_or_else(|| corrupt(what))
}

pub(crate) fn corrupt(what: impl Display) -> StorageFailure {
    StorageFailure::Corrupt(format!("{what} cannot be read"))
}
