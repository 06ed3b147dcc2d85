//! The answers to publishers, checked against the log of a server: the laws of storing. The check reads the keys with
//! plain commands, and shares no code with the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use redis::aio::MultiplexedConnection;
use serde_json::Value;

/// Maximum number of entries that one command returns.
const AT_ONCE: usize = 2_000;

/// The log of the namespace `default`.
#[derive(Debug, Default)]
pub(crate) struct RawLog {
    /// Event ids by position.
    pub(crate) ids: BTreeMap<u64, String>,
    /// The log epoch in the stored state.
    pub(crate) epoch: u64,
    /// Violations within the log itself.
    violations: Vec<String>,
}

impl RawLog {
    pub(crate) async fn read(url: &str) -> Self {
        let client = redis::Client::open(url).unwrap();
        let mut server = client.get_multiplexed_async_connection().await.unwrap();
        let mut log = Self::default();
        let epoch = redis::cmd("HGET").arg("{default:0}:meta").arg("epoch").query_async(&mut server).await;
        log.epoch = epoch.unwrap();
        let keys: Vec<String> =
            redis::cmd("KEYS").arg("{default:0}:log:*").query_async(&mut server).await.unwrap();
        for key in keys {
            log.read_chunk(&mut server, &key).await;
        }
        let mut positions = HashMap::new();
        for (position, id) in &log.ids {
            if let Some(other) = positions.insert(id, position) {
                log.violations.push(format!("{id} is stored at {other} and at {position}"));
            }
        }
        log
    }

    async fn read_chunk(&mut self, server: &mut MultiplexedConnection, key: &str) {
        type Entry = (String, Vec<(String, Vec<u8>)>);
        let mut from = "-".to_owned();
        loop {
            let mut command = redis::cmd("XRANGE");
            command.arg(key).arg(&from).arg("+").arg("COUNT").arg(AT_ONCE);
            let entries: Vec<Entry> = command.query_async(server).await.unwrap();
            let Some((last, _)) = entries.last() else { return };
            from = format!("({last}");
            for (place, fields) in entries {
                let json = fields.iter().find(|(name, _)| name == "event").map(|(_, json)| json.as_slice());
                let event: Option<Value> = json.and_then(|json| serde_json::from_slice(json).ok());
                let id = event.as_ref().and_then(|event| event["id"].as_str());
                let Some(id) = id else {
                    self.violations.push(format!("the entry {place} of {key} is no event"));
                    continue;
                };
                let (position, _) = place.split_once('-').unwrap();
                let position = position.parse().unwrap();
                self.ids.insert(position, id.to_owned());
            }
        }
    }

    /// Returns the number of these events in the log.
    fn count(&self, ids: &[String]) -> usize {
        let wanted: BTreeSet<&String> = ids.iter().collect();
        self.ids.values().filter(|id| wanted.contains(id)).count()
    }
}

/// The acknowledged events that must be in the log after a kill of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// All events.
    Everything,
    /// All events but the end. No event is missing before a stored event.
    AllButTheEnd,
}

/// An acknowledged event.
#[derive(Debug, Clone)]
struct Acknowledged {
    id: String,
    position: u64,
}

/// A batch with an unknown result.
#[derive(Debug, Clone)]
struct Pending {
    ids: Vec<String>,
    /// Whether the answer stated that no event was stored.
    refused: bool,
    /// Whether the log contained the batch.
    was_there: Option<bool>,
}

/// All answers to publishers.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The acknowledged and stored events of each publisher, in the order of the answers.
    publishers: HashMap<usize, Vec<Acknowledged>>,
    pending: HashMap<usize, Pending>,
    /// Publishers that wait for an answer.
    waiting: BTreeSet<usize>,
    /// Every event that an answer or the log has shown at a position.
    named: BTreeMap<u64, String>,
    pub(crate) answered: u64,
    pub(crate) lost: u64,
    /// Batches in progress during kills: the number of stored batches, and the number of batches that were not stored.
    pub(crate) torn: (u64, u64),
    pub(crate) violations: Vec<String>,
}

impl Ledger {
    /// Records that a publisher begins to wait for an answer.
    pub(crate) fn ask(&mut self, publisher: usize) {
        self.waiting.insert(publisher);
    }

