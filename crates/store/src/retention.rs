//! Trimming: which events a rule lets go, and their removal a page at a time, the oldest first.
//!
//! What goes is decided on what was read; the engine removes it only if nothing else was removed since, and nothing has begun to
//! hold. What others append meanwhile only makes a decision too little.
//!
//! Of several partitions the oldest events of all go, merged as readers see them, and each partition removes its own. A decision
//! that counts events of other partitions is carried out only where nothing was removed of any while it was made.

mod candidates;

use std::sync::Arc;

use domain::{
    Filter, RetentionRule, StorageFailure,
    ports::{
        EventStoreError, RetentionMode, TrimRequest, Trimmed,
        engine::{
            Entry, Guard, PartitionState, Read, Removal, RemovalKind, Removed, Transaction,
            log::{bytes_of, sequence_of, stored_at},
        },
    },
    time::earlier,
};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use self::candidates::{Candidates, Merged};
use crate::{
    Store,
    holds::PartitionHolds,
    merge::share,
    partition::Partition,
    retry::OptimisticRetry,
    rows::{HOLDS, REMOVALS, counter},
};

/// Removals of one call, whatever its limit: a call is a bounded piece of work.
const MOST_REMOVALS: usize = 100;
/// Events that one read brings, of one partition.
const READ_AT_ONCE: usize = 500;

/// Trims, or counts what would go.
pub(crate) async fn trim(store: &Store, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
    if request.rule.is_empty() && store.keeps() == RetentionMode::History {
        return Ok(Trimmed::default());
    }
    let most = MOST_REMOVALS.saturating_mul(store.info().limits.removal_events);
    let mut retry = OptimisticRetry::new();
    loop {
        let bounds = Bounds::of(store, request).await?;
        if request.dry_run {
            return Ok(bounds.count_what_would_go().await?);
        }
        if let Some(trimmed) = bounds.trim(request.limit.clamp(1, most)).await? {
            return Ok(trimmed);
        }
        retry.again().await?;
    }
}

/// Counters of a partition, as they were read: whether something was removed, or has begun to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Versions {
    removals: Option<Vec<u8>>,
    holds: Option<Vec<u8>>,
    generation: u64,
}

impl Versions {
    async fn of(partition: Partition<'_>) -> Result<Self, StorageFailure> {
        let mut found = partition.get(&[REMOVALS, HOLDS].map(|name| Read::Row(counter(name)))).await?;
        Ok(Self { removals: found.row(), holds: found.row(), generation: found.generation })
    }

    /// A transaction that is refused where another has removed something since, or begun to hold something.
    fn guarded(&self) -> Transaction {
        let mut transaction = Transaction::durable();
        transaction.guard(Guard::Generation(self.generation));
        transaction.guard(Guard::still(counter(REMOVALS), self.removals.as_deref()));
        transaction.guard(Guard::still(counter(HOLDS), self.holds.as_deref()));
        transaction.add(counter(REMOVALS), 1);
        transaction
    }

    /// Notes a removal of one's own.
    fn removed(&mut self) -> Result<(), StorageFailure> {
        let before = crate::rows::number(self.removals.as_deref())?;
        self.removals = Some((before + 1).to_string().into_bytes());
        Ok(())
    }
}

/// A rule's bounds as they were when the call began.
struct Bounds<'s> {
    store: &'s Store,
    filter: Arc<Filter>,
    /// Events stored before this are too old.
    stored_before: Option<Timestamp>,
    /// This many of the oldest are too many.
    excess_events: u64,
    /// The oldest go until this many bytes went.
    excess_bytes: u64,
    /// When the call began.
    now: Timestamp,
    parts: Vec<PartitionTrim<'s>>,
}

/// The state of a trim in one partition.
struct PartitionTrim<'s> {
    partition: Partition<'s>,
    state: PartitionState,
    versions: Versions,
    /// Everything up to here goes.
    through: u64,
    holds: PartitionHolds,
}

