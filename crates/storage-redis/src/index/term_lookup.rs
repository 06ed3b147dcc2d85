//! Entries that come with the first round trip of a read by terms.
//!
//! A look-up by one correlation id has two steps: find the positions, then read the events. A function does both in
//! one call, if few events are wanted. Some servers lack the function, and some users may not call it. Then the
//! key-by-key look-up is used. It is also used while the slot migrates to another node, since a function finds only
//! the keys on one node.

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

/// The largest number of terms of such a look-up.
const MOST_TERMS: usize = 16;
/// The largest number of events of such a look-up.
const MOST_EVENTS: usize = 100;
/// The error of a look-up while its slot migrates.
pub(crate) const SLOT_ON_ITS_WAY: &str = "the slot is on its way to another node";

/// How long the key-by-key look-up is used before the function is tried again. It may be loaded or allowed by then.
const REST: Duration = Duration::from_secs(10);

/// Whether the function can be called, as one handle knows it.
#[derive(Debug, Default)]
pub(crate) struct Finding {
    failed: Mutex<Option<Instant>>,
}

impl Finding {
    /// Returns whether to look up this number of terms and events by the function.
    pub(crate) fn is_worth(&self, terms: usize, events: usize) -> bool {
        (1..=MOST_TERMS).contains(&terms) && events <= MOST_EVENTS && !self.rests()
    }

    fn rests(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < REST)
    }

    /// Returns whether a failure means that the function cannot be called. If this is likely to last, it is recorded.
    pub(crate) fn is_impossible(&self, failure: &StorageFailure) -> bool {
        let text = failure.to_string();
        if matches!(failure, StorageFailure::Denied(_)) || text.contains("Function not found") {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            return true;
        }
        text.contains(SLOT_ON_ITS_WAY)
    }
}

/// The results of the function.
#[derive(Default)]
pub(crate) struct TermLookup {
    looked: HashSet<u64>,
    entries: HashMap<u64, Entry>,
}

impl TermLookup {
    /// Returns the call of the function.
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
        // Numbers of Lua are exact up to this value.
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

    /// Parses the answer: the values of the ids and terms, and the entries that came with them.
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

    /// Returns the entries at these sequences in their order, each at most once. None if the function did not read all
    /// of them.
    pub(crate) fn take(&mut self, sequences: &[u64]) -> Option<Vec<Entry>> {
        let all = sequences.iter().all(|sequence| self.looked.contains(sequence));
        all.then(|| sequences.iter().filter_map(|sequence| self.entries.remove(sequence)).collect())
    }
}
