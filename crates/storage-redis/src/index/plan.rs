//! The plan for finding a filter's events: by their ids, by the part of the filter with the fewest positions, or by a
//! full scan. Also the walk over the positions of that part.

use std::collections::VecDeque;

use domain::{StorageFailure, ports::Order};
use redis::{Pipeline, Value};

use crate::{
    client::failure::unexpected_reply,
    engine::{
        keys::{CHUNK, chunk_of},
        partition::Partition,
        state::State,
    },
    index::{
        pending::Pending,
        postings::{Range, Run, Union},
        short::Short,
        terms::{self, ChunkLists, Listed, LongPart, Parts},
    },
};

/// The number of chunks with lists that are read together. The plan considers the first window of chunks.
const CHUNKS_AT_ONCE: usize = 8;
/// How many windows of chunks a walk reads before it ends with a place to continue.
const MOST_WINDOWS: usize = 32;
/// The number of candidates from which reading a second list before the events may pay.
const WORTH_JOINING: u64 = 2_000;
/// How many positions of a list can be read in the time of one event.
const POSITIONS_AN_EVENT: u64 = 30;

/// The plan for finding a filter's events.
pub(crate) enum Plan<'f> {
    /// Scans all of these chunks, in the order of the walk.
    Scan(VecDeque<u64>),
    /// Reads these sequences, in the order of the walk.
    Few(Vec<u64>),
    /// Reads lists.
    Lists(Box<Lists<'f>>),
}

/// Plans the walk of a range, from the positions of the short parts and from the pending terms.
pub(crate) async fn choose<'f>(
    store: &Partition,
    state: &State,
    range: Range,
    parts: Parts<'f>,
    shorts: Vec<Short>,
    pending: Pending,
    chunks: Option<Vec<u64>>,
) -> Result<Plan<'f>, StorageFailure> {
    // A term without a list has so few events that no other plan is quicker.
    let known = shorts.iter().filter(|short| short.lists.is_empty()).min_by_key(|short| short.known.len());
    if let Some(short) = known {
        let mut sequences = short.known.clone();
        sequences.retain(|sequence| range.contains(*sequence));
        range.sort(&mut sequences);
        return Ok(Plan::Few(sequences));
    }
    let chunks = match chunks {
        Some(chunks) => chunks,
        None => store.chunks_by(range.order).await?,
    };
    let within = chunk_of(range.low)..=chunk_of(range.high);
    let mut chunks: VecDeque<u64> = chunks.into_iter().filter(|chunk| within.contains(chunk)).collect();
    if parts.longs.is_empty() && shorts.is_empty() {
        return Ok(Plan::Scan(chunks));
    }
    let listed = listed(store, range, &shorts).await?;
    let first: Vec<u64> = chunks.iter().copied().take(CHUNKS_AT_ONCE).collect();
    let lists = terms::lists(store, &parts.longs, &first, &pending).await?;
    let events: u64 = lists.iter().map(|chunk| chunk.events).sum();
    let Some(chosen) = weigh(&lists, &listed, parts.longs.len(), events, state.events) else {
        return Ok(Plan::Scan(chunks));
    };
    chunks.drain(..first.len());
    let mut streams: Vec<Option<Stream>> =
        (0..parts.longs.len()).map(|part| Some(Stream::long(part, range))).collect();
    streams
        .extend(listed.into_iter().map(|union| Some(Stream { part: None, queue: VecDeque::new(), union })));
    let mut streams = chosen.into_iter().filter_map(|at| streams.get_mut(at)?.take());
    let Some(driver) = streams.next() else { return Ok(Plan::Scan(chunks)) };
    let others = streams.collect();
    let (longs, windows) = (parts.longs, 1);
    let mut plan =
        Lists { range, longs, driver, others, pending, chunks, windows, reached: None, stopped: None };
    plan.add(store, &lists);
    Ok(Plan::Lists(Box::new(plan)))
}

/// Returns the positions of each short part: its lists, and its known positions beside them.
pub(crate) async fn listed(
    store: &Partition,
    range: Range,
    shorts: &[Short],
) -> Result<Vec<Union>, StorageFailure> {
    let mut pipeline = Pipeline::new();
    for (chunk, field) in shorts.iter().flat_map(|short| &short.lists) {
        pipeline.cmd("LLEN").arg(store.keys().long(*chunk, field));
    }
    let mut lengths = store.link().read_all(&pipeline).await?.into_iter();
    let mut unions = Vec::with_capacity(shorts.len());
    for short in shorts {
        let mut union = Union::new(range);
        union.add(Run::known(&short.known, range));
        for (chunk, field) in &short.lists {
            let Some(Value::Int(length)) = lengths.next() else { return Err(unexpected_reply("a length")) };
            let key = store.keys().long(*chunk, field);
            union.add(Run::of_chunk(key, *chunk, CHUNK, length.max(0) as u64, range));
        }
        unions.push(union);
    }
    Ok(unions)
}

