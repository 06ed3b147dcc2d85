//! Reading pages: candidates in order from what the plan chose, each held against the whole filter.
//!
//! A page begins with one round trip: the state, and with it whatever can be asked before the state is known. What lists and
//! dictionary hold is read after the head, and nothing past the head is returned, so that no event is passed over which
//! stands before one that a reader has seen.

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

/// Events that a page looks at before it says "go on from here".
const MAX_EXAMINED: usize = 16 * 1024;
/// Bytes of events that a page returns before it says so, whatever limit was asked for.
pub(crate) const MAX_PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// Entries of one round trip.
pub(crate) const MAX_FETCHED: usize = 1_000;
/// Ids that are looked up one by one; with more, the other parts of the filter are used.
const MAX_IDS: usize = 20_000;

/// Reads a page of the events that match.
pub(crate) async fn page(store: &Partition, scan: &Scan<'_>) -> Result<ScanPage, StorageFailure> {
    let mut walk = Walk::begin(store, scan).await?;
    let mut entries = Vec::new();
    let next = fill(&mut walk, store, scan, &mut entries).await?;
    Ok(ScanPage { entries, next, state: walk.told() })
}

/// Fills a page; behind which sequence to go on.
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
    /// What is walked, and what of it a scan has not come to.
    range: Range,
    rest: Range,
    plan: Plan<'f>,
    /// Whether every candidate matches, as a rule.
    is_sure: bool,
    /// Bytes of events that its page returns at most.
    most_bytes: u64,
    /// Entries that came with the state, of a scan or by terms.
    ahead: Option<Ahead>,
    near: TermLookup,
    /// The last sequence that was looked at.
    reached: Option<u64>,
}

impl<'f> Walk<'f> {
    /// Reads the state and chooses how to walk.
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
            // With one part what its terms name is what is walked.
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

    /// The next entries, in the order of the walk; none where there are no more. They may be empty.
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

    /// How many entries to fetch for so many that are missing.
    fn wanted(&self, missing: usize) -> usize {
        let factor = if self.is_sure { 1 } else { 4 };
        let average = (self.state.bytes / self.state.events.max(1)).max(1);
        let most = usize::try_from(self.most_bytes / average).unwrap_or(MAX_FETCHED).clamp(1, MAX_FETCHED);
        missing.saturating_mul(factor).clamp(if self.is_sure { 1 } else { 64 }, MAX_FETCHED).min(most)
    }

    /// Reads on in the chunk that the walk has come to.
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

    /// The partition as the walk goes by it.
    fn told(&self) -> PartitionState {
        self.state.told(self.now)
    }

    /// Whether an index says of a damaged event that it matches.
    async fn is_indexed(
        &self,
        store: &Partition,
        filter: &Filter,
        sequence: u64,
    ) -> Result<bool, StorageFailure> {
        match self.plan {
            Plan::Few(_) | Plan::Lists(_) => Ok(true),
            Plan::Scan(_) if store.keeps() == RetentionMode::UntilDelivered => Ok(false),
            // Most events have what the filter asks for, so the log was read and no index.
            Plan::Scan(_) => is_posted(store, filter, sequence).await,
        }
    }

    /// The sequence to go on behind; none where nothing can follow.
    fn after(&self, sequence: u64, is_last_found: bool) -> Option<u64> {
        let more = match (&self.plan, self.range.order) {
            (Plan::Few(rest), _) if is_last_found => !rest.is_empty(),
            (_, Order::OldestFirst) => sequence < self.range.high,
            (_, Order::NewestFirst) => sequence > self.range.low,
        };
        more.then_some(sequence)
    }

    /// Where to go on, of a walk that gives no more although there may be more.
    pub(crate) fn stopped(&self) -> Option<u64> {
        let Plan::Lists(lists) = &self.plan else { return None };
        let chunk = lists.stopped?;
        Some(match self.range.order {
            Order::OldestFirst => (chunk * CHUNK).saturating_sub(1),
            Order::NewestFirst => (chunk + 1) * CHUNK,
        })
    }
}

/// Whether the index leads from each part of a filter to a sequence, of a filter that asks for nothing else.
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

/// Whether every candidate of a filter matches it, as a rule: there is but one thing that it asks.
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

/// What a scan walks, as far as that can be told before the state is known.
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
