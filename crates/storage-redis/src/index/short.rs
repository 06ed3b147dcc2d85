//! Looks up terms key by key, in the runs and in the pending terms. [`crate::index::term_lookup`] is quicker for few
//! events.

use std::collections::{BTreeMap, BTreeSet};

use domain::StorageFailure;
use redis::{Pipeline, Value};

use crate::{
    client::{failure::unexpected_reply, optimistic_retry::OptimisticRetry},
    engine::{
        keys::{CHUNK, Term},
        partition::Partition,
    },
    index::{
        pending::Pending,
        postings::Range,
        runs::{self, Manifest, Place, RunId},
    },
};

/// The number of commands of one round trip.
const COMMANDS_AT_ONCE: usize = 1_000;
/// The number of bytes of a sequence in the answer of the function.
pub(crate) const PACKED: usize = 6;

/// The events that the terms of one part of a filter name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Short {
    /// Sequences in any order. Some may occur twice.
    pub(crate) known: Vec<u64>,
    /// Lists with further sequences: their chunks, and their names in the directories of these chunks.
    pub(crate) lists: BTreeSet<(u64, String)>,
}

impl Short {
    /// Parses the result of the function for the terms of a part. None if the function did not find all positions of
    /// some term.
    pub(crate) fn of_values(values: &[Value]) -> Result<Option<Self>, StorageFailure> {
        let mut known = Vec::new();
        for value in values {
            match value {
                Value::BulkString(bytes) if bytes.as_slice() == b"+" => return Ok(None),
                Value::BulkString(bytes) => {
                    let (packed, []) = bytes.as_chunks::<PACKED>() else {
                        return Err(unexpected_reply("the positions of a term"));
                    };
                    known.extend(packed.iter().map(sequence));
                }
                _ => return Err(unexpected_reply("the positions of a term")),
            }
        }
        Ok(Some(Self { known, ..Self::default() }))
    }

    /// Adds the place of one term.
    fn add(&mut self, term: Term, place: Place) {
        match place {
            Place::Event(sequence) => self.known.push(sequence),
            Place::List(chunk) => drop(self.lists.insert((chunk, term.field()))),
        }
    }
}

/// Parses a sequence that the function has packed.
pub(crate) fn sequence(bytes: &[u8; PACKED]) -> u64 {
    bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// Reads the pending terms, then the list of runs. Terms that are folded in between are in both.
pub(crate) async fn ground(store: &Partition) -> Result<(Pending, Manifest), StorageFailure> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("GET").arg(store.keys().pending());
    pipeline.cmd("GET").arg(store.keys().manifest());
    match store.link().read_all(&pipeline).await?.as_slice() {
        [pending, manifest] => Ok((Pending::read_answer(pending)?, Manifest::read_answer(manifest)?)),
        _ => Err(unexpected_reply("the list of runs")),
    }
}

/// Reads the pending terms.
pub(crate) async fn pending(store: &Partition) -> Result<Pending, StorageFailure> {
    let mut command = redis::cmd("GET");
    command.arg(store.keys().pending());
    Pending::read_answer(&store.link().read(&command).await?)
}

/// Looks up the terms of each part within a range. Returns the result for each part, and the pending terms.
pub(crate) async fn look_up(
    store: &Partition,
    parts: &[Vec<Term>],
    range: Range,
) -> Result<(Vec<Short>, Pending), StorageFailure> {
    let terms: BTreeSet<Term> = parts.iter().flatten().copied().collect();
    let mut tries = OptimisticRetry::new();
    loop {
        let (pending, manifest) = ground(store).await?;
        let Some(found) = in_runs(store, &manifest, &terms, range).await? else {
            // A run was merged into another one meanwhile.
            tries.again().await?;
            continue;
        };
        let short = |part: &Vec<Term>| {
            let mut short = Short::default();
            for term in part {
                found.get(term).into_iter().flatten().for_each(|place| short.add(*term, *place));
                short.known.extend(pending.of_term(*term));
            }
            let within =
                |(chunk, _): &(u64, String)| range.low < (chunk + 1) * CHUNK && chunk * CHUNK <= range.high;
            short.lists.retain(within);
            short
        };
        return Ok((parts.iter().map(short).collect(), pending));
    }
}

/// Returns the places of terms in the runs that overlap a range. None if one of these runs no longer exists.
async fn in_runs(
    store: &Partition,
    manifest: &Manifest,
    terms: &BTreeSet<Term>,
    range: Range,
) -> Result<Option<BTreeMap<Term, Vec<Place>>>, StorageFailure> {
    let reaches = |run: &&RunId| run.through >= range.low && run.base < range.high;
    let asked: Vec<(&RunId, Term)> = manifest
        .0
        .iter()
        .filter(reaches)
        .flat_map(|run| terms.iter().map(move |term| (run, *term)))
        .collect();
    let mut found: BTreeMap<Term, Vec<Place>> = BTreeMap::new();
    for asked in asked.chunks(COMMANDS_AT_ONCE) {
        let fences = asked.iter().map(|(run, term)| (*run, run.fences_at(*term), 2 * size_of::<u32>()));
        let mut between = Vec::new();
        for ((run, term), fences) in asked.iter().zip(pieces(store, fences).await?) {
            if fences.len() < 2 * size_of::<u32>() {
                return Ok(None);
            }
            between.extend(run.between(&fences).map(|(at, len)| (*run, *term, at, len)));
        }
        let windows = between.iter().map(|(run, _, at, len)| (*run, *at, *len));
        for ((run, term, _, len), window) in between.iter().zip(pieces(store, windows).await?) {
            if window.len() != *len {
                return Ok(None);
            }
            let own = runs::terms(run, &window).filter(|(own, _)| own == term);
            found.entry(*term).or_default().extend(own.map(|(_, place)| place));
        }
    }
    Ok(Some(found))
}

/// Reads pieces of runs, given by offset and length in bytes.
async fn pieces<'r>(
    store: &Partition,
    pieces: impl Iterator<Item = (&'r RunId, usize, usize)>,
) -> Result<Vec<Vec<u8>>, StorageFailure> {
    let mut pipeline = Pipeline::new();
    for (run, at, len) in pieces {
        pipeline.cmd("GETRANGE").arg(run.key(store.keys())).arg(at).arg((at + len).saturating_sub(1));
    }
    let answers = store.link().read_all(&pipeline).await?;
    let bytes = |answer| match answer {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(unexpected_reply("a piece of a run")),
    };
    answers.into_iter().map(bytes).collect()
}

/// Returns how many times a term leads to an event. The result is exact up to two.
pub(crate) async fn times_posted(
    store: &Partition,
    sequence: u64,
    term: Term,
) -> Result<usize, StorageFailure> {
    let range = Range { order: domain::ports::Order::OldestFirst, low: sequence, high: sequence };
    let (mut shorts, pending) = look_up(store, &[vec![term]], range).await?;
    let short = shorts.pop().unwrap_or_default();
    // A term that was folded during this read counts once.
    let waits = pending.of_term(term).filter(|own| *own == sequence).count();
    if waits > 0 {
        return Ok(waits);
    }
    let known = short.known.iter().filter(|own| **own == sequence).count();
    // Also search a list to which no run leads.
    let list = store.keys().long(sequence / CHUNK, &term.field());
    let mut command = redis::cmd("LPOS");
    command.arg(list).arg(sequence % CHUNK).arg("COUNT").arg(2);
    match store.link().read(&command).await? {
        Value::Array(places) => Ok(known + places.len()),
        _ => Err(unexpected_reply("the positions of a term")),
    }
}
