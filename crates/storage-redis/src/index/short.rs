//! Where terms lead, read key by key: the runs and what waits to be folded. [`crate::index::term_lookup`] is quicker where few
//! events are wanted.

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

/// Commands of one round trip.
const COMMANDS_AT_ONCE: usize = 1_000;
/// Bytes of a sequence, as the function answers it.
pub(crate) const PACKED: usize = 6;

/// The events of a part of a filter that terms name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Short {
    /// Sequences, in any order and some of them twice.
    pub(crate) known: Vec<u64>,
    /// Lists that have more: their chunks, and their names in the directories of these.
    pub(crate) lists: BTreeSet<(u64, String)>,
}

impl Short {
    /// Reads what the function found for the terms of a part; none where some are not all looked for.
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

    /// What one term leads to.
    fn add(&mut self, term: Term, place: Place) {
        match place {
            Place::Event(sequence) => self.known.push(sequence),
            Place::List(chunk) => drop(self.lists.insert((chunk, term.field()))),
        }
    }
}

/// Reads a sequence as the function packs it.
pub(crate) fn sequence(bytes: &[u8; PACKED]) -> u64 {
    bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// What waits to be folded, and the runs there are after it was read: what was folded meanwhile is in both.
pub(crate) async fn ground(store: &Partition) -> Result<(Pending, Manifest), StorageFailure> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("GET").arg(store.keys().pending());
    pipeline.cmd("GET").arg(store.keys().manifest());
    match store.link().read_all(&pipeline).await?.as_slice() {
        [pending, manifest] => Ok((Pending::read_answer(pending)?, Manifest::read_answer(manifest)?)),
        _ => Err(unexpected_reply("the list of runs")),
    }
}

/// What waits to be folded.
pub(crate) async fn pending(store: &Partition) -> Result<Pending, StorageFailure> {
    let mut command = redis::cmd("GET");
    command.arg(store.keys().pending());
    Pending::read_answer(&store.link().read(&command).await?)
}

/// What terms lead to within a range, for the terms of each part; and what waited to be folded.
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
            // A run was merged into another meanwhile.
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

/// Where terms lead in the runs that reach into a range; none where one of these is gone.
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

/// Pieces of runs: where each begins, and how many bytes it is.
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

/// How often a term leads to an event, as far as two.
pub(crate) async fn times_posted(
    store: &Partition,
    sequence: u64,
    term: Term,
) -> Result<usize, StorageFailure> {
    let range = Range { order: domain::ports::Order::OldestFirst, low: sequence, high: sequence };
    let (mut shorts, pending) = look_up(store, &[vec![term]], range).await?;
    let short = shorts.pop().unwrap_or_default();
    // What was folded while this was read counts once.
    let waits = pending.of_term(term).filter(|own| *own == sequence).count();
    if waits > 0 {
        return Ok(waits);
    }
    let known = short.known.iter().filter(|own| **own == sequence).count();
    // A list that no run leads to is looked at as well.
    let list = store.keys().long(sequence / CHUNK, &term.field());
    let mut command = redis::cmd("LPOS");
    command.arg(list).arg(sequence % CHUNK).arg("COUNT").arg(2);
    match store.link().read(&command).await? {
        Value::Array(places) => Ok(known + places.len()),
        _ => Err(unexpected_reply("the positions of a term")),
    }
}
