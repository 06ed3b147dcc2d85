//! Trimming: which events a rule lets go, and their removal a page at a time, the oldest first.
//!
//! What goes is decided here, on what was read; the server removes it only if nothing else was removed since, and nothing
//! has begun to hold. What others append meanwhile only makes a decision too little.
//!
//! Of several partitions the oldest events of all go, merged as readers see them, and each partition removes its own. A
//! decision that counts events of other partitions is made only where nothing was removed of any while it was made.

use std::sync::Arc;

use domain::{
    Filter, RetentionRule, StorageFailure,
    ports::{EventStoreError, Keeps, Order, ReadRequest, TrimRequest, Trimmed},
};
use futures_util::future::try_join_all;

use crate::{
    count,
    holds::{self, Hold, Holds, earlier},
    keys::chunk_of,
    merge::{Merge, share},
    partition::Partition,
    read,
    remove::{AT_ONCE, Going, Mode, Removal, Seen},
    state::{State, from_micros, micros},
    store::RedisStore,
    tries::Tries,
    walk::LogWalk,
};

/// Most events of one call, whatever its limit: a call is a bounded piece of work.
const MOST_AT_ONCE: usize = 2_000;
/// Events that one read brings, of one partition.
const READ_AT_ONCE: usize = 500;
/// A chunk that is no more written to is written anew once so many events went from its midst, and as many as are left.
const MANY_HOLES: u64 = 1_000;

/// Trims, or counts what would go.
pub(crate) async fn trim(store: &RedisStore, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
    if request.rule.is_empty() && store.keeps() == Keeps::History {
        return Ok(Trimmed::default());
    }
    let mut tries = Tries::new();
    loop {
        let bounds = Bounds::of(store, request).await?;
        if request.dry_run {
            return bounds.count_what_would_go().await;
        }
        if let Some(trimmed) = bounds.trim(request.limit.clamp(1, MOST_AT_ONCE)).await? {
            return Ok(trimmed);
        }
        tries.again().await?;
    }
}

/// A rule's bounds as they were when the call began.
struct Bounds<'s> {
    filter: Arc<Filter>,
    /// Events stored before this are too old, in microseconds.
    stored_before: Option<i64>,
    /// This many of the oldest are too many.
    excess_events: u64,
    /// The oldest go until this many bytes went.
    excess_bytes: u64,
    /// When the call began, in microseconds.
    now: i64,
    parts: Vec<Part<'s>>,
}

/// What is about one partition.
struct Part<'s> {
    partition: &'s Partition,
    seen: Seen,
    /// Everything up to here goes.
    through: u64,
    holds: Holds,
}

/// What a pass has met so far.
#[derive(Debug, Default)]
struct Pass {
    events: u64,
    bytes: u64,
    held_by: Option<String>,
}

/// What a pass says of an event.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Goes,
    /// It stays, and so does all that follows it in its partition.
    Stays,
}

/// What a pass has chosen.
struct Selection {
    /// Of each partition, rising.
    going: Vec<Vec<Going>>,
    /// Whether more would go.
    more: bool,
    held_by: Option<String>,
}

impl<'s> Bounds<'s> {
    async fn of(store: &'s RedisStore, request: &TrimRequest) -> Result<Self, EventStoreError> {
        let partitions = store.partitions();
        let seen = try_join_all(partitions.iter().map(Partition::seen)).await?;
        let states: Vec<State> = seen.iter().map(|seen| seen.state.clone()).collect();
        let now = store.first().now().await?;
        let through = match &request.rule.through {
            Some(mark) => store.sequences_of(&states, mark)?,
            None => vec![0; partitions.len()],
        };
        let mut firm: Vec<Option<Hold>> = vec![None; partitions.len()];
        for hold in &request.holds {
            holds::lower(&mut firm, &store.sequences_of(&states, &hold.mark)?, &hold.holder);
        }
        holds::add_own(store, &states, &mut firm).await?;
        let holds = partitions.iter().zip(firm);
        let holds = holds.map(|(partition, firm)| holds::all(partition, firm, request.groups, now));
        let holds = try_join_all(holds).await?;
        let parts = partitions.iter().zip(seen).zip(through).zip(holds);
        let mut bounds = Self {
            filter: Arc::new(Filter::default()),
            stored_before: None,
            excess_events: 0,
            excess_bytes: 0,
            now,
            parts: parts
                .map(|(((partition, seen), through), holds)| Part { partition, seen, through, holds })
                .collect(),
        };
        match store.keeps() {
            Keeps::History => bounds.set_rule(&request.rule).await?,
            // Nothing is kept for its own sake, and nothing goes before its id may be forgotten: rules say nothing here.
            Keeps::Deliveries => {
                bounds.stored_before = Some(earlier(now, Keeps::DEDUP_WINDOW));
                bounds.parts.iter_mut().for_each(|part| part.through = 0);
            }
        }
        Ok(bounds)
    }

