//! Counts events: by lists if their lengths give an exact answer, otherwise event by event.

use std::sync::Arc;

use domain::{
    Filter, StorageFailure,
    ports::{Order, RetentionMode, engine::Scan},
};

use crate::{
    engine::{
        keys::{CHUNK, chunk_of},
        partition::Partition,
    },
    index::{
        pending::Pending,
        plan,
        postings::{Range, Union, count_through},
        short::{self, Short},
        terms::{self, ChunkLists, Listed, LongPart, Parts},
    },
    log::scan::Walk,
};

/// The number of chunks with lists that are read together.
const CHUNKS_AT_ONCE: usize = 16;
/// How many positions of a list can be read in the time of one event.
const POSITIONS_AN_EVENT: u64 = 30;
/// The largest number of candidates that are read one by one.
const FEW: usize = 1_000;

/// Counts the matching events, up to a sequence.
pub(crate) async fn count(
    store: &Partition,
    filter: &Arc<Filter>,
    until: u64,
) -> Result<u64, StorageFailure> {
    let state = store.state().await?;
    let mark = until.min(state.head);
    if filter.is_everything() && mark == state.head {
        return Ok(state.events);
    }
    let reading = Reading { store, filter };
    let mut parts = Parts::of(filter);
    if filter.is_everything() {
        parts.longs.push(LongPart::Hours(i64::MIN, i64::MAX));
    }
    if !parts.is_all || store.keeps() == RetentionMode::UntilDelivered {
        return reading.count(0, mark).await;
    }
    let range = Range { order: Order::OldestFirst, low: 1, high: mark };
    let (shorts, pending) = match parts.shorts.is_empty() {
        true => (Vec::new(), short::pending(store).await?),
        false => short::look_up(store, &parts.shorts, range).await?,
    };
    let is_few = |short: &Short| short.lists.is_empty() && short.known.len() <= FEW;
    if shorts.iter().any(is_few) {
        return reading.count(0, mark).await;
    }
    let mut unions = plan::listed(store, range, &shorts).await?;
    if parts.longs.is_empty()
        && let [only] = unions.as_mut_slice()
    {
        // Pending terms that were folded after their read are in a list too. So each list counts only up to the first
        // pending event.
        return only.count(store.link(), mark.min(pending.base().unwrap_or(mark))).await;
    }
    Tally { reading, longs: parts.longs, shorts: unions, pending, mark }.count().await
}

/// Counts event by event.
struct Reading<'a> {
    store: &'a Partition,
    filter: &'a Arc<Filter>,
}

impl Reading<'_> {
    fn counts(&self, entry: &crate::log::entries::Entry) -> bool {
        entry.event.as_ref().is_ok_and(|event| self.filter.matches(event))
    }

    /// Counts matching events after a sequence, up to another.
    async fn count(&self, after: u64, mark: u64) -> Result<u64, StorageFailure> {
        let (mut count, mut after) = (0, Some(after));
        while let Some(from) = after {
            let scan = Scan {
                filter: self.filter,
                order: Order::OldestFirst,
                after: Some(from),
                until: Some(mark),
                limit: usize::MAX,
                max_bytes: u64::MAX,
            };
            let mut walk = Walk::begin(self.store, &scan).await?;
            while let Some(found) = walk.next(self.store, usize::MAX).await? {
                count += found.iter().filter(|entry| self.counts(entry)).count() as u64;
            }
            after = walk.stopped();
        }
        Ok(count)
    }

    /// Counts matching events at these positions.
    async fn count_at(&self, sequences: &[u64]) -> Result<u64, StorageFailure> {
        let mut count = 0;
        for sequences in sequences.chunks(1_000) {
            let found = self.store.entries_at(sequences).await?;
            count += found.iter().filter(|entry| self.counts(entry)).count() as u64;
        }
        Ok(count)
    }
}

/// Counts by lists, chunk after chunk.
struct Tally<'a, 'f> {
    reading: Reading<'a>,
    longs: Vec<LongPart<'f>>,
    /// The lists of short parts, which are not divided into chunks.
    shorts: Vec<Union>,
    /// The terms that were pending before any list was read.
    pending: Pending,
    mark: u64,
}

/// The lists of one part in one chunk.
#[derive(Default)]
struct Lists<'l> {
    /// All events of these lists are in the time range.
    whole: Vec<&'l Listed>,
    /// Some events of these lists may be outside the time range.
    edge: Vec<&'l Listed>,
}

impl Lists<'_> {
    fn len(&self) -> u64 {
        self.whole.iter().chain(&self.edge).map(|list| list.all()).sum()
    }
}

impl Tally<'_, '_> {
    async fn count(mut self) -> Result<u64, StorageFailure> {
        let store = self.reading.store;
        let mut chunks = store.chunks_by(Order::OldestFirst).await?;
        chunks.retain(|chunk| *chunk <= chunk_of(self.mark));
        let mut count = 0;
        for chunks in chunks.chunks(CHUNKS_AT_ONCE) {
            for of_chunk in terms::lists(store, &self.longs, chunks, &self.pending).await? {
                count += self.count_chunk(&of_chunk).await?;
            }
        }
        Ok(count)
    }

    fn range(&self, chunk: u64) -> Range {
        let (low, high) = (chunk * CHUNK, (chunk * CHUNK).saturating_add(CHUNK - 1).min(self.mark));
        Range { order: Order::OldestFirst, low, high }
    }

