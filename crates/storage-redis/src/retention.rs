//! Trimming: which events a rule lets go, and their removal a page at a time, the oldest first.
//!
//! What goes is decided here, on what was read; the server removes it only if nothing else was removed since, and nothing
//! has begun to hold. What others append meanwhile only makes a decision too little.

use std::sync::Arc;

use domain::{
    Filter, RetentionRule, StorageFailure,
    ports::{EventStoreError, Keeps, Order, ReadRequest, TrimRequest, Trimmed},
};

use crate::{
    count,
    holds::{self, Hold, Holds, earlier},
    keys::chunk_of,
    read,
    remove::{AT_ONCE, Going, Mode, Removal, Seen},
    state::{State, from_micros, micros},
    store::RedisStore,
    tries::Tries,
    walk::LogWalk,
};

/// Most events of one call, whatever its limit: a call is a bounded piece of work.
const MOST_AT_ONCE: usize = 2_000;
/// Events that one page of a type's brings.
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
        let seen = store.seen().await?;
        let bounds = Bounds::of(store, &seen.state, request).await?;
        if request.dry_run {
            return bounds.count_what_would_go(store, &seen.state).await;
        }
        let limit = request.limit.clamp(1, MOST_AT_ONCE);
        if let Some(trimmed) = bounds.trim(store, seen, limit).await? {
            return Ok(trimmed);
        }
        tries.again().await?;
    }
}

/// A rule's bounds as they were when the call began.
struct Bounds {
    filter: Arc<Filter>,
    /// Events stored before this are too old, in microseconds.
    stored_before: Option<i64>,
    /// This many of the oldest are too many.
    excess_events: u64,
    /// The oldest go until this many bytes went.
    excess_bytes: u64,
    /// Everything up to here goes.
    through: u64,
    holds: Holds,
    /// When the call began, in microseconds.
    now: i64,
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
    /// It stays, and so does all that follows it.
    Stays,
}

impl Bounds {
    async fn of(store: &RedisStore, state: &State, request: &TrimRequest) -> Result<Self, EventStoreError> {
        let now = store.now().await?;
        let mut callers: Option<Hold> = None;
        for hold in &request.holds {
            let mark = state.sequence_of(&hold.mark)?;
            if callers.as_ref().is_none_or(|(lowest, _)| mark < *lowest) {
                callers = Some((mark, hold.holder.clone()));
            }
        }
        let through = request.rule.through.as_ref().map(|mark| state.sequence_of(mark)).transpose()?;
        let mut bounds = Self {
            filter: Arc::new(Filter::default()),
            stored_before: None,
            excess_events: 0,
            excess_bytes: 0,
            through: 0,
            holds: holds::all(store, state, callers, request.groups, now).await?,
            now,
        };
        match state.keeps {
            Keeps::History => {
                bounds.through = through.unwrap_or(0);
                bounds.set_rule(store, state, &request.rule).await?;
            }
            // Nothing is kept for its own sake, and nothing goes before its id may be forgotten: rules say nothing here.
            Keeps::Deliveries => bounds.stored_before = Some(earlier(now, Keeps::DEDUP_WINDOW)),
        }
        Ok(bounds)
    }

    async fn set_rule(
        &mut self,
        store: &RedisStore,
        state: &State,
        rule: &RetentionRule,
    ) -> Result<(), EventStoreError> {
        self.filter = Arc::new(Filter { types: rule.types.clone(), ..Filter::default() });
        self.stored_before = rule.stored_before(from_micros(self.now)).map(micros);
        let everything = self.filter.is_everything();
        if let Some(keep) = rule.max_events {
            let until = state.cursor(state.head);
            let all = if everything {
                state.events
            } else {
                count::count(store, &self.filter, Some(&until)).await?
            };
            self.excess_events = all.saturating_sub(keep);
        }
        if let Some(keep) = rule.max_bytes {
            let all = if everything { state.bytes } else { total_bytes(store, state, &self.filter).await? };
            self.excess_bytes = all.saturating_sub(keep);
        }
        Ok(())
    }

    fn judge(&self, candidate: &Going, pass: &mut Pass) -> Verdict {
        let too_old = self.stored_before.is_some_and(|before| candidate.stored_at < before);
        let sequence = candidate.sequence;
        let goes = too_old
            || pass.events < self.excess_events
            || pass.bytes < self.excess_bytes
            || sequence <= self.through;
        // Stored times and positions rise together: what stays is followed by what stays.
        if !goes {
            return Verdict::Stays;
        }
        if let Some(holder) = self.holds.holder(sequence, candidate.stored_at) {
            pass.held_by = Some(holder.to_owned());
            return Verdict::Stays;
        }
        pass.events += 1;
        pass.bytes += candidate.bytes;
        Verdict::Goes
    }