    async fn set_rule(&mut self, rule: &RetentionRule) -> Result<(), EventStoreError> {
        self.filter = Arc::new(Filter { types: rule.types.clone(), ..Filter::default() });
        self.stored_before = rule.stored_before(from_micros(self.now)).map(micros);
        let (parts, filter) = (&self.parts, &self.filter);
        if let Some(keep) = rule.max_events {
            let all = try_join_all(parts.iter().map(|part| part.count(filter))).await?;
            self.excess_events = all.into_iter().sum::<u64>().saturating_sub(keep);
        }
        if let Some(keep) = rule.max_bytes {
            let all = try_join_all(parts.iter().map(|part| part.bytes(filter))).await?;
            self.excess_bytes = all.into_iter().sum::<u64>().saturating_sub(keep);
        }
        Ok(())
    }

    fn judge(&self, of: usize, candidate: &Going, pass: &mut Pass) -> Verdict {
        let Some(part) = self.parts.get(of) else { return Verdict::Stays };
        let sequence = candidate.sequence;
        let too_old = self.stored_before.is_some_and(|before| candidate.stored_at < before);
        // What is too many is counted from the oldest event on. One that is held stays with all that follow it, and how many
        // of those are older than another partition's is not known: so none of them goes for being too many.
        let too_many =
            pass.held_by.is_none() && (pass.events < self.excess_events || pass.bytes < self.excess_bytes);
        // Stored times and positions rise together: what stays is followed by what stays.
        if !(too_old || too_many || sequence <= part.through) {
            return Verdict::Stays;
        }
        if let Some(holder) = part.holds.holder(sequence, candidate.stored_at) {
            pass.held_by.get_or_insert_with(|| holder.to_owned());
            return Verdict::Stays;
        }
        pass.events += 1;
        pass.bytes += candidate.bytes;
        Verdict::Goes
    }

    async fn count_what_would_go(&self) -> Result<Trimmed, EventStoreError> {
        let mut pass = Pass::default();
        let mut candidates = self.candidates(READ_AT_ONCE).await?;
        while let Some((of, candidate)) = candidates.next().await? {
            if self.judge(of, &candidate, &mut pass) == Verdict::Stays {
                candidates.end(of);
            }
        }
        Ok(Trimmed { events: pass.events, bytes: pass.bytes, more: false, held_by: pass.held_by })
    }

    /// Trims; none where others were quicker and nothing was done.
    async fn trim(mut self, limit: usize) -> Result<Option<Trimmed>, EventStoreError> {
        let Selection { going, mut more, held_by } = self.select(limit).await?;
        if !self.is_undisturbed().await? {
            return Ok(None);
        }
        let mode = if self.filter.is_everything() { Mode::Prefix } else { Mode::Middle };
        let mut trimmed = Trimmed { held_by, ..Trimmed::default() };
        for (part, going) in self.parts.iter_mut().zip(&going) {
            match part.remove(going, mode, self.now, &mut trimmed).await? {
                true => {}
                false if trimmed.events == 0 => return Ok(None),
                // What went is gone; the next call decides on the rest anew.
                false => {
                    more = true;
                    break;
                }
            }
        }
        trimmed.more = more;
        Ok(Some(trimmed))
    }

