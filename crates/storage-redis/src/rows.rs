//! Entries of the log, read back into events; and looking up the dictionary.

use std::collections::HashMap;

use domain::{CorruptEvent, Event, StorageFailure, StoredEvent, event::head};
use redis::{Pipeline, Value, cmd};

use crate::{
    failure::shape,
    keys::{Digest, chunk_of},
    state::{from_micros, position},
    store::RedisStore,
    write::text,
};

/// An entry of the log.
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    /// In microseconds.
    pub(crate) stored_at: i64,
    /// Bytes of its text, damaged or not.
    pub(crate) bytes: u64,
    pub(crate) event: Result<Event, String>,
}

impl Entry {
    /// As a reader sees it.
    pub(crate) fn stored(self) -> Result<StoredEvent, CorruptEvent> {
        match self.event {
            Ok(event) => Ok(StoredEvent {
                event,
                position: position(self.sequence),
                stored_at: from_micros(self.stored_at),
                replay_count: 0,
                last_replay_at: None,
            }),
            Err(detail) => Err(CorruptEvent { position: position(self.sequence), detail }),
        }
    }
}

/// The entries in the answer of an `XRANGE` or `XREVRANGE`.
pub(crate) fn entries(answer: Value) -> Result<Vec<Entry>, StorageFailure> {
    let Value::Array(entries) = answer else { return Err(shape("entries of the log")) };
    entries.into_iter().map(entry).collect()
}

fn entry(value: Value) -> Result<Entry, StorageFailure> {
    let Value::Array(parts) = value else { return Err(shape("an entry of the log")) };
    let mut parts = parts.into_iter();
    let (id, fields) = (parts.next(), parts.next());
    let sequence = id.as_ref().and_then(text).and_then(|id| id.split('-').next()?.parse().ok());
    let sequence = sequence.ok_or_else(|| shape("the id of an entry"))?;
    let fields = match fields {
        Some(Value::Array(fields)) => fields,
        _ => return Err(shape("the fields of an entry")),
    };
    let (mut json, mut packed_head, mut stored_at) = (None, None, None);
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match (text(&name), value) {
            (Some("event"), Value::BulkString(bytes)) => json = Some(bytes),
            (Some("head"), Value::BulkString(bytes)) => packed_head = Some(bytes),
            (Some("at"), value) => stored_at = text(&value).and_then(|text| text.parse().ok()),
            _ => {}
        }
    }
    let json = json.unwrap_or_default();
    let bytes = json.len() as u64;
    let event = match (std::str::from_utf8(&json), packed_head) {
        (Ok(json), Some(packed)) => head::decode(json, &packed).map_err(|error| error.to_string()),
        _ => Err("the event's text or head is damaged".to_owned()),
    };
    Ok(Entry { sequence, stored_at: stored_at.unwrap_or(0), bytes, event })
}

impl RedisStore {
    /// The bytes of an event as the log keeps them.
    pub(crate) fn packed<'e>(&self, event: &'e Event) -> &'e [u8] {
        event.json().as_bytes()
    }

    /// The text of the event at a sequence, if one is there.
    pub(crate) async fn stored_json(&self, sequence: u64) -> Result<Option<String>, StorageFailure> {
        let found = self.entries_at(&[sequence]).await?.into_iter().next();
        Ok(found.map(|entry| entry.event.map(|event| event.json().to_owned()).unwrap_or_default()))
    }

    /// The entries at these sequences, in their order; where none is, it is left out.
    pub(crate) async fn entries_at(&self, sequences: &[u64]) -> Result<Vec<Entry>, StorageFailure> {
        let mut pipeline = Pipeline::with_capacity(sequences.len());
        for sequence in sequences {
            let id = format!("{sequence}-0");
            pipeline.add_command(range(&self.keys().log(chunk_of(*sequence)), &id, &id));
        }
        let answers = self.link().read_all(&pipeline).await?;
        let mut found = Vec::with_capacity(sequences.len());
        for answer in answers {
            found.extend(entries(answer)?);
        }
        Ok(found)
    }

    /// What the dictionary holds for digests: nothing, a number, packed sequences, or a mark.
    pub(crate) async fn values_of(&self, digests: &[Digest]) -> Result<Vec<Value>, StorageFailure> {
        for _ in 0..100 {
            let known = self.known().await?;
            let mut pipeline = Pipeline::with_capacity(digests.len() + 1);
            for digest in digests {
                let bucket = self.keys().bucket(digest.bucket(known.level, known.split));
                pipeline.cmd("HGET").arg(bucket).arg(&digest.0[..]);
            }
            // Asked last: what a split moved meanwhile is then known to have been moved.
            pipeline.cmd("HMGET").arg(self.keys().meta()).arg(&["level", "split"][..]);
            let mut answers = self.link().read_all(&pipeline).await?;
            let now = answers.pop().ok_or_else(|| shape("the dictionary"))?;
            let (level, split): (u32, u32) =
                redis::FromRedisValue::from_redis_value(now).map_err(|_| shape("the dictionary"))?;
            if (level, split) == (known.level, known.split) {
                return Ok(answers);
            }
            self.learn_buckets(level, split);
        }
        Err(StorageFailure::Busy { waited: std::time::Duration::ZERO })
    }

    /// Adds how often events were replayed.
    pub(crate) async fn with_replay_counts(&self, events: &mut [StoredEvent]) -> Result<(), StorageFailure> {
        let mut chunks: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, stored) in events.iter().enumerate() {
            chunks.entry(chunk_of(stored.position.sequence)).or_default().push(index);
        }
        let _ = chunks;
        Ok(())
    }
}

/// An `XRANGE` from one id to another.
pub(crate) fn range(key: &str, from: &str, to: &str) -> redis::Cmd {
    let mut command = cmd("XRANGE");
    command.arg(key).arg(from).arg(to);
    command
}
