//! Where each row lies, and how values are encoded: as JSON, as decimal numbers, or, for events, as bytes.

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

/// Keys and values, as a range gives them.
pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Counters of a partition.
pub(crate) const REMOVALS: &str = "removals";
pub(crate) const HOLDS: &str = "holds";
pub(crate) const LEASES: &str = "leases";
pub(crate) const SCHEDULED: &str = "scheduled";
pub(crate) const SCHEMAS: &str = "schemas";
pub(crate) const STATS: &str = "stats";
/// How many entries the audit has.
pub(crate) const AUDIT: &str = "audit";
/// Changes of the tokens.
pub(crate) const TOKENS: &str = "tokens";

pub(crate) fn counter(name: &str) -> RowId {
    RowId::of(Kind::Counter, key(&[Text(name)]))
}

/// How often something of a group was redriven: a deletion of the group notices redrives that it did not read.
pub(crate) fn redrives(group: &str) -> RowId {
    RowId::of(Kind::Counter, key(&[Text("redrives"), Text(group)]))
}

/// A row that is named by a text.
pub(crate) fn named(kind: Kind, name: &str) -> RowId {
    RowId::of(kind, key(&[Text(name)]))
}

/// The part of a kind that belongs to a text: a group, or a replay.
pub(crate) fn of(kind: Kind, owner: &str) -> Space {
    Space::within(kind, key(&[Text(owner)]))
}

/// A row of a group, by segment.
pub(crate) fn by_segment(kind: Kind, group: &str, segment: u16) -> RowId {
    of(kind, group).into_row(segment_key(segment))
}

/// The key of a row by segment.
pub(crate) fn segment_key(segment: u16) -> Vec<u8> {
    key(&[Number(segment.into())])
}

/// The segment in the key of [`by_segment`].
pub(crate) fn segment_in(key: &[u8]) -> Result<u16, StorageFailure> {
    let number = KeyReader::new(key).number().and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| corrupt("the key of a segment's row"))
}

/// The part of a kind that belongs to a segment.
pub(crate) fn of_segment(kind: Kind, group: &str, segment: u16) -> Space {
    Space::within(kind, key(&[Text(group), Number(segment.into())]))
}

pub(crate) fn blocked(group: &str, segment: u16, of: &Key) -> RowId {
    of_segment(Kind::Blocked, group, segment).into_row(key(&[Text(&of.kind), Text(&of.id)]))
}

/// A batch, or its progress, in a segment's lane.
pub(crate) fn lane(kind: Kind, group: &str, segment: u16, place: u64) -> RowId {
    of_segment(kind, group, segment).into_row(key(&[Number(place)]))
}

/// The number that a key is, or begins with.
pub(crate) fn number_in(key: &[u8]) -> Result<u64, StorageFailure> {
    KeyReader::new(key).number().ok_or_else(|| corrupt("a key that begins with a number"))
}

/// A consumer of a group.
pub(crate) fn consumer(group: &str, name: &str) -> RowId {
    of(Kind::Consumer, group).into_row(key(&[Text(name)]))
}

/// That a segment of a group's incarnation has had a batch of a replay.
pub(crate) fn replay_batch(replay: &str, batch: u64, group: &str, segment: u16, incarnation: &str) -> RowId {
    let parts = [Number(batch), Text(group), Number(segment.into()), Text(incarnation)];
    of(Kind::ReplayBatch, replay).into_row(key(&parts))
}

/// The result of a replay's batch in a segment.
pub(crate) fn replay_result(replay: &str, batch: u64, group: &str, segment: u16) -> RowId {
    of(Kind::ReplayResult, replay).into_row(key(&[Number(batch), Text(group), Number(segment.into())]))
}

/// A number as a key: before every key that begins with a higher one.
pub(crate) fn number_key(number: u64) -> Vec<u8> {
    key(&[Number(number)])
}

/// The place of something in an index by time: when it was made, then its id.
pub(crate) fn by_time(kind: Kind, at: Timestamp, id: &str) -> RowId {
    RowId::of(kind, time_key(at, id))
}

pub(crate) fn time_key(at: Timestamp, id: &str) -> Vec<u8> {
    key(&[Time(at), Text(id)])
}

