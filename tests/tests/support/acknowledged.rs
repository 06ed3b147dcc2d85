//! What publishers were answered, held against what a server's log holds: the laws of storing, read off the keys by plain
//! commands. It shares no code with the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use redis::aio::MultiplexedConnection;
use serde_json::Value;

/// Entries that one command brings.
const AT_ONCE: usize = 2_000;

/// What the log of the namespace `default` holds.
#[derive(Debug, Default)]
pub(crate) struct RawLog {
    /// Ids by position.
    pub(crate) ids: BTreeMap<u64, String>,
    /// The log epoch, as the state has it.
    pub(crate) epoch: u64,
    /// What is wrong with the log by itself.
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

    /// How many of these events are there.
    fn count(&self, ids: &[String]) -> usize {
        let wanted: BTreeSet<&String> = ids.iter().collect();
        self.ids.values().filter(|id| wanted.contains(id)).count()
    }
}

/// What of what was answered must be there after a server was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// All of it.
    Everything,
    /// All but the end: nothing is gone before something that stayed.
    AllButTheEnd,
}

/// An event that was answered to be stored.
#[derive(Debug, Clone)]
struct Acknowledged {
    id: String,
    position: u64,
}

/// A batch of which a publisher does not know what became.
#[derive(Debug, Clone)]
struct Pending {
    ids: Vec<String>,
    /// Whether it was told that nothing was stored.
    refused: bool,
    /// Whether it was found in the log.
    was_there: Option<bool>,
}

/// All that publishers were answered.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// What each publisher was answered and is there, in the order of its answers.
    publishers: HashMap<usize, Vec<Acknowledged>>,
    pending: HashMap<usize, Pending>,
    /// Publishers that wait for an answer.
    waiting: BTreeSet<usize>,
    /// Every event that was ever seen at a position, by an answer or in the log.
    named: BTreeMap<u64, String>,
    pub(crate) answered: u64,
    pub(crate) lost: u64,
    /// Batches that were under way when the server was killed: those that were found, and those that were not.
    pub(crate) torn: (u64, u64),
    pub(crate) violations: Vec<String>,
}

impl Ledger {
    /// A publisher begins to wait for an answer.
    pub(crate) fn ask(&mut self, publisher: usize) {
        self.waiting.insert(publisher);
    }

    /// Whether a publisher waits for an answer.
    pub(crate) fn is_waiting(&self, publisher: usize) -> bool {
        self.waiting.contains(&publisher)
    }

    /// A publisher was told that its next events are stored, in their order. `again`: that they had been before.
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

    /// A publisher got no answer to a batch, or that nothing was stored.
    pub(crate) fn park(&mut self, publisher: usize, ids: Vec<String>, refused: bool) {
        self.waiting.remove(&publisher);
        let pending = self.pending.entry(publisher).or_insert(Pending { ids, refused, was_there: None });
        pending.refused &= refused;
    }

    /// A position names one event for ever.
    fn name(&mut self, position: u64, id: &str) {
        match self.named.get(&position) {
            Some(known) if known != id => {
                self.violations.push(format!("the position {position} was of {known} and is of {id}"));
            }
            Some(_) => {}
            None => drop(self.named.insert(position, id.to_owned())),
        }
    }

    /// Holds everything against the log of a server that was killed and has come back. What is gone, and may be, is not
    /// asked for any more.
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

    /// Panics where a law was broken, with the first few that were.
    pub(crate) fn expect_none(&self, of: &str) {
        let few: Vec<&String> = self.violations.iter().take(20).collect();
        assert!(self.violations.is_empty(), "{of}: {} violations: {few:#?}", self.violations.len());
    }
}
