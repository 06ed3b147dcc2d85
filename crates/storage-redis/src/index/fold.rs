//! Folds: each fold moves the pending terms of about a thousand events into lists and a run.
//!
//! The client that appends the event that makes a fold due performs the fold. It computes the index entries, and one
//! call writes them, unless another client has folded meanwhile. Runs are merged afterwards in the background
//! ([`crate::index::merge`]).

use std::{collections::BTreeMap, time::Duration};

use domain::{
    Figure, StorageFailure, Tally,
    ports::engine::{Space, SpaceKind},
};
use redis::{FromRedisValue, Pipeline, Value, cmd};

use crate::{
    client::{failure::unexpected_reply, optimistic_retry::OptimisticRetry, reply::text},
    engine::{
        keys::{CHUNK, Term, chunk_of},
        partition::Partition,
    },
    index::{
        pending::{Pending, Record},
        runs::{Place, REACH, Run},
        tally,
    },
    server::functions,
};

/// The numbers of pending events and of pending records from which a fold is due.
const EVENTS: u64 = 1_024;
const RECORDS: u64 = 128;
/// About how many events one call folds.
const AT_ONCE: u64 = 2_048;
/// The least number of events for which a term gets a list in a chunk. They must also be at least one in 64 events of
/// the fold.
const LISTED: usize = 8;
/// How many times a fold is tried while other clients fold first.
const MOST_TRIES: usize = 100;

/// The amount of pending events and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    events: u64,
    records: u64,
}

impl Waiting {
    pub(crate) fn of(events: i64, records: i64) -> Self {
        Self { events: events.max(0) as u64, records: records.max(0) as u64 }
    }

    fn is_due(self) -> bool {
        self.events >= EVENTS || self.records >= RECORDS
    }

    /// Returns whether the record with this many events made a fold due. From twice the limits on, every record does,
    /// in case an earlier caller did not fold.
    fn became_due(self, by: u64) -> bool {
        let before = Self { events: self.events.saturating_sub(by), records: self.records.saturating_sub(1) };
        self.is_due() && !before.is_due() || self.events >= 2 * EVENTS || self.records >= 2 * RECORDS
    }
}

/// Folds if an append of this many events made a fold due. After a failure, a later append tries again.
pub(crate) async fn after_append(partition: &Partition, waiting: Waiting, events: u64) {
    if !waiting.became_due(events) {
        return;
    }
    match once(partition).await {
        Ok(_) => partition.merge_runs(),
        Err(failure) => {
            tracing::warn!(%failure, "new events were not folded into the index; a later append tries again");
        }
    }
}

/// Folds all pending terms.
pub(crate) async fn all(partition: &Partition) -> Result<(), StorageFailure> {
    let mut tries = OptimisticRetry::new();
    for _ in 0..MOST_TRIES {
        match once(partition).await? {
            Folded::All => return Ok(()),
            Folded::Some => {}
            Folded::PreconditionFailed => tries.again().await?,
        }
    }
    Err(StorageFailure::Busy { waited: Duration::ZERO })
}

/// The result of a fold.
enum Folded {
    /// Nothing is pending.
    All,
    /// More terms are pending.
    Some,
    /// Another client folded meanwhile, or the log epoch has changed.
    PreconditionFailed,
}

/// Folds a piece of the pending terms.
async fn once(partition: &Partition) -> Result<Folded, StorageFailure> {
    let keys = partition.keys();
    let mut pipeline = Pipeline::with_capacity(2);
    // The state is read first. So the pending terms are not older, and a fold between the two reads is noticed.
    pipeline.cmd("HMGET").arg(keys.meta()).arg(&["epoch", "folded"][..]);
    pipeline.cmd("GET").arg(keys.pending());
    let answers = partition.link().read_all(&pipeline).await?;
    let [state, waiting] = answers.as_slice() else {
        return Err(unexpected_reply("the pending terms"));
    };
    let (epoch, folded): (Option<String>, Option<String>) =
        FromRedisValue::from_redis_value(state.clone()).map_err(|_| unexpected_reply("the state"))?;
    let pending = Pending::read_answer(waiting)?;
    let Some(piece) = Piece::of(&pending) else { return Ok(Folded::All) };
    let command = piece.command(partition, &epoch.unwrap_or_default(), folded.as_deref().unwrap_or("0"));
    let Value::Array(parts) = partition.link().call_command(&command).await? else {
        return Err(unexpected_reply("a fold"));
    };
    match parts.as_slice() {
        [what, Value::Int(0), _] if text(what) == Some("ok") => Ok(Folded::All),
        [what, ..] if text(what) == Some("ok") => Ok(Folded::Some),
        [what, ..] if text(what) == Some("stale") => Ok(Folded::PreconditionFailed),
        [what, rest @ ..] if text(what) == Some("moved") => {
            partition.learn_moved(rest)?;
            Ok(Folded::PreconditionFailed)
        }
        _ => Err(unexpected_reply("a fold")),
    }
}

