//! Entries that come with the first round trip of a read by terms.
//!
//! A look-up by one correlation id is two questions, where it is and what it is; a function answers both at once. It is
//! asked where few events are wanted. A server that does not have it, or a user who may not call it, is asked the long way;
//! and so is one whose slot is on its way to another node, where a function finds only what lies with it on the same node.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::{StorageFailure, ports::Order};
use redis::{Cmd, Value};

use crate::{
    client::{failure::unexpected_reply, reply::text},
    engine::{last_known::Known, partition::Partition},
    index::{
        postings::Range,
        short::{PACKED, sequence},
    },
    log::{
        entries::{Entry, entry, replay_count},
        first_trip::LookUp,
    },
    server::functions,
};

/// Terms that are looked up this way.
const MOST_TERMS: usize = 16;
/// Events that are wanted at most.
const MOST_EVENTS: usize = 100;
/// What a look-up is told whose slot is on its way.
pub(crate) const SLOT_ON_ITS_WAY: &str = "the slot is on its way to another node";

/// How long the long way is taken before the function is tried again: it may have been loaded, or allowed, by then.
const REST: Duration = Duration::from_secs(10);

/// Whether the function can be called, as far as a handle knows.
#[derive(Debug, Default)]
pub(crate) struct Finding {
    failed: Mutex<Option<Instant>>,
}

impl Finding {
    /// Whether to look up so many terms for so many events this way.
    pub(crate) fn is_worth(&self, terms: usize, events: usize) -> bool {
        (1..=MOST_TERMS).contains(&terms) && events <= MOST_EVENTS && !self.rests()
    }

    fn rests(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < REST)
    }

    /// Whether a failure says that it cannot be called: not this once, or not for a while, which is noted.
    pub(crate) fn is_impossible(&self, failure: &StorageFailure) -> bool {
        let text = failure.to_string();
        if matches!(failure, StorageFailure::Denied(_)) || text.contains("Function not found") {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            return true;
        }
        text.contains(SLOT_ON_ITS_WAY)
    }
}

/// What the function found.
#[derive(Default)]
pub(crate) struct TermLookup {
    looked: HashSet<u64>,
    entries: HashMap<u64, Entry>,
}

impl TermLookup {
    /// The call.
    pub(crate) fn command(
        store: &Partition,
        known: Known,
        wanted: &LookUp,
        asked: Range,
        events: usize,
    ) -> Cmd {
        let keys = store.keys();
        let mut command = redis::cmd("FCALL_RO");
        command
            .arg(functions::name("find"))
            .arg(3 + wanted.ids.len())
            .arg(keys.meta())
            .arg(keys.pending())
            .arg(keys.manifest());
        for digest in &wanted.ids {
            command.arg(keys.bucket(digest.bucket(known.level, known.split)));
        }
        // As far as numbers of Lua are exact.
        let high = asked.high.min(1 << 53);
        let way = if asked.order == Order::OldestFirst { "up" } else { "down" };
        command
            .arg(keys.before_runs())
            .arg(&keys.before_chunks()[..])
            .arg(way)
            .arg(asked.low)
            .arg(high)
            .arg(events);
        for digest in &wanted.ids {
            command.arg(&digest.0[..]);
        }
        for term in &wanted.terms {
            command.arg(&term.0[..]);
        }
        command
    }

    /// Reads the answer: what the ids and the terms lead to, and what came with it.
    pub(crate) fn read(answer: Value) -> Result<(Vec<Value>, Self), StorageFailure> {
        let odd = || unexpected_reply("a look-up");
        let Value::Array(parts) = answer else { return Err(odd()) };
        let Ok([values, looked, entries, replays]) = <[Value; 4]>::try_from(parts) else { return Err(odd()) };
        let (Value::Array(values), Value::BulkString(looked), Value::Array(entries), Value::Array(replays)) =
            (values, looked, entries, replays)
        else {
            return Err(odd());
        };
        let (looked, []) = looked.as_chunks::<PACKED>() else { return Err(odd()) };
        let mut near = Self {
            looked: looked.iter().map(sequence).collect(),
            entries: HashMap::with_capacity(entries.len()),
        };
        for value in entries {
            let entry = entry(value)?;
            near.entries.insert(entry.sequence, entry);
        }
        for pair in replays.chunks_exact(2) {
            let [own, count] = pair else { return Err(odd()) };
            let own: u64 = text(own).and_then(|text| text.parse().ok()).ok_or_else(odd)?;
            if let Some(entry) = near.entries.get_mut(&own) {
                entry.replays = Some(replay_count(count)?);
            }
        }
        Ok((values, near))
    }

    /// The entries at these sequences, in their order, each once; none where not all of them were looked for.
    pub(crate) fn take(&mut self, sequences: &[u64]) -> Option<Vec<Entry>> {
        let all = sequences.iter().all(|sequence| self.looked.contains(sequence));
        all.then(|| sequences.iter().filter_map(|sequence| self.entries.remove(sequence)).collect())
    }
}