    /// Whether a publisher waits for an answer.
    pub(crate) fn is_waiting(&self, publisher: usize) -> bool {
        self.waiting.contains(&publisher)
    }

    /// Records that the next events of a publisher are stored, in order. `again` means that they were already stored.
    pub(crate) fn acknowledge(&mut self, publisher: usize, events: &[(String, u64)], again: bool) {
        self.waiting.remove(&publisher);
        if let Some(pending) = self.pending.remove(&publisher)
            && let Some(was_there) = pending.was_there
            && was_there != again
        {
            let found = if was_there { "there" } else { "not there" };
            let said = if again { "stored before" } else { "stored now" };
            self.violations.push(format!("{} was {found}, and was said to be {said}", events[0].0));
        }
        for (id, position) in events {
            self.name(*position, id);
            let own = self.publishers.entry(publisher).or_default();
            if let Some(last) = own.last().filter(|last| last.position >= *position) {
                let (before, at) = (&last.id, last.position);
                self.violations.push(format!("{id} is at {position}, after {before} at {at}"));
            }
            own.push(Acknowledged { id: id.clone(), position: *position });
            self.answered += 1;
        }
    }

    /// Records that a batch of a publisher got no answer, or an answer that no event was stored.
    pub(crate) fn park(&mut self, publisher: usize, ids: Vec<String>, refused: bool) {
        self.waiting.remove(&publisher);
        let pending = self.pending.entry(publisher).or_insert(Pending { ids, refused, was_there: None });
        pending.refused &= refused;
    }

    /// Records the event at a position. A position names the same event forever.
    fn name(&mut self, position: u64, id: &str) {
        match self.named.get(&position) {
            Some(known) if known != id => {
                self.violations.push(format!("the position {position} was of {known} and is of {id}"));
            }
            Some(_) => {}
            None => drop(self.named.insert(position, id.to_owned())),
        }
    }

    /// Checks all answers against the log of a server after its restart. Events that were lost within the promise are
    /// not checked again.
    pub(crate) fn check(&mut self, log: &RawLog, promise: Promise) {
        self.violations.extend(log.violations.iter().cloned());
        for (position, id) in &log.ids {
            self.name(*position, id);
        }
        let (mut newest_kept, mut oldest_lost) = (0, u64::MAX);
        for (publisher, own) in &mut self.publishers {
            let is_there = |event: &Acknowledged| log.ids.get(&event.position) == Some(&event.id);
            let end = own.iter().position(|event| !is_there(event)).unwrap_or(own.len());
            let gone = own.split_off(end);
            newest_kept = newest_kept.max(own.last().map_or(0, |event| event.position));
            let Some(first) = gone.first() else { continue };
            oldest_lost = oldest_lost.min(first.position);
            self.lost += gone.len() as u64;
            if promise == Promise::Everything {
                let (id, at) = (&first.id, first.position);
                self.violations.push(format!("{id} was stored at {at}, and is gone ({} such)", gone.len()));
            }
            if let Some(kept) = gone.iter().find(|event| is_there(event)) {
                let (kept, gone) = (&kept.id, &first.id);
                self.violations.push(format!("publisher {publisher} lost {gone} and kept {kept}"));
            }
        }
        if newest_kept > oldest_lost {
            self.violations.push(format!("what was at {oldest_lost} is gone, and {newest_kept} is there"));
        }
        for pending in self.pending.values_mut() {
            let found = log.count(&pending.ids);
            pending.was_there = Some(found > 0);
            let first = &pending.ids[0];
            if found > 0 && pending.refused {
                self.violations
                    .push(format!("the batch of {first} was refused, and {found} of it are there"));
            }
            if found > 0 && found < pending.ids.len() {
                let all = pending.ids.len();
                self.violations.push(format!("the batch of {first} is torn: {found} of {all} are there"));
            }
            match found {
                0 => self.torn.1 += 1,
                _ => self.torn.0 += 1,
            }
        }
    }

    /// Panics if a law was violated, and shows the first violations.
    pub(crate) fn expect_none(&self, of: &str) {
        let few: Vec<&String> = self.violations.iter().take(20).collect();
        assert!(self.violations.is_empty(), "{of}: {} violations: {few:#?}", self.violations.len());
    }
}
