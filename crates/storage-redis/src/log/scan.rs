//! Reading pages: candidates in order from what the plan chose, each held against the whole filter.
//!
//! A page begins with one round trip: the state, and with it whatever can be asked before the state is known. What lists and
//! dictionary hold is read after the head, and nothing past the head is returned, so that no event is passed over which
//! stands before one that a reader has seen.

use domain::{
    Filter, StorageFailure,
    ports::{
        Keeps, Order,
        engine::{PartitionState, Scan, ScanPage},
    },
};
use futures_util::future::{try_join, try_join_all};
use jiff::Timestamp;
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    client::{failure::unexpected_reply, reply::text},
    engine::{
        keys::{CHUNK, Digest, chunk_of},
        partition::Partition,
        state::State,
    },
    index::{
        dictionary::Posted,
        lookup::in_list,
        plan::{self, Plan, Short},
        postings::Range,
        term_lookup::TermLookup,
        terms::Parts,
    },
    log::entries::{Entry, entries, range as log_range, range_back},
};

/// Events that a page looks at before it says "go on from here".
const MAX_EXAMINED: usize = 16 * 1024;
/// Bytes of events that a page returns before it says so, whatever limit was asked for.
pub(crate) const MAX_PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// Entries of one round trip.
const MAX_FETCHED: usize = 1_000;
/// From so many entries on they are read in so many pieces at once.
const WORTH_CUTTING: usize = 400;
const PIECES: usize = 2;
/// Ids that are looked up one by one; with more, the other parts of the filter are used.
const MAX_IDS: usize = 20_000;
/// So many events are asked for together with the state where it is not known how long they are.
const MAX_GUESSED: usize = 100;
/// The first round trip is made again where the dictionary was split meanwhile.
const MOST_TRIES: usize = 100;

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
            Keeps::History if !is_by_id => Parts::of(filter),
            _ => Parts::default(),
        };
        let mut digests: Vec<Digest> = parts.shorts.iter().flatten().copied().collect();
        if is_by_id {
            digests.extend(filter.event_ids.iter().map(|id| Digest::of_id(id)));
        }
        let is_scan = digests.is_empty() && parts.longs.is_empty();
        let guess = if is_scan { Ask::guess(store, scan) } else { None };
        // With one part what its terms name is what is walked.
        let is_near = is_by_id || parts.shorts.len() == 1;
        let Ground { state, now, values, chunks, ahead, near } =
            Ground::read(store, scan, &digests, guess, is_near).await?;
        let range = asked(scan);
        let range = Range { high: range.high.min(state.head), ..range };
        let plan = if range.low > range.high {
            Plan::Few(Vec::new())
        } else if is_by_id {
            let mut sequences: Vec<u64> =
                values.iter().filter_map(|value| text(value)?.parse().ok()).collect();
            sequences.retain(|sequence| range.contains(*sequence));
            range.sort(&mut sequences);
            Plan::Few(sequences)
        } else {
            let shorts = Short::read_all(&parts.shorts, &values)?;
            plan::choose(store, &state, range, parts, shorts, chunks).await?
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
            Plan::Scan(_) if store.keeps() == Keeps::Deliveries => Ok(false),
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

/// Whether the dictionary leads from each part of a filter to a sequence, of a filter that asks for nothing else.
async fn is_posted(store: &Partition, filter: &Filter, sequence: u64) -> Result<bool, StorageFailure> {
    let parts = Parts::of(filter);
    if !parts.is_all || !parts.longs.is_empty() || parts.shorts.is_empty() {
        return Ok(false);
    }
    for part in &parts.shorts {
        let mut is_in_part = false;
        for (digest, value) in part.iter().zip(store.dictionary().values_of(part).await?) {
            let Value::BulkString(value) = value else { continue };
            is_in_part |= match Posted::read(&value) {
                Posted::Packed(sequences) => sequences.contains(&sequence),
                Posted::List => {
                    let list = store.keys().promoted(*digest);
                    !in_list(store, &list, &[sequence], |sequence| sequence).await?.is_empty()
                }
                _ => false,
            };
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
fn asked(scan: &Scan<'_>) -> Range {
    let (order, until) = (scan.order, scan.until.unwrap_or(u64::MAX));
    match (scan.after, order) {
        (None, _) => Range { order, low: 1, high: until },
        (Some(after), Order::OldestFirst) => Range { order, low: after.saturating_add(1), high: until },
        (Some(after), Order::NewestFirst) => {
            Range { order, low: 1, high: until.min(after.saturating_sub(1)) }
        }
    }
}

/// Entries of a chunk that are asked for.
struct Ask {
    chunk: u64,
    /// The least and the greatest sequence; none: as far as the chunk goes.
    from: Option<u64>,
    to: Option<u64>,
    count: usize,
}

impl Ask {
    /// What a page begins with, if what the scan says is so: few enough events that they can be asked for with the state.
    fn guess(store: &Partition, scan: &Scan<'_>) -> Option<Self> {
        let head = store.known().head;
        let most = match store.last().average_bytes() {
            0 => MAX_GUESSED,
            average => usize::try_from(MAX_PAGE_BYTES / average).unwrap_or(MAX_FETCHED).min(MAX_FETCHED),
        };
        let (after, until, count) = (scan.after, scan.until, scan.limit.max(1));
        if count > most {
            return None;
        }
        Some(match scan.order {
            Order::OldestFirst => {
                let low = after.unwrap_or(0).saturating_add(1);
                Self { chunk: chunk_of(low), from: Some(low), to: until, count }
            }
            Order::NewestFirst => {
                let high = match (after.map(|after| after.saturating_sub(1)), until) {
                    (Some(after), Some(until)) => Some(after.min(until)),
                    (one, other) => one.or(other),
                };
                let chunk = chunk_of(high.unwrap_or(head));
                Self { chunk, from: None, to: high, count }
            }
        })
    }

    /// The same as several that can be read at once, where the log has an event at about every sequence: while one is
    /// unpacked the next is on its way.
    fn pieces(&self, order: Order) -> Option<Vec<Range>> {
        let low = self.from.filter(|_| order == Order::OldestFirst && self.count >= WORTH_CUTTING)?;
        let end = (self.chunk * CHUNK + CHUNK - 1).min(self.to.unwrap_or(u64::MAX));
        let size = (self.count / PIECES) as u64;
        let range = |piece: u64| Range {
            order,
            low: low.saturating_add(piece * size),
            high: end.min(low.saturating_add((piece + 1) * size - 1)),
        };
        Some((0..PIECES as u64).map(range).filter(|range| range.low <= range.high).collect())
    }

    /// Reads them.
    async fn read(&self, store: &Partition, order: Order) -> Result<Ahead, StorageFailure> {
        match self.pieces(order).filter(|_| store.last().is_dense()) {
            Some(pieces) => self.read_pieces(store, &pieces).await,
            None => self.read_counted(store, order).await,
        }
    }

    async fn read_counted(&self, store: &Partition, order: Order) -> Result<Ahead, StorageFailure> {
        let id = |sequence: Option<u64>, open: &str| {
            sequence.map_or_else(|| open.to_owned(), |sequence| sequence.to_string())
        };
        let (key, low, high) = (store.keys().log(self.chunk), id(self.from, "-"), id(self.to, "+"));
        let mut command = match order {
            Order::OldestFirst => log_range(&key, &low, &high),
            Order::NewestFirst => range_back(&key, &high, &low),
        };
        command.arg("COUNT").arg(self.count);
        let (entries, has_replays) = self.entries_of(store, command).await?;
        let ends = entries.len() < self.count;
        let last = entries.last().map(|last| last.sequence);
        if let (Some(low), Some(last)) = (self.from, last) {
            store.last().set_density(entries.len() as u64, last.saturating_sub(low) + 1);
        }
        Ok(Ahead { chunk: self.chunk, entries, has_replays, ends, through: last })
    }

    async fn read_pieces(&self, store: &Partition, pieces: &[Range]) -> Result<Ahead, StorageFailure> {
        let key = store.keys().log(self.chunk);
        let piece = |range: &Range| self.entries_of(store, log_range(&key, range.low, range.high));
        let read = try_join_all(pieces.iter().map(piece)).await?;
        let mut ahead =
            Ahead { chunk: self.chunk, entries: Vec::with_capacity(self.count), ..Ahead::default() };
        for (entries, has_replays) in read {
            ahead.entries.extend(entries);
            ahead.has_replays |= has_replays;
        }
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(ahead) };
        ahead.through = Some(last.high);
        ahead.ends = last.high % CHUNK == CHUNK - 1;
        let newest = ahead.entries.last().map_or(last.high, |entry| entry.sequence);
        store.last().set_density(ahead.entries.len() as u64, newest - first.low + 1);
        Ok(ahead)
    }

    /// What a command answers, and whether any event of the chunk was ever replayed.
    async fn entries_of(
        &self,
        store: &Partition,
        command: redis::Cmd,
    ) -> Result<(Vec<Entry>, bool), StorageFailure> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.add_command(command).cmd("EXISTS").arg(store.keys().replayed(self.chunk));
        let mut answers = store.read_entries(&pipeline).await?.into_iter();
        let (Some(found), Some(replayed)) = (answers.next(), answers.next()) else {
            return Err(unexpected_reply("entries of the log"));
        };
        Ok((entries(found)?, replayed == Value::Int(1)))
    }
}

/// Entries of a chunk, in the order of the walk.
#[derive(Default)]
struct Ahead {
    chunk: u64,
    entries: Vec<Entry>,
    /// Whether any event of the chunk was ever replayed.
    has_replays: bool,
    /// Whether the chunk has no more.
    ends: bool,
    /// The last sequence that was looked at, where one was.
    through: Option<u64>,
}

/// What the first round trip brings.
struct Ground {
    state: State,
    now: Timestamp,
    /// What the dictionary holds.
    values: Vec<Value>,
    /// The numbers of the chunks, where they were asked for.
    chunks: Option<Vec<u64>>,
    ahead: Option<Ahead>,
    near: TermLookup,
}

impl Ground {
    async fn read(
        store: &Partition,
        scan: &Scan<'_>,
        digests: &[Digest],
        guess: Option<Ask>,
        is_near: bool,
    ) -> Result<Self, StorageFailure> {
        let mut is_near = is_near;
        for _ in 0..MOST_TRIES {
            let near = is_near && store.finding().is_worth(digests.len(), scan.limit);
            match Self::try_read(store, scan, digests, guess.as_ref(), near).await {
                Ok(Some(ground)) => return Ok(ground),
                Ok(None) => {}
                Err(failure) if near && store.finding().is_impossible(&failure) => is_near = false,
                Err(failure) => return Err(failure),
            }
        }
        Err(StorageFailure::Busy { waited: std::time::Duration::ZERO })
    }

    /// None where the dictionary has other buckets than was known.
    async fn try_read(
        store: &Partition,
        scan: &Scan<'_>,
        digests: &[Digest],
        guess: Option<&Ask>,
        is_near: bool,
    ) -> Result<Option<Self>, StorageFailure> {
        let (keys, known) = (store.keys(), store.known());
        let mut pipeline = Pipeline::with_capacity(digests.len() + 5);
        pipeline.cmd("HGETALL").arg(keys.meta());
        store.ask_time(&mut pipeline);
        if is_near {
            let wanted = asked(scan);
            pipeline.add_command(TermLookup::command(store, known, digests, wanted, scan.limit.max(1)));
        } else {
            for digest in digests {
                let bucket = keys.bucket(digest.bucket(known.level, known.split));
                pipeline.cmd("HGET").arg(bucket).arg(&digest.0[..]);
            }
        }
        if digests.is_empty() {
            pipeline.add_command(chunks_command(store, scan.order));
        } else {
            // Asked after the values: what a split moved meanwhile is then known to have been moved.
            pipeline.cmd("HMGET").arg(keys.meta()).arg(&["level", "split"][..]);
        }
        // On one connection what is asked first is answered first: the entries are not older than the state. Where something
        // came in between they may be, and are asked for again.
        let disturbances = store.link().disturbances();
        let ahead = async {
            match guess {
                Some(guess) => guess.read(store, scan.order).await.map(Some),
                None => Ok(None),
            }
        };
        let (answers, ahead) = try_join(store.read_entries(&pipeline), ahead).await?;
        let ahead = ahead.filter(|_| store.link().disturbances() == disturbances);
        let mut answers = answers.into_iter();
        let state = store.learn_answer(answers.next().unwrap_or(Value::Nil))?;
        let now = store.take_time(&mut answers)?;
        let (values, near) = match is_near {
            true => TermLookup::read(answers.next().unwrap_or(Value::Nil))?,
            false => (answers.by_ref().take(digests.len()).collect(), TermLookup::default()),
        };
        let rest = answers.next().unwrap_or(Value::Nil);
        let chunks = match digests.is_empty() {
            true => Some(numbers(rest)?),
            false => {
                let now: (u32, u32) =
                    FromRedisValue::from_redis_value(rest).map_err(|_| unexpected_reply("the dictionary"))?;
                if now != (known.level, known.split) {
                    store.last().set_buckets(now.0, now.1);
                    return Ok(None);
                }
                None
            }
        };
        Ok(Some(Self { state, now, values, chunks, ahead, near }))
    }
}

fn chunks_command(store: &Partition, order: Order) -> redis::Cmd {
    let mut command = redis::cmd(if order == Order::OldestFirst { "ZRANGE" } else { "ZREVRANGE" });
    command.arg(store.keys().chunks()).arg(0).arg(-1);
    command
}

fn numbers(answer: Value) -> Result<Vec<u64>, StorageFailure> {
    FromRedisValue::from_redis_value(answer).map_err(|_| unexpected_reply("numbers of chunks"))
}

impl Partition {
    /// The numbers of the log's chunks, the oldest first.
    pub(crate) async fn chunks(&self) -> Result<Vec<u64>, StorageFailure> {
        self.chunks_by(Order::OldestFirst).await
    }

    /// The same, in the order of a walk.
    pub(crate) async fn chunks_by(&self, order: Order) -> Result<Vec<u64>, StorageFailure> {
        numbers(self.link().read(&chunks_command(self, order)).await?)
    }
}