    async fn count_chunk(&mut self, of_chunk: &ChunkLists) -> Result<u64, StorageFailure> {
        let (range, link) = (self.range(of_chunk.chunk), self.reading.store.link());
        let Some(longs) =
            of_chunk.parts.iter().map(|part| Some(self.divided(part.as_ref()?))).collect::<Option<Vec<_>>>()
        else {
            for short in &mut self.shorts {
                short.through(link, range.high).await?;
            }
            return self.reading.count(range.low.saturating_sub(1), range.high).await;
        };
        let mut sets = Vec::with_capacity(self.shorts.len() + longs.len());
        for short in &mut self.shorts {
            sets.push(short.through(link, range.high).await?);
        }
        if let ([only], true) = (longs.as_slice(), sets.is_empty()) {
            return self.count_one(of_chunk, only, range).await;
        }
        self.count_joined(of_chunk, &longs, sets, range).await
    }

    /// Divides the lists of a part into lists within the time range, and lists that reach beyond it.
    fn divided<'l>(&self, lists: &'l [Listed]) -> Lists<'l> {
        let filter = self.reading.filter;
        let edges = [filter.from, filter.to].map(|edge| edge.map(crate::engine::keys::hour_of));
        let (edge, whole) = lists.iter().partition(|list| list.hour.is_some() && edges.contains(&list.hour));
        Lists { whole, edge }
    }

    /// Counts a single part. The lengths of its lists add up, since an event has one type, one source and one hour.
    async fn count_one(
        &self,
        of_chunk: &ChunkLists,
        part: &Lists<'_>,
        range: Range,
    ) -> Result<u64, StorageFailure> {
        // A list grows only at its end, so it is bounded there: by the mark, and by the first pending event.
        let through = self.mark.min(self.pending.base().unwrap_or(self.mark));
        let mut count = if chunk_of(through) <= of_chunk.chunk {
            let past = Range { low: through.saturating_add(1), high: u64::MAX, ..range };
            let runs = part
                .whole
                .iter()
                .flat_map(|list| of_chunk.runs(self.reading.store, list, past).into_iter().next());
            let waiting = part.whole.iter().flat_map(|list| &list.waiting).filter(|own| **own <= self.mark);
            let waiting = waiting.count() as u64;
            count_through(self.reading.store.link(), runs.collect()).await? + waiting
        } else {
            part.whole.iter().map(|list| list.len).sum()
        };
        if !part.edge.is_empty() {
            let edge = self.read(of_chunk, &part.edge, range).await?;
            count += self.reading.count_at(&edge).await?;
        }
        Ok(count)
    }

    /// Counts several parts: the positions that are in the lists of every part.
    async fn count_joined(
        &self,
        of_chunk: &ChunkLists,
        longs: &[Lists<'_>],
        mut sets: Vec<Vec<u64>>,
        range: Range,
    ) -> Result<u64, StorageFailure> {
        sets.sort_by_key(Vec::len);
        let mut parts: Vec<&Lists<'_>> = longs.iter().collect();
        parts.sort_by_key(|part| part.len());
        // None: no part restricts the positions yet.
        let mut joined = sets.into_iter().reduce(|one, other| both(&one, &other));
        let mut edge = Vec::new();
        for part in parts {
            let few =
                joined.as_ref().is_some_and(|joined| joined.len() as u64 * POSITIONS_AN_EVENT < part.len());
            if few {
                let left = joined.unwrap_or_default();
                return self.reading.count_at(&left).await;
            }
            let mut all = self.read(of_chunk, &part.whole, range).await?;
            if !part.edge.is_empty() {
                edge = self.read(of_chunk, &part.edge, range).await?;
                all.extend(&edge);
                all.sort_unstable();
            }
            joined = Some(match joined {
                Some(joined) => both(&joined, &all),
                None => all,
            });
        }
        let joined = joined.unwrap_or_default();
        let at_the_edge = both(&joined, &edge);
        Ok((joined.len() - at_the_edge.len()) as u64 + self.reading.count_at(&at_the_edge).await?)
    }

    /// Returns the positions of some lists, sorted.
    async fn read(
        &self,
        of_chunk: &ChunkLists,
        lists: &[&Listed],
        range: Range,
    ) -> Result<Vec<u64>, StorageFailure> {
        let mut union = Union::new(range);
        for list in lists {
            of_chunk.runs(self.reading.store, list, range).into_iter().for_each(|run| union.add(run));
        }
        union.through(self.reading.store.link(), range.high).await
    }
}

/// Returns the positions that are in both sorted lists. The shorter list leads, and the other is searched by strides
/// that double.
fn both(one: &[u64], other: &[u64]) -> Vec<u64> {
    let (short, mut long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let mut found = Vec::new();
    for sequence in short {
        let mut stride = 1;
        while long.get(stride).is_some_and(|at| at < sequence) {
            stride *= 2;
        }
        let reach = long.get(..=stride).unwrap_or(long);
        long = long.get(reach.partition_point(|at| at < sequence)..).unwrap_or_default();
        if long.first() == Some(sequence) {
            found.push(*sequence);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_both_lists_is_found_at_any_lengths() {
        let random = &mut fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let mut list = || {
                let len = [0, 1, 2, 5, 40, 300][random.usize(..6)];
                let mut list: Vec<u64> = (0..len).map(|_| random.u64(..400)).collect();
                list.sort_unstable();
                list.dedup();
                list
            };
            let (one, other) = (list(), list());
            let expected: Vec<u64> = one.iter().copied().filter(|at| other.contains(at)).collect();
            assert_eq!(both(&one, &other), expected, "{one:?} {other:?}");
        }
    }
}
