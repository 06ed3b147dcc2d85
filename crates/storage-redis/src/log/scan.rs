//! Reads pages: candidates in order, from the source that the plan selects. The whole filter is applied to each
//! candidate.
//!
//! A page begins with one round trip: the state, and every request that is possible before the state is known. Lists
//! and the dictionary are read after the head, and no event past the head is returned. So a reader never skips an
//! event that is before an event that it has seen.

use domain::{
    Filter, StorageFailure,
    ports::{
        Order, RetentionMode,
        engine::{PartitionState, Scan, ScanPage},
    },
};
use jiff::Timestamp;

use crate::{
    client::reply::text,
    engine::{
        keys::{CHUNK, Digest},
        partition::Partition,
        state::State,
    },
    index::{
        pending::Pending,
        plan::{self, Plan},
        postings::Range,
        short::{self, Short},
        term_lookup::TermLookup,
        terms::Parts,
    },
    log::{
        ask::{Ahead, Ask},
        entries::Entry,
        first_trip::{FirstTrip, LookUp},
    },
};

/// How many events a page examines before it ends with a place to continue.
const MAX_EXAMINED: usize = 16 * 1024;
/// How many bytes of events a page returns at most, for any limit of the caller.
pub(crate) const MAX_PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// The number of entries of one round trip.
pub(crate) const MAX_FETCHED: usize = 1_000;
/// How many ids are looked up one by one. With more ids, the other parts of the filter are used.
const MAX_IDS: usize = 20_000;

/// Reads a page of matching events.
pub(crate) async fn page(store: &Partition, scan: &Scan<'_>) -> Result<ScanPage, StorageFailure> {
    let mut walk = Walk::begin(store, scan).await?;
    let mut entries = Vec::new();
    let next = fill(&mut walk, store, scan, &mut entries).await?;
    Ok(ScanPage { entries, next, state: walk.told() })
}

/// Fills a page. Returns the sequence after which to continue.
async fn fill(
    walk: &mut Walk<'_>,
    store: &Partition,
    scan: &Scan<'_>,
    page: &mut Vec<domain::ports::engine::Entry>,
) -> Result<Option<u64>, StorageFailure> {
    let (limit, mut bytes, mut examined) = (scan.limit.max(1), 0, 0);
    loop {
        let Some(found) = walk.next(store, limit - page.len().min(limit)).await? else {
            return Ok(walk.stopped());
        };
        examined += found.len().max(1);
        let last = found.last().map(|entry| entry.sequence);
        for entry in found {
            let sequence = entry.sequence;
            match &entry.event {
                Ok(event) if !scan.filter.matches(event) => continue,
                _ => bytes += entry.bytes,
            }
            let indexed = entry.event.is_err() && walk.is_indexed(store, scan.filter, sequence).await?;
            page.push(entry.given(store, indexed));
            if page.len() == limit || bytes >= walk.most_bytes {
                return Ok(walk.after(sequence, Some(sequence) == last));
            }
        }
        if examined >= MAX_EXAMINED {
            return Ok(walk.reached.and_then(|reached| walk.after(reached, true)));
        }
    }
}

/// A walk through the log for a filter.
pub(crate) struct Walk<'f> {
    state: State,
    now: Timestamp,
    /// The range of the walk, and the part of it that a scan has not reached yet.
    range: Range,
    rest: Range,
    plan: Plan<'f>,
    /// Whether nearly every candidate matches.
    is_sure: bool,
    /// The largest number of bytes of events that the page returns.
    most_bytes: u64,
    /// Entries that came with the state: of a scan, or by terms.
    ahead: Option<Ahead>,
    near: TermLookup,
    /// The last sequence that was examined.
    reached: Option<u64>,
}

