//! Entries of the log, decoded into events, with their replay counts.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use domain::{
    Event, StorageFailure, StoredEvent,
    event::head,
    ports::engine::{self, DamagedEvent},
    time::from_unix_micros,
};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use redis::{Pipeline, ToRedisArgs, Value, cmd};

use crate::{
    client::{failure::unexpected_reply, reply::text, tap::bytes_of},
    engine::{
        keys::{CHUNK, Keys, chunk_of},
        partition::Partition,
    },
    log::{
        compression::take_head,
        raw::{self, RawEntry},
    },
};

/// How many entries are fetched concurrently, and how many of them each piece has.
const ENTRIES_AT_ONCE: usize = 1_000;
const ENTRIES_OF_A_PIECE: usize = 250;

/// An entry of the log.
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    /// Microseconds since the Unix epoch.
    pub(crate) stored_at: i64,
    /// The length of its text in bytes, even if the text is damaged.
    pub(crate) bytes: u64,
    pub(crate) event: Result<Event, String>,
    /// How many times the event was replayed, and the time of the last replay. None if there is none, or if it was not
    /// read.
    pub(crate) replays: Option<(u32, Timestamp)>,
}

impl Entry {
    /// Returns the entry in the form of the port. `indexed` says whether an index led to it.
    pub(crate) fn given(self, partition: &Partition, indexed: bool) -> engine::Entry {
        let (position, stored_at) = (partition.position(self.sequence), from_unix_micros(self.stored_at));
        match self.event {
            Ok(event) => Ok(StoredEvent {
                event,
                position,
                stored_at,
                replay_count: self.replays.map_or(0, |(count, _)| count),
                last_replay_at: self.replays.map(|(_, at)| at),
            }),
            Err(detail) => {
                Err(DamagedEvent { sequence: self.sequence, stored_at, bytes: self.bytes, detail, indexed })
            }
        }
    }
}

/// Parses the answer of an `XRANGE` or `XREVRANGE`.
pub(crate) fn entries(answer: Value) -> Result<Vec<Entry>, StorageFailure> {
    let mut found = Vec::new();
    entries_into(answer, &mut found)?;
    Ok(found)
}

fn entries_into(answer: Value, found: &mut Vec<Entry>) -> Result<(), StorageFailure> {
    if let Some(bytes) = bytes_of(&answer) {
        let entries = raw::entries(bytes)?;
        found.reserve(entries.len());
        for RawEntry { id, event, head } in entries {
            found.push(made(id, event.to_vec(), head.map(Cow::Borrowed))?);
        }
        return Ok(());
    }
    let Value::Array(entries) = answer else { return Err(unexpected_reply("entries of the log")) };
    found.reserve(entries.len());
    for value in entries {
        found.push(entry(value)?);
    }
    Ok(())
}

/// Parses one entry of an `XRANGE`.
pub(crate) fn entry(value: Value) -> Result<Entry, StorageFailure> {
    let Value::Array(parts) = value else { return Err(unexpected_reply("an entry of the log")) };
    let mut parts = parts.into_iter();
    let (Some(Value::BulkString(id)), Some(Value::Array(fields))) = (parts.next(), parts.next()) else {
        return Err(unexpected_reply("an entry of the log"));
    };
    let (mut json, mut head) = (None, None);
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match (name, value) {
            (Value::BulkString(name), Value::BulkString(bytes)) if name == b"event" => json = Some(bytes),
            (Value::BulkString(name), Value::BulkString(bytes)) if name == b"head" => head = Some(bytes),
            _ => {}
        }
    }
    made(&id, json.unwrap_or_default(), head.map(Cow::Owned))
}

/// Makes an entry from its id and its fields.
fn made(id: &[u8], mut json: Vec<u8>, mut head: Option<Cow<'_, [u8]>>) -> Result<Entry, StorageFailure> {
    let id = std::str::from_utf8(id).ok().and_then(|id| id.split_once('-'));
    let id = id.and_then(|(sequence, stored_at)| Some((sequence.parse().ok()?, stored_at.parse().ok()?)));
    let (sequence, stored_at) = id.ok_or_else(|| unexpected_reply("the id of an entry"))?;
    if head.as_ref().is_some_and(|head| head.is_empty()) {
        head = take_head(&mut json).map(Cow::Owned);
    }
    let bytes = json.len() as u64;
    let event = match (String::from_utf8(json), head) {
        (Ok(json), Some(head)) => head::decode(json, &head).map_err(|error| error.to_string()),
        _ => Err("the event's text or head is damaged".to_owned()),
    };
    Ok(Entry { sequence, stored_at, bytes, event, replays: None })
}

impl Partition {
    /// Returns the entry at each of these sequences. None if a sequence has no entry.
    pub(crate) async fn at(&self, sequences: &[u64]) -> Result<Vec<Option<engine::Entry>>, StorageFailure> {
        let mut found = self.entries_at(sequences).await?.into_iter().peekable();
        let at = |sequence: &u64| {
            let entry = found.next_if(|entry| entry.sequence == *sequence)?;
            Some(entry.given(self, false))
        };
        Ok(sequences.iter().map(at).collect())
    }

    /// Returns the entries at these sequences in their order, with their replay counts. Omits sequences without an
    /// entry.
    pub(crate) async fn entries_at(&self, sequences: &[u64]) -> Result<Vec<Entry>, StorageFailure> {
        let mut found = Vec::with_capacity(sequences.len());
        for sequences in sequences.chunks(ENTRIES_AT_ONCE) {
            // One piece is unpacked while the next is transferred.
            let pieces = sequences.chunks(ENTRIES_OF_A_PIECE).map(|piece| self.fetch(piece));
            for piece in try_join_all(pieces).await? {
                found.extend(piece);
            }
        }
        Ok(found)
    }