/// Chooses the parts to read. The first one leads, and the others filter its positions. None if a full scan is
/// quicker.
///
/// Parts have numbers: first the long ones, then the short ones.
fn weigh(lists: &[ChunkLists], listed: &[Union], longs: usize, events: u64, all: u64) -> Option<Vec<usize>> {
    let mut sizes: Vec<(u64, usize)> = Vec::new();
    for part in 0..longs {
        let of_chunk = |chunk: &ChunkLists| {
            let lists = chunk.parts.get(part)?.as_ref()?;
            Some(lists.iter().map(Listed::all).sum::<u64>())
        };
        if let Some(size) = lists.iter().map(of_chunk).sum::<Option<u64>>() {
            sizes.push((size, part));
        }
    }
    for (at, union) in listed.iter().enumerate() {
        // Its share of positions in these chunks is assumed to equal the share of all events there.
        let size = u128::from(union.len()) * u128::from(events) / u128::from(all.max(1));
        sizes.push((u64::try_from(size).unwrap_or(u64::MAX), longs + at));
    }
    sizes.sort_unstable();
    let (least, driver) = *sizes.first()?;
    if least > events / 2 {
        return None;
    }
    let mut chosen = vec![driver];
    // A list is read if it saves more time on events than its positions cost.
    let spares = |size: u64| least * events.saturating_sub(size) / events.max(1) * POSITIONS_AN_EVENT > size;
    if least >= WORTH_JOINING {
        chosen.extend(sizes.iter().skip(1).filter(|(size, _)| spares(*size)).map(|(_, part)| *part));
    }
    Some(chosen)
}

/// The positions of one part: chunk after chunk, or from lists that are not divided into chunks.
struct Stream {
    /// The number of the long part. None for a short part.
    part: Option<usize>,
    /// The lists of chunks that are not begun yet.
    queue: VecDeque<Vec<Run>>,
    union: Union,
}

impl Stream {
    fn long(part: usize, range: Range) -> Self {
        Self { part: Some(part), queue: VecDeque::new(), union: Union::new(range) }
    }

    /// Begins chunks until this many positions are expected.
    fn begin(&mut self, wanted: usize) {
        while self.union.len() < wanted as u64 {
            let Some(runs) = self.queue.pop_front() else { return };
            for run in runs {
                self.union.add(run);
            }
        }
    }

    /// Adds the lists of a chunk behind the others.
    fn push(&mut self, store: &Partition, of_chunk: &ChunkLists, range: Range) {
        let Some(Some(lists)) = self.part.and_then(|part| of_chunk.parts.get(part)) else { return };
        self.queue.push_back(lists.iter().flat_map(|list| of_chunk.runs(store, list, range)).collect());
    }

    fn begin_all(&mut self) {
        for run in self.queue.drain(..).flatten() {
            self.union.add(run);
        }
    }
}

/// A walk over lists.
pub(crate) struct Lists<'f> {
    range: Range,
    longs: Vec<LongPart<'f>>,
    driver: Stream,
    /// Each of these streams has every wanted position. So the walk skips a position that is missing in one of them.
    others: Vec<Stream>,
    /// The terms that were pending when the walk began.
    pending: Pending,
    /// Chunks with lists that are not read yet.
    chunks: VecDeque<u64>,
    windows: usize,
    /// The last position of the leading part that was examined.
    pub(crate) reached: Option<u64>,
    /// The chunk before which the walk ended, although more positions may follow.
    pub(crate) stopped: Option<u64>,
}

impl Lists<'_> {
    /// Returns the next candidates in the order of the walk: about as many as `wanted`, or an empty list. None at the
    /// end.
    pub(crate) async fn next(
        &mut self,
        store: &Partition,
        wanted: usize,
    ) -> Result<Option<Vec<u64>>, StorageFailure> {
        let link = store.link();
        loop {
            self.driver.begin(wanted);
            let mut block = self.driver.union.next(link, wanted).await?;
            let Some(last) = block.last().copied() else {
                if !self.driver.queue.is_empty() {
                    continue;
                }
                if self.driver.part.is_none() || self.chunks.is_empty() {
                    return Ok(None);
                }
                self.look_further(store).await?;
                continue;
            };
            self.reached = Some(last);
            if self.others.iter().any(|other| other.part.is_some()) {
                while self.chunks.front().is_some_and(|chunk| !self.is_past(*chunk, last)) {
                    self.look_further(store).await?;
                }
            }
            for other in &mut self.others {
                other.begin_all();
                let mut held = other.union.through(link, last).await?;
                held.sort_unstable();
                block.retain(|sequence| held.binary_search(sequence).is_ok());
            }
            return Ok(Some(block));
        }
    }

    /// Returns whether a chunk comes after the chunk of a sequence in the walk.
    fn is_past(&self, chunk: u64, sequence: u64) -> bool {
        match self.range.order {
            Order::OldestFirst => chunk > chunk_of(sequence),
            Order::NewestFirst => chunk < chunk_of(sequence),
        }
    }

    async fn look_further(&mut self, store: &Partition) -> Result<(), StorageFailure> {
        self.windows += 1;
        if self.windows > MOST_WINDOWS && self.driver.part.is_some() {
            self.stopped = self.chunks.front().copied();
            self.chunks.clear();
            return Ok(());
        }
        let next: Vec<u64> = self.chunks.drain(..self.chunks.len().min(CHUNKS_AT_ONCE)).collect();
        let lists = terms::lists(store, &self.longs, &next, &self.pending).await?;
        self.add(store, &lists);
        Ok(())
    }

    fn add(&mut self, store: &Partition, lists: &[ChunkLists]) {
        for of_chunk in lists {
            let part = self.driver.part.and_then(|part| of_chunk.parts.get(part));
            if part.is_some_and(Option::is_none) {
                // This chunk needs another plan, which the next page chooses.
                self.stopped = Some(of_chunk.chunk);
                self.chunks.clear();
                return;
            }
            // A part without lists in this chunk no longer filters the candidates.
            self.others.retain(|other| {
                other.part.and_then(|part| of_chunk.parts.get(part)).is_none_or(Option::is_some)
            });
            for stream in std::iter::once(&mut self.driver).chain(&mut self.others) {
                stream.push(store, of_chunk, self.range);
            }
        }
    }
}