/// What a pass has met so far.
#[derive(Debug, Default)]
struct Pass {
    events: u64,
    bytes: u64,
    held_by: Option<String>,
}

/// What a pass has chosen.
struct Selection {
    /// Of each partition, rising.
    going: Vec<Vec<Entry>>,
    /// Whether more would go.
    more: bool,
    held_by: Option<String>,
}

impl<'s> Bounds<'s> {
    async fn of(store: &'s Store, request: &TrimRequest) -> Result<Self, EventStoreError> {
        // Versions are read before anything that is decided on.
        let versions = store.in_all(Versions::of).await?;
        let states = store.states().await?;
        let now = states.first().map_or(Timestamp::UNIX_EPOCH, |state| state.now);
        let through = match &request.rule.through {
            Some(mark) => store.sequences_of(&states, mark)?,
            None => vec![0; states.len()],
        };
        let mut marks = Vec::with_capacity(request.holds.len());
        for hold in &request.holds {
            marks.push((store.sequences_of(&states, &hold.mark)?, hold.holder.clone()));
        }
        marks.extend(store.own_marks(&states).await?);
        let holds = store.in_all(|partition| {
            let at = usize::from(partition.number);
            let firm = marks.iter().filter_map(move |(marks, by)| Some((*marks.get(at)?, by.clone())));
            partition.holds(firm, request.groups, now)
        });
        let holds = holds.await?;
        let parts = store.partitions().zip(versions).zip(states).zip(through).zip(holds);
        let mut bounds = Self {
            store,
            filter: Arc::default(),
            stored_before: None,
            excess_events: 0,
            excess_bytes: 0,
            now,
            parts: parts
                .map(|((((partition, versions), state), through), holds)| PartitionTrim {
                    partition,
                    state,
                    versions,
                    through,
                    holds,
                })
                .collect(),
        };
        match store.keeps() {
            RetentionMode::History => bounds.set_rule(&request.rule).await?,
            // Nothing is kept for its own sake, and nothing goes before its id may be forgotten: rules say nothing here.
            RetentionMode::UntilDelivered => {
                bounds.stored_before = Some(earlier(now, RetentionMode::DEDUP_WINDOW));
                bounds.parts.iter_mut().for_each(|part| part.through = 0);
            }
        }
        Ok(bounds)
    }