impl<'f> Walk<'f> {
    /// Reads the state and plans the walk.
    pub(crate) async fn begin(store: &Partition, scan: &Scan<'f>) -> Result<Self, StorageFailure> {
        let filter = &**scan.filter;
        let is_by_id = !filter.event_ids.is_empty() && filter.event_ids.len() <= MAX_IDS;
        let parts = match store.keeps() {
            RetentionMode::History if !is_by_id => Parts::of(filter),
            _ => Parts::default(),
        };
        let mut wanted = LookUp {
            terms: parts.shorts.iter().flatten().copied().collect(),
            lists: !parts.longs.is_empty(),
            // With a single part, the walk covers exactly the events of its terms.
            is_all: is_by_id || parts.shorts.len() == 1,
            ..LookUp::default()
        };
        if is_by_id {
            wanted.ids.extend(filter.event_ids.iter().map(|id| Digest::of_id(id)));
        }
        let is_scan = wanted.is_nothing() && parts.longs.is_empty();
        let guess = if is_scan { Ask::guess(store, scan) } else { None };
        let trip = FirstTrip::read(store, scan, &wanted, guess).await?;
        let FirstTrip { state, now, ids, terms, pending, chunks, ahead, near } = trip;
        let range = asked(scan);
        let range = Range { high: range.high.min(state.head), ..range };
        let plan = if range.low > range.high {
            Plan::Few(Vec::new())
        } else if is_by_id {
            let mut sequences: Vec<u64> = ids.iter().filter_map(|value| text(value)?.parse().ok()).collect();
            sequences.retain(|sequence| range.contains(*sequence));
            range.sort(&mut sequences);
            Plan::Few(sequences)
        } else {
            let found = terms.as_deref().map(Short::of_values).transpose()?.flatten();
            let (shorts, waiting) = match found {
                Some(only) => (vec![only], Pending::default()),
                None if parts.shorts.is_empty() => (Vec::new(), Pending::default()),
                None => short::look_up(store, &parts.shorts, range).await?,
            };
            plan::choose(store, &state, range, parts, shorts, pending.unwrap_or(waiting), chunks).await?
        };
        Ok(Self {
            state,
            now,
            range,
            rest: range,
            plan,
            is_sure: is_one_part(filter),
            most_bytes: scan.max_bytes.clamp(1, MAX_PAGE_BYTES),
            ahead,
            near,
            reached: None,
        })
    }

    /// Returns the next entries in the order of the walk, which may be empty. None at the end.
    pub(crate) async fn next(
        &mut self,
        store: &Partition,
        missing: usize,
    ) -> Result<Option<Vec<Entry>>, StorageFailure> {
        let wanted = self.wanted(missing);
        match &mut self.plan {
            Plan::Few(sequences) => {
                if sequences.is_empty() {
                    return Ok(None);
                }
                let rest = sequences.split_off(wanted.min(sequences.len()));
                let next = std::mem::replace(sequences, rest);
                self.reached = next.last().copied();
                match self.near.take(&next) {
                    Some(found) => Ok(Some(found)),
                    None => Ok(Some(store.entries_at(&next).await?)),
                }
            }
            Plan::Lists(lists) => {
                let Some(next) = lists.next(store, wanted).await? else { return Ok(None) };
                self.reached = lists.reached;
                Ok(Some(store.entries_at(&next).await?))
            }
            Plan::Scan(_) => self.scan(store, wanted).await,
        }
    }

    /// Returns how many entries to fetch, if this many events are missing from the page.
    fn wanted(&self, missing: usize) -> usize {
        let factor = if self.is_sure { 1 } else { 4 };
        let average = (self.state.bytes / self.state.events.max(1)).max(1);
        let most = usize::try_from(self.most_bytes / average).unwrap_or(MAX_FETCHED).clamp(1, MAX_FETCHED);
        missing.saturating_mul(factor).clamp(if self.is_sure { 1 } else { 64 }, MAX_FETCHED).min(most)
    }