/// The terms that one call folds.
struct Piece {
    /// The length of the piece in the pending string, in bytes, and its numbers of records and events.
    end: usize,
    records: usize,
    events: u64,
    through: u64,
    /// Offsets by chunk and name.
    lists: BTreeMap<(u64, String), Vec<u64>>,
    /// The counts of its events.
    tally: Tally,
    run: Run,
}

impl Piece {
    /// Takes the first records, as far as one run reaches.
    fn of(pending: &Pending) -> Option<Self> {
        let base = pending.base()?;
        let mut events = 0;
        let fits = |record: &&Record| {
            let fits = events < AT_ONCE && record.last() - base < REACH;
            events += record.events;
            fits
        };
        let records: Vec<&Record> = pending.records.iter().take_while(fits).collect();
        let last = records.last()?;
        let events = records.iter().map(|record| record.events).sum();
        let mut lists: BTreeMap<(u64, String), Vec<u64>> = BTreeMap::new();
        let mut tally = Tally::default();
        for record in &records {
            tally::add(
                &mut tally,
                record.longs.iter().map(|(field, all)| (field.as_str(), all.len() as u64)),
            );
            record.kinds.iter().for_each(|(kind, events)| tally.add(Figure::EntityKind, kind, *events));
            for (field, sequences) in &record.longs {
                let list = lists.entry((chunk_of(record.last()), field.clone())).or_default();
                list.extend(sequences.iter().map(|sequence| sequence % CHUNK));
            }
        }
        let mut postings: Vec<(Term, u64)> =
            records.iter().flat_map(|record| record.postings.iter().copied()).collect();
        postings.sort_unstable();
        let least = LISTED.max(events as usize / 64);
        let mut entries = Vec::with_capacity(postings.len());
        let same =
            |one: &(Term, u64), other: &(Term, u64)| (one.0, chunk_of(one.1)) == (other.0, chunk_of(other.1));
        for postings in postings.chunk_by(same) {
            let Some((term, first)) = postings.first() else { continue };
            if postings.len() < least {
                entries.extend(postings.iter().map(|(term, sequence)| (*term, Place::Event(*sequence))));
                continue;
            }
            let list = lists.entry((chunk_of(*first), term.field())).or_default();
            list.extend(postings.iter().map(|(_, sequence)| sequence % CHUNK));
            entries.push((*term, Place::List(chunk_of(*first))));
        }
        let run = Run::of(base, last.last(), entries);
        Some(Self { end: last.end, records: records.len(), events, through: last.last(), lists, tally, run })
    }

    fn command(&self, partition: &Partition, epoch: &str, folded: &str) -> redis::Cmd {
        let keys = partition.keys();
        let mut command = cmd("FCALL");
        command.arg(functions::name("fold")).arg(5 + 2 * self.lists.len());
        command.arg(keys.meta()).arg(keys.pending()).arg(keys.manifest()).arg(self.run.id.key(keys));
        command.arg(keys.space(&Space::of(SpaceKind::Tally)));
        for (chunk, field) in self.lists.keys() {
            command.arg(keys.long(*chunk, field)).arg(keys.directory(*chunk));
        }
        command.arg(epoch).arg(folded).arg(self.end).arg(self.through).arg(self.events).arg(self.records);
        match self.run.id.entries {
            0 => command.arg("").arg(""),
            _ => command.arg(&self.run.bytes).arg(&self.run.id.listed()[..]),
        };
        let changes: Vec<_> = self.tally.rows().map(|(row, events)| (row.key, events)).collect();
        tally::put(&mut command, changes.into_iter());
        for ((_, field), offsets) in &self.lists {
            let packed: Vec<u8> = offsets.iter().flat_map(|offset| (*offset as u32).to_be_bytes()).collect();
            command.arg(field).arg(packed);
        }
        command
    }
}