    async fn set_rule(&mut self, rule: &RetentionRule) -> Result<(), EventStoreError> {
        self.filter = Arc::new(Filter { types: rule.types.clone(), ..Filter::default() });
        self.stored_before = rule.stored_before(self.now);
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

    /// Whether an event goes. Where it stays, so does all that follows it in its partition.
    fn goes(&self, of: usize, candidate: &Entry, pass: &mut Pass) -> bool {
        let Some(part) = self.parts.get(of) else { return false };
        let (sequence, stored_at) = (sequence_of(candidate), stored_at(candidate));
        let too_old = self.stored_before.is_some_and(|before| stored_at < before);
        // What is too many is counted from the oldest event on. One that is held stays with all that follow it, and how many
        // of those are older than another partition's is not known: so none of them goes for being too many.
        let too_many =
            pass.held_by.is_none() && (pass.events < self.excess_events || pass.bytes < self.excess_bytes);
        if !(too_old || too_many || sequence <= part.through) {
            return false;
        }
        if let Some(holder) = part.holds.holds.holder(sequence, stored_at) {
            pass.held_by.get_or_insert_with(|| holder.to_owned());
            return false;
        }
        pass.events += 1;
        pass.bytes += bytes_of(candidate);
        true
    }

    async fn count_what_would_go(&self) -> Result<Trimmed, StorageFailure> {
        let mut pass = Pass::default();
        let mut candidates = self.candidates(READ_AT_ONCE);
        while let Some((of, candidate)) = candidates.next().await? {
            if !self.goes(of, &candidate, &mut pass) {
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
        let kind = if self.filter.is_everything() { RemovalKind::Oldest } else { RemovalKind::Among };
        let mut trimmed = Trimmed { held_by, ..Trimmed::default() };
        let (store, now) = (self.store, self.now);
        for (part, going) in self.parts.iter_mut().zip(&going) {
            match part.remove(store, going, kind, now, &mut trimmed).await? {
                true => {}
                false if trimmed.events == 0 => return Ok(None),
                // What went is gone; the next call decides on the rest.
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
    /// What is removed later, by a caller that decided on the same, is what goes here too.
    async fn is_undisturbed(&self) -> Result<bool, StorageFailure> {
        if self.parts.len() == 1 || (self.excess_events, self.excess_bytes) == (0, 0) {
            return Ok(true);
        }
        let now = try_join_all(self.parts.iter().map(|part| Versions::of(part.partition))).await?;
        let is_same = |(part, now): (&PartitionTrim<'_>, &Versions)| {
            part.versions.removals == now.removals && part.versions.generation == now.generation
        };
        Ok(self.parts.iter().zip(&now).all(is_same))
    }

    /// What goes, the oldest first, at most `limit`; whether more would; and who holds the rest.
    async fn select(&self, limit: usize) -> Result<Selection, StorageFailure> {
        let (mut pass, mut left) = (Pass::default(), limit);
        let mut going: Vec<Vec<Entry>> = self.parts.iter().map(|_| Vec::new()).collect();
        let wanted = limit.saturating_add(1);
        let at_once = share(wanted, self.parts.len()).clamp(1, READ_AT_ONCE);
        let mut candidates = self.candidates(at_once);
        while let Some((of, candidate)) = candidates.next().await? {
            if !self.goes(of, &candidate, &mut pass) {
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

    fn candidates(&self, at_once: usize) -> Merged<'_> {
        Merged::new(self.parts.iter().map(|part| part.candidates(&self.filter, at_once)).collect())
    }
}

impl<'s> PartitionTrim<'s> {
    /// Its events that match, up to where the head was.
    fn candidates(&self, filter: &Arc<Filter>, at_once: usize) -> Candidates<'s> {
        Candidates::new(self.partition, filter, self.state.head, at_once)
    }

    /// How many events match.
    async fn count(&self, filter: &Arc<Filter>) -> Result<u64, StorageFailure> {
        match filter.is_everything() {
            true => Ok(self.state.events),
            false => self.partition.engine.count(self.partition.number, filter, self.state.head).await,
        }
    }

    /// Bytes of the events that match.
    async fn bytes(&self, filter: &Arc<Filter>) -> Result<u64, StorageFailure> {
        if filter.is_everything() {
            return Ok(self.state.bytes);
        }
        let mut candidates = self.candidates(filter, READ_AT_ONCE);
        let mut total = 0;
        while let Some(page) = candidates.next().await? {
            total += page.iter().map(bytes_of).sum::<u64>();
        }
        Ok(total)
    }

    /// Removes events, which rise, a page at a time. False where another was quicker, with what was removed until then added
    /// to what was trimmed.
    async fn remove(
        &mut self,
        store: &Store,
        going: &[Entry],
        kind: RemovalKind,
        now: Timestamp,
        trimmed: &mut Trimmed,
    ) -> Result<bool, StorageFailure> {
        for page in store.removal_parts(going) {
            let mut with = self.versions.guarded();
            let gaps = self.holds.record_gaps(self.partition, page, now, &mut with).await?;
            let removal = Removal { entries: page, kind, with: &with };
            match self.partition.engine.remove(self.partition.number, &removal).await? {
                Removed::Done { events, bytes } => {
                    self.versions.removed()?;
                    self.holds.recorded(gaps);
                    trimmed.events += events;
                    trimmed.bytes += bytes;
                }
                Removed::Refused { .. } => return Ok(false),
            }
        }
        Ok(true)
    }
}