    /// Whether nothing was removed of any partition since it was looked at, where what goes of one depends on the others.
    /// What is removed later, by whoever decided on the same, is what goes here too.
    async fn is_undisturbed(&self) -> Result<bool, StorageFailure> {
        if self.parts.len() == 1 || (self.excess_events, self.excess_bytes) == (0, 0) {
            return Ok(true);
        }
        let again = try_join_all(self.parts.iter().map(|part| part.partition.seen())).await?;
        Ok(self.parts.iter().zip(&again).all(|(part, again)| again.kept_all_since(&part.seen)))
    }

    /// What goes, the oldest first, at most `limit`; whether more would; and who holds the rest.
    async fn select(&self, limit: usize) -> Result<Selection, EventStoreError> {
        let (mut pass, mut left) = (Pass::default(), limit);
        let mut going: Vec<Vec<Going>> = self.parts.iter().map(|_| Vec::new()).collect();
        let at_once = share(limit.saturating_add(1), self.parts.len()).clamp(1, READ_AT_ONCE);
        let at_once = if self.parts.len() == 1 { READ_AT_ONCE } else { at_once };
        let mut candidates = self.candidates(at_once).await?;
        while let Some((of, candidate)) = candidates.next().await? {
            if self.judge(of, &candidate, &mut pass) == Verdict::Stays {
                candidates.end(of);
                continue;
            }
            // One more than may go in this call tells whether another call has work.
            if left == 0 {
                return Ok(Selection { going, more: true, held_by: None });
            }
            left -= 1;
            if let Some(going) = going.get_mut(of) {
                going.push(candidate);
            }
        }
        Ok(Selection { going, more: false, held_by: pass.held_by })
    }

    async fn candidates(&self, at_once: usize) -> Result<Merged<'s>, StorageFailure> {
        let walk = |part: &Part<'s>| {
            let (partition, state, filter) = (part.partition, part.seen.state.clone(), self.filter.clone());
            async move { Candidates::new(partition, &state, filter, at_once).await }
        };
        let walks = try_join_all(self.parts.iter().map(walk)).await?;
        Ok(Merged { merge: Merge::new(walks.len()), walks })
    }
}

impl Part<'_> {
    /// How many events match.
    async fn count(&self, filter: &Arc<Filter>) -> Result<u64, EventStoreError> {
        let state = &self.seen.state;
        match filter.is_everything() {
            true => Ok(state.events),
            false => count::count(self.partition, filter, Some(&state.cursor(state.head))).await,
        }
    }

    /// Bytes of the events that match.
    async fn bytes(&self, filter: &Arc<Filter>) -> Result<u64, EventStoreError> {
        if filter.is_everything() {
            return Ok(self.seen.state.bytes);
        }
        let mut candidates =
            Candidates::new(self.partition, &self.seen.state, filter.clone(), READ_AT_ONCE).await?;
        let mut total = 0;
        while let Some(page) = candidates.next().await? {
            total += page.iter().map(|candidate| candidate.bytes).sum::<u64>();
        }
        Ok(total)
    }

    /// Removes events, which rise, a page at a time. False where another was quicker, with what was removed until then
    /// added to what was trimmed.
    async fn remove(
        &mut self,
        going: &[Going],
        mode: Mode,
        now: i64,
        trimmed: &mut Trimmed,
    ) -> Result<bool, EventStoreError> {
        let mut touched = Vec::new();
        let chunk = |going: &Going| chunk_of(going.sequence);
        let mut done = true;
        'all: for of_chunk in going.chunk_by(|one, other| chunk(one) == chunk(other)) {
            for page in of_chunk.chunks(AT_ONCE) {
                let mut also = self.seen.guarded(&self.partition.keys().meta());
                let noted = self.holds.note_gaps(self.partition, page, now, &mut also).await?;
                match self.partition.remove_events(page, mode, &also).await? {
                    Removal::Done { events, removals } => {
                        self.seen.removed(removals);
                        self.holds.noted(noted);
                        trimmed.events += events;
                        trimmed.bytes += page.iter().map(|one| one.bytes).sum::<u64>();
                        touched.extend(page.first().map(chunk));
                    }
                    Removal::Overtaken => {
                        done = false;
                        break 'all;
                    }
                }
            }
        }
        touched.dedup();
        if mode == Mode::Middle {
            close_holes(self.partition, &touched, chunk_of(self.seen.state.head + 1)).await?;
        }
        Ok(done)
    }
}