    async fn count_what_would_go(
        &self,
        store: &RedisStore,
        state: &State,
    ) -> Result<Trimmed, EventStoreError> {
        let mut pass = Pass::default();
        let mut candidates = Candidates::new(store, state, self.filter.clone()).await?;
        'pass: while let Some(page) = candidates.next(store).await? {
            for candidate in &page {
                if self.judge(candidate, &mut pass) == Verdict::Stays {
                    break 'pass;
                }
            }
        }
        Ok(Trimmed { events: pass.events, bytes: pass.bytes, more: false, held_by: pass.held_by })
    }

    /// Trims; none where others were quicker and nothing was done.
    async fn trim(
        mut self,
        store: &RedisStore,
        mut seen: Seen,
        limit: usize,
    ) -> Result<Option<Trimmed>, EventStoreError> {
        let (going, mut more, held_by) = self.select(store, &seen.state, limit).await?;
        let mode = if self.filter.is_everything() { Mode::Prefix } else { Mode::Middle };
        let mut trimmed = Trimmed { held_by, ..Trimmed::default() };
        let mut touched = Vec::new();
        let chunk = |going: &Going| chunk_of(going.sequence);
        for of_chunk in going.chunk_by(|one, other| chunk(one) == chunk(other)) {
            for page in of_chunk.chunks(AT_ONCE) {
                let mut also = seen.guarded(&store.keys().meta());
                let noted = self.holds.note_gaps(store, page, self.now, &mut also).await?;
                match store.remove_events(page, mode, &also).await? {
                    Removal::Done { events, removals } => {
                        seen.removed(removals);
                        self.holds.noted(noted);
                        trimmed.events += events;
                        trimmed.bytes += page.iter().map(|one| one.bytes).sum::<u64>();
                    }
                    Removal::Overtaken if trimmed.events == 0 => return Ok(None),
                    // What went is gone; the next call decides on the rest anew.
                    Removal::Overtaken => {
                        more = true;
                        trimmed.more = true;
                    }
                }
                if trimmed.more {
                    break;
                }
            }
            touched.extend(of_chunk.first().map(chunk));
            if trimmed.more {
                break;
            }
        }
        trimmed.more = more;
        if mode == Mode::Middle {
            close_holes(store, &touched, chunk_of(seen.state.head + 1)).await?;
        }
        Ok(Some(trimmed))
    }

    /// What goes, the oldest first, at most `limit`; whether more would; and who holds the rest.
    async fn select(
        &self,
        store: &RedisStore,
        state: &State,
        limit: usize,
    ) -> Result<(Vec<Going>, bool, Option<String>), EventStoreError> {
        let (mut pass, mut going) = (Pass::default(), Vec::new());
        let mut candidates = Candidates::new(store, state, self.filter.clone()).await?;
        while let Some(page) = candidates.next(store).await? {
            for candidate in page {
                if self.judge(&candidate, &mut pass) == Verdict::Stays {
                    return Ok((going, false, pass.held_by));
                }
                // One more than may go in this call tells whether another call has work.
                if going.len() == limit {
                    return Ok((going, true, None));
                }
                going.push(candidate);
            }
        }
        Ok((going, false, pass.held_by))
    }
}

/// Writes chunks anew of which as much has gone as is left. The one that appends go to is left until it is full.
async fn close_holes(store: &RedisStore, chunks: &[u64], live: u64) -> Result<(), EventStoreError> {
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

/// A walk over what a rule is about, the oldest first, up to the head as it was.
struct Candidates {
    place: Place,
}

enum Place {
    /// Everything: what is damaged too.
    Log(LogWalk),
    /// Some types. A damaged event is nobody's type.
    Types(Box<ReadRequest>),
    End,
}

impl Candidates {
    async fn new(store: &RedisStore, state: &State, filter: Arc<Filter>) -> Result<Self, StorageFailure> {
        let place = if filter.is_everything() {
            Place::Log(LogWalk::new(store, state.head).await?)
        } else {
            Place::Types(Box::new(ReadRequest {
                filter,
                order: Order::OldestFirst,
                after: None,
                until: Some(state.cursor(state.head)),
                limit: READ_AT_ONCE,
            }))
        };
        Ok(Self { place })
    }

    /// The next page, perhaps an empty one; none at the end.
    async fn next(&mut self, store: &RedisStore) -> Result<Option<Vec<Going>>, EventStoreError> {
        match &mut self.place {
            Place::End => Ok(None),
            Place::Log(walk) => {
                let Some(found) = walk.next(store).await? else { return Ok(None) };
                Ok(Some(found.into_iter().map(Going::from).collect()))
            }
            Place::Types(request) => {
                let page = read::page(store, request).await?;
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

/// Bytes of the events that match.
async fn total_bytes(
    store: &RedisStore,
    state: &State,
    filter: &Arc<Filter>,
) -> Result<u64, EventStoreError> {
    let (mut total, mut candidates) = (0, Candidates::new(store, state, filter.clone()).await?);
    while let Some(page) = candidates.next(store).await? {
        total += page.iter().map(|candidate| candidate.bytes).sum::<u64>();
    }
    Ok(total)
}