    /// Reads on in the present chunk of the walk.
    async fn scan(&mut self, store: &Partition, wanted: usize) -> Result<Option<Vec<Entry>>, StorageFailure> {
        let (range, order) = (self.rest, self.rest.order);
        let Plan::Scan(chunks) = &mut self.plan else { return Ok(None) };
        let Some(chunk) = chunks.front().copied().filter(|_| range.low <= range.high) else {
            return Ok(None);
        };
        let mut piece = match self.ahead.take().filter(|ahead| ahead.chunk == chunk) {
            Some(ahead) => ahead,
            None => {
                let from = range.low.max(chunk * CHUNK);
                let ask = Ask { chunk, from: Some(from), to: Some(range.high), count: wanted };
                ask.read(store, order).await?
            }
        };
        let all = piece.entries.len();
        piece.entries.retain(|entry| range.contains(entry.sequence));
        if piece.ends || piece.entries.len() < all {
            chunks.pop_front();
        }
        if let Some(through) = piece.through {
            let through = through.clamp(range.low, range.high);
            self.reached = Some(through);
            match order {
                Order::OldestFirst => self.rest.low = through.saturating_add(1),
                Order::NewestFirst => self.rest.high = through.saturating_sub(1),
            }
        }
        if piece.has_replays && !piece.entries.is_empty() {
            store.count_replays(chunk, &mut piece.entries).await?;
        }
        Ok(Some(piece.entries))
    }

    /// Returns the state of the partition that the walk uses.
    fn told(&self) -> PartitionState {
        self.state.told(self.now)
    }

    /// Returns whether an index says that a damaged event matches.
    async fn is_indexed(
        &self,
        store: &Partition,
        filter: &Filter,
        sequence: u64,
    ) -> Result<bool, StorageFailure> {
        match self.plan {
            Plan::Few(_) | Plan::Lists(_) => Ok(true),
            Plan::Scan(_) if store.keeps() == RetentionMode::UntilDelivered => Ok(false),
            // The walk read the log and no index, because most events have the terms of the filter.
            Plan::Scan(_) => is_posted(store, filter, sequence).await,
        }
    }

    /// Returns the sequence after which to continue. None if nothing can follow.
    fn after(&self, sequence: u64, is_last_found: bool) -> Option<u64> {
        let more = match (&self.plan, self.range.order) {
            (Plan::Few(rest), _) if is_last_found => !rest.is_empty(),
            (_, Order::OldestFirst) => sequence < self.range.high,
            (_, Order::NewestFirst) => sequence > self.range.low,
        };
        more.then_some(sequence)
    }

    /// Returns the place to continue, if the walk ended although more events may follow.
    pub(crate) fn stopped(&self) -> Option<u64> {
        let Plan::Lists(lists) = &self.plan else { return None };
        let chunk = lists.stopped?;
        Some(match self.range.order {
            Order::OldestFirst => (chunk * CHUNK).saturating_sub(1),
            Order::NewestFirst => (chunk + 1) * CHUNK,
        })
    }
}

/// Returns whether the index leads from each part of a filter to a sequence. False if the filter has other parts than
/// short ones.
async fn is_posted(store: &Partition, filter: &Filter, sequence: u64) -> Result<bool, StorageFailure> {
    let parts = Parts::of(filter);
    if !parts.is_all || !parts.longs.is_empty() || parts.shorts.is_empty() {
        return Ok(false);
    }
    for part in &parts.shorts {
        let mut is_in_part = false;
        for term in part {
            is_in_part = is_in_part || short::times_posted(store, sequence, *term).await? > 0;
        }
        if !is_in_part {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns whether a filter has only one criterion, so that nearly every candidate matches.
fn is_one_part(filter: &Filter) -> bool {
    let parts = [
        filter.types.is_empty(),
        filter.sources.is_empty(),
        filter.correlation_ids.is_empty(),
        filter.event_ids.is_empty(),
        filter.from.is_none() && filter.to.is_none(),
        filter.condition.is_none(),
    ];
    parts.iter().filter(|is_empty| !**is_empty).count() + filter.entities.len() <= 1
        && filter.condition.is_none()
}

/// Returns the range of a scan, as far as it is known before the state is read.
pub(crate) fn asked(scan: &Scan<'_>) -> Range {
    let (order, until) = (scan.order, scan.until.unwrap_or(u64::MAX));
    match (scan.after, order) {
        (None, _) => Range { order, low: 1, high: until },
        (Some(after), Order::OldestFirst) => Range { order, low: after.saturating_add(1), high: until },
        (Some(after), Order::NewestFirst) => {
            Range { order, low: 1, high: until.min(after.saturating_sub(1)) }
        }
    }
}
