//! Writes the keys of the old system in the same form as the old system.

use std::collections::BTreeMap;

use generator::{Generator, Settings, Validity};
use redis::{Pipeline, aio::MultiplexedConnection};
use serde_json::Value;

/// The number of commands in one round trip.
const PIPELINE: usize = 2000;

/// An event that a test writes to the old system and expects in the target.
#[derive(Debug, Clone)]
pub struct OldEvent {
    pub id: String,
    pub json: String,
    pub millisecond: i64,
    pub replays: u32,
    pub last_replay_at: Option<String>,
}

/// A Redis server into which the tests write the old system's keys.
pub struct Reference {
    pub connection: MultiplexedConnection,
    prefix: String,
    pipe: Pipeline,
}

impl Reference {
    pub async fn at(url: &str) -> Self {
        Self::below(url, "cloudmasters").await
    }

    pub async fn below(url: &str, prefix: &str) -> Self {
        let client = redis::Client::open(url).unwrap();
        let config = redis::AsyncConnectionConfig::new()
            .set_response_timeout(Some(std::time::Duration::from_secs(60)));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        Self { connection, prefix: prefix.to_owned(), pipe: Pipeline::new() }
    }

    pub fn key(&self, rest: &str) -> String {
        format!("{}:events:{rest}", self.prefix)
    }

    /// Stores an event as the old system does: a hash, and an entry in each index for which the event has a value.
    pub async fn store(&mut self, event: &OldEvent) {
        let parsed: Value = serde_json::from_str(&event.json).unwrap();
        self.hash(event).await;
        let mut indexes = vec![self.key("by_time")];
        for (index, member) in [
            ("by_type", "type"),
            ("by_source", "source"),
            ("by_correlation", "correlationId"),
            ("by_user", "userId"),
            ("by_course", "courseId"),
            ("by_lab", "labId"),
        ] {
            if let Some(value) = parsed.get(member).and_then(Value::as_str) {
                indexes.push(self.key(&format!("{index}:{value}")));
            }
        }
        for index in indexes {
            self.pipe.cmd("ZADD").arg(index).arg(event.millisecond).arg(&event.id);
        }
        self.send_if_full().await;
    }

    /// Stores only the hash of an event.
    pub async fn hash(&mut self, event: &OldEvent) {
        let key = self.key(&event.id);
        self.pipe.cmd("HSET").arg(&key).arg(&[
            ("event", event.json.as_str()),
            ("storedAt", "2024-02-01T00:00:00.000Z"),
            ("replayCount", &event.replays.to_string()),
        ]);
        if let Some(at) = &event.last_replay_at {
            self.pipe.cmd("HSET").arg(key).arg("lastReplayAt").arg(at);
        }
        self.send_if_full().await;
    }

    /// Stores a checkpoint as the old system does, with 0 as its count of events.
    pub async fn checkpoint(&mut self, id: &str, name: &str, timestamp: &str, last: &str) {
        self.pipe.cmd("HSET").arg(format!("{}:checkpoints:{id}", self.prefix)).arg(&[
            ("id", id),
            ("name", name),
            ("timestamp", timestamp),
            ("lastProcessedEventId", last),
            ("eventCount", "0"),
            ("metadata", r#"{"reason":"deploy"}"#),
        ]);
        self.send_if_full().await;
    }

    /// Adds any other command.
    pub fn command(&mut self, words: &[&str]) {
        self.pipe.cmd(words[0]).arg(&words[1..]);
    }

    async fn send_if_full(&mut self) {
        if self.pipe.len() >= PIPELINE {
            self.send().await;
        }
    }

    pub async fn send(&mut self) {
        let pipe = std::mem::take(&mut self.pipe);
        if !pipe.is_empty() {
            let _: redis::Value = pipe.query_async(&mut self.connection).await.unwrap();
        }
    }

    /// Returns every key with its content, byte for byte, and its expiry time.
    pub async fn dump(&mut self) -> BTreeMap<Vec<u8>, (Vec<u8>, i64)> {
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut self.connection).await.unwrap();
        let mut dump = BTreeMap::new();
        for keys in keys.chunks(PIPELINE) {
            let mut pipe = Pipeline::new();
            for key in keys {
                pipe.cmd("DUMP").arg(key).cmd("PEXPIRETIME").arg(key);
            }
            let answers: Vec<redis::Value> = pipe.query_async(&mut self.connection).await.unwrap();
            for (key, answer) in keys.iter().zip(answers.chunks(2)) {
                let bytes = redis::from_redis_value(answer[0].clone()).unwrap();
                dump.insert(key.clone(), (bytes, redis::from_redis_value(answer[1].clone()).unwrap()));
            }
        }
        dump
    }
}

/// Events of the old system from the generator. One in ten was replayed, up to three times.
pub fn events(count: u64) -> Vec<OldEvent> {
    let settings = Settings { invalid_per_thousand: 0, ..Settings::demo(count) };
    let made = Generator::new(settings).filter(|made| made.validity == Validity::Valid);
    made.enumerate().map(|(at, made)| old_event(made.json, at)).collect()
}

pub fn old_event(json: String, at: usize) -> OldEvent {
    let parsed: Value = serde_json::from_str(&json).unwrap();
    let timestamp: jiff::Timestamp = parsed["timestamp"].as_str().unwrap().parse().unwrap();
    let replays = if at.is_multiple_of(10) { (at / 10 % 3) as u32 + 1 } else { 0 };
    // The replays of one batch have the same time, at a resolution of milliseconds.
    let last = (replays > 0).then(|| format!("2024-03-01T00:00:{:02}.250Z", at / 100 % 60));
    OldEvent {
        id: parsed["id"].as_str().unwrap().to_owned(),
        millisecond: timestamp.as_millisecond(),
        json,
        replays,
        last_replay_at: last,
    }
}

/// Returns the events in the order of the old system: by time, then by id.
pub fn in_time_order(events: &[OldEvent]) -> Vec<&OldEvent> {
    let mut ordered: Vec<&OldEvent> = events.iter().collect();
    ordered.sort_by(|a, b| (a.millisecond, a.id.as_bytes()).cmp(&(b.millisecond, b.id.as_bytes())));
    ordered
}

/// Writes events and three checkpoints: two at events, and one only at a time.
pub async fn write(reference: &mut Reference, events: &[OldEvent]) {
    for event in events {
        reference.store(event).await;
    }
    let ordered = in_time_order(events);
    let at = |part: usize| ordered[ordered.len() * part / 4];
    reference.checkpoint("c-1", "quarter", "2024-03-02T10:00:00.000Z", &at(1).id).await;
    reference.checkpoint("c-2", "half", "2024-03-03T10:00:00.000Z", &at(2).id).await;
    let time = jiff::Timestamp::from_millisecond(at(3).millisecond).unwrap().to_string();
    reference.checkpoint("c-3", "by-time", &time, "").await;
    reference.send().await;
}

/// Returns the number of events in a test: `EVENT_REPLAY_EVENTS`, or `few`.
pub fn wanted(few: u64) -> u64 {
    std::env::var("EVENT_REPLAY_EVENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(few)
}