/// Candidates of all partitions, the oldest first.
struct Merged<'s> {
    walks: Vec<Candidates<'s>>,
    merge: Merge<Going>,
}

impl Merged<'_> {
    async fn next(&mut self) -> Result<Option<(usize, Going)>, EventStoreError> {
        loop {
            if let Some(found) = self.merge.take_first(|candidate| candidate.stored_at) {
                return Ok(Some(found));
            }
            let hungry = self.merge.hungry();
            if hungry.is_empty() {
                return Ok(None);
            }
            let asked = self.walks.iter_mut().enumerate().filter(|(at, _)| hungry.contains(at));
            let pages = try_join_all(asked.map(|(_, walk)| walk.next())).await?;
            for (at, page) in hungry.into_iter().zip(pages) {
                let ended = page.is_none();
                self.merge.put(at, page.unwrap_or_default(), ended);
            }
        }
    }

    /// Nothing more is wanted of a partition.
    fn end(&mut self, of: usize) {
        self.merge.end(of);
    }
}

/// Writes chunks anew of which as much has gone as is left. The one that appends go to is left until it is full.
async fn close_holes(store: &Partition, chunks: &[u64], live: u64) -> Result<(), EventStoreError> {
    for chunk in chunks.iter().filter(|chunk| **chunk != live) {
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("HGET").arg(store.holes()).arg(*chunk).cmd("XLEN").arg(store.keys().log(*chunk));
        let answers = store.link().read_all(&pipeline).await?;
        let (holes, left): (Option<u64>, u64) =
            redis::FromRedisValue::from_redis_value(redis::Value::Array(answers))
                .map_err(|_| crate::failure::shape("the holes of a chunk"))?;
        if holes.is_some_and(|holes| holes >= MANY_HOLES && holes >= left) {
            // Where others removed meanwhile, the next trim does it.
            store.rewrite_chunk(*chunk).await?;
        }
    }
    Ok(())
}

/// A walk over what a rule is about in one partition, the oldest first, up to the head as it was.
struct Candidates<'s> {
    partition: &'s Partition,
    place: Place,
}

enum Place {
    /// Everything: what is damaged too.
    Log(LogWalk),
    /// Some types. A damaged event is nobody's type.
    Types(Box<ReadRequest>),
    End,
}

impl<'s> Candidates<'s> {
    async fn new(
        partition: &'s Partition,
        state: &State,
        filter: Arc<Filter>,
        at_once: usize,
    ) -> Result<Self, StorageFailure> {
        let place = if filter.is_everything() {
            Place::Log(LogWalk::new(partition, state.head).await?.reading(at_once))
        } else {
            Place::Types(Box::new(ReadRequest {
                filter,
                order: Order::OldestFirst,
                after: None,
                until: Some(state.cursor(state.head)),
                limit: at_once,
            }))
        };
        Ok(Self { partition, place })
    }

    /// The next page, perhaps an empty one; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<Going>>, EventStoreError> {
        match &mut self.place {
            Place::End => Ok(None),
            Place::Log(walk) => {
                let Some(found) = walk.next(self.partition).await? else { return Ok(None) };
                Ok(Some(found.into_iter().map(Going::from).collect()))
            }
            Place::Types(request) => {
                let page = read::page(self.partition, request).await?;
                let found = page.events.into_iter().map(|stored| Going {
                    sequence: stored.position.sequence,
                    stored_at: micros(stored.stored_at),
                    bytes: stored.event.size_bytes() as u64,
                    event: Some(stored.event),
                });
                let found = found.collect();
                match page.next {
                    Some(next) => request.after = Some(next),
                    None => self.place = Place::End,
                }
                Ok(Some(found))
            }
        }
    }
}