/// When and what, in a key of [`time_key`].
pub(crate) fn time_and_id(key: &[u8]) -> Result<(Timestamp, String), StorageFailure> {
    let mut reader = KeyReader::new(key);
    reader.time().zip(reader.text()).ok_or_else(|| corrupt("a key of an index by time"))
}

/// The ids in the keys of an index by time.
pub(crate) fn ids_in<'k>(keys: impl IntoIterator<Item = &'k Vec<u8>>) -> Result<Vec<String>, StorageFailure> {
    keys.into_iter().map(|key| Ok(time_and_id(key)?.1)).collect()
}

/// The index of a group's dead letters in a state.
pub(crate) fn letters_in(group: &str, state: DeadLetterState) -> Space {
    Space::within(Kind::DeadLetterState, key(&[Text(group), Text(state_name(state))]))
}

/// Every state of a dead letter, in the order of counts.
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

/// The id of the dead letter of a group and sequence.
pub(crate) fn letter_at(group: &str, sequence: u64) -> RowId {
    of(Kind::DeadLetterAt, group).into_row(key(&[Number(sequence)]))
}

/// Adds to what removes a copy of an event on request that its id is refused from then on, if it is still known as it was.
pub(crate) fn refuse_id(transaction: &mut Transaction, id: &str, known: Option<IdState>) {
    transaction.erases = true;
    transaction.guard(Guard::Id(id.to_owned(), known));
    if known.is_none() {
        transaction.write(Write::Tombstone(id.to_owned()));
    }
}

/// The text that a key is, or begins with.
pub(crate) fn text_in(key: &[u8]) -> Result<String, StorageFailure> {
    KeyReader::new(key).text().ok_or_else(|| corrupt("a key that begins with a text"))
}

/// A value as JSON.
pub(crate) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, StorageFailure> {
    serde_json::to_vec(value).map_err(|error| StorageFailure::Other(error.to_string()))
}

/// A value from JSON. `what` names it where it cannot be read.
pub(crate) fn from_json<T: DeserializeOwned>(value: &[u8], what: impl Display) -> Result<T, StorageFailure> {
    serde_json::from_slice(value)
        .map_err(|error| StorageFailure::Corrupt(format!("{what} cannot be read: {error}")))
}

/// What is read of the keys and values of rows.
pub(crate) fn read_rows<K, V, All: FromIterator<(K, V)>>(
    rows: Rows,
    key: impl Fn(&[u8]) -> Result<K, StorageFailure>,
    value: impl Fn(&[u8]) -> Result<V, StorageFailure>,
) -> Result<All, StorageFailure> {
    rows.into_iter().map(|(own_key, own_value)| Ok((key(&own_key)?, value(&own_value)?))).collect()
}

/// What is read of the values of rows.
pub(crate) fn read_values<V>(
    rows: Rows,
    value: impl Fn(&[u8]) -> Result<V, StorageFailure>,
) -> Result<Vec<V>, StorageFailure> {
    rows.into_iter().map(|(_, own)| value(&own)).collect()
}

/// The value of a key, where rows have it.
pub(crate) fn value_at<'r>(rows: &'r Rows, key: &[u8]) -> Option<&'r [u8]> {
    rows.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_slice())
}

/// A decimal number; 0 where there is no row.
pub(crate) fn number(value: Option<&[u8]>) -> Result<u64, StorageFailure> {
    let Some(value) = value else { return Ok(0) };
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    // What was subtracted twice after a loss counts as nothing.
    number.map(|number| number.max(0) as u64).ok_or_else(|| corrupt("a number"))
}

/// A value as text.
pub(crate) fn text(value: Vec<u8>) -> Result<String, StorageFailure> {
    String::from_utf8(value).map_err(|_| corrupt("a text"))
}

/// An event as bytes: the length of its head, its head, its JSON.
pub(crate) fn event_bytes(event: &Event) -> Vec<u8> {
    let (head, json) = (head::encode(event), event.json());
    let mut bytes = Vec::with_capacity(4 + head.len() + json.len());
    bytes.extend_from_slice(&(head.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(json.as_bytes());
    bytes
}

/// An event from bytes. `what` names it where it cannot be read.
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