    /// Reads the entries at these sequences in one round trip, or in more if some of them were replayed.
    async fn fetch(&self, sequences: &[u64]) -> Result<Vec<Entry>, StorageFailure> {
        let mut pipeline = Pipeline::with_capacity(sequences.len() + 1);
        for run in runs(sequences) {
            pipeline.add_command(run_command(self.keys(), run));
        }
        let logs = pipeline.len();
        let chunks: BTreeSet<u64> = sequences.iter().copied().map(chunk_of).collect();
        for chunk in &chunks {
            pipeline.cmd("EXISTS").arg(self.keys().replayed(*chunk));
        }
        let mut answers = self.read_entries(&pipeline).await?.into_iter();
        let mut found = Vec::with_capacity(sequences.len());
        for answer in answers.by_ref().take(logs) {
            entries_into(answer, &mut found)?;
        }
        for (chunk, has_replays) in chunks.into_iter().zip(answers) {
            if has_replays == Value::Int(1) {
                self.count_replays(chunk, &mut found).await?;
            }
        }
        Ok(found)
    }

    /// Adds the replay counts to those entries that are in this chunk.
    pub(crate) async fn count_replays(
        &self,
        chunk: u64,
        entries: &mut [Entry],
    ) -> Result<(), StorageFailure> {
        let own = |entry: &&mut Entry| chunk_of(entry.sequence) == chunk;
        let sequences: Vec<u64> = entries.iter_mut().filter(own).map(|entry| entry.sequence).collect();
        if sequences.is_empty() {
            return Ok(());
        }
        let command = replays_command(&self.keys().replayed(chunk), &sequences);
        let mut replays = HashMap::new();
        read_replays(&sequences, self.link().read(&command).await?, &mut replays)?;
        for entry in entries.iter_mut().filter(own) {
            entry.replays = replays.get(&entry.sequence).copied();
        }
        Ok(())
    }
}

/// Splits sequences into runs of consecutive sequences, rising or falling, each within one chunk.
fn runs(sequences: &[u64]) -> impl Iterator<Item = &[u64]> {
    // A run is cut where its direction turns, since its first and last sequence must give the direction.
    let mut way: Option<bool> = None;
    sequences.chunk_by(move |one, other| {
        let up = one.checked_add(1) == Some(*other);
        let follows = (up || one.checked_sub(1) == Some(*other)) && chunk_of(*one) == chunk_of(*other);
        let goes_on = follows && way.is_none_or(|way| way == up);
        way = goes_on.then_some(up);
        goes_on
    })
}

fn run_command(keys: &Keys, run: &[u64]) -> redis::Cmd {
    let (first, last) = (run.first().copied().unwrap_or(0), run.last().copied().unwrap_or(0));
    let key = keys.log(chunk_of(first));
    if first <= last { range(&key, first, last) } else { range_back(&key, first, last) }
}

fn replays_command(key: &str, sequences: &[u64]) -> redis::Cmd {
    let mut command = cmd("HMGET");
    command.arg(key);
    for sequence in sequences {
        command.arg(sequence % CHUNK);
    }
    command
}

/// Parses the answer of an `HMGET` of replay counts.
fn read_replays(
    sequences: &[u64],
    answer: Value,
    replays: &mut HashMap<u64, (u32, Timestamp)>,
) -> Result<(), StorageFailure> {
    let Value::Array(values) = answer else { return Err(unexpected_reply("replay counts")) };
    for (sequence, value) in sequences.iter().zip(&values) {
        if *value == Value::Nil {
            continue;
        }
        replays.insert(*sequence, replay_count(value)?);
    }
    Ok(())
}

/// Parses a replay count and the time of the last replay.
pub(crate) fn replay_count(value: &Value) -> Result<(u32, Timestamp), StorageFailure> {
    let parsed = text(value).and_then(|text| {
        let (count, at) = text.split_once(':')?;
        Some((count.parse().ok()?, Timestamp::from_nanosecond(at.parse().ok()?).ok()?))
    });
    parsed.ok_or_else(|| unexpected_reply("a replay count"))
}

/// Returns an `XRANGE` from one sequence to another. It leaves the second half of the ids open, since that half is the
/// stored time.
pub(crate) fn range(key: &str, from: impl ToRedisArgs, to: impl ToRedisArgs) -> redis::Cmd {
    let mut command = cmd("XRANGE");
    command.arg(key).arg(from).arg(to);
    command
}

/// Returns an `XREVRANGE` from one sequence down to another.
pub(crate) fn range_back(key: &str, from: impl ToRedisArgs, to: impl ToRedisArgs) -> redis::Cmd {
    let mut command = cmd("XREVRANGE");
    command.arg(key).arg(from).arg(to);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_cut_where_they_do_not_follow_each_other() {
        let edge = CHUNK;
        let sequences = [5, 6, 7, 9, 8, 7, 8, 3, edge - 1, edge, edge + 1, 0, 1, u64::MAX];
        let found: Vec<&[u64]> = runs(&sequences).collect();
        let expected: [&[u64]; 8] =
            [&[5, 6, 7], &[9, 8, 7], &[8], &[3], &[edge - 1], &[edge, edge + 1], &[0, 1], &[u64::MAX]];
        assert_eq!(found, expected);
    }
}
