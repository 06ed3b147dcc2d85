//! Retention: selects the events that a rule removes, and removes them page by page, oldest first.
//!
//! The selection depends on the rows as they were read. The engine refuses a removal if another removal ran since the
//! read, or if a new hold began. Events appended meanwhile only make a selection smaller than it could be.
//!
//! With several partitions, the oldest events of all partitions are removed first, in the merged order of readers. Each
//! partition removes its own events. A selection that counts events of other partitions is carried out only if no
//! partition had a removal meanwhile.

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

/// The most removals of one call, also with a higher limit. This bounds the work of a call.
const MOST_REMOVALS: usize = 100;
/// The most events that one read returns from one partition.
const READ_AT_ONCE: usize = 500;

/// Trims the log. In a dry run it counts the events that a trim would remove.
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

/// The counters of a partition, as they were read. They show whether a removal ran, or a hold began, since the read.
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

    /// Returns a transaction that is refused if another caller removed an event, or began a hold, since the read.
    fn guarded(&self) -> Transaction {
        let mut transaction = Transaction::durable();
        transaction.guard(Guard::Generation(self.generation));
        transaction.guard(Guard::still(counter(REMOVALS), self.removals.as_deref()));
        transaction.guard(Guard::still(counter(HOLDS), self.holds.as_deref()));
        transaction.add(counter(REMOVALS), 1);
        transaction
    }

    /// Counts a removal of this trim.
    fn removed(&mut self) -> Result<(), StorageFailure> {
        let before = crate::rows::number(self.removals.as_deref())?;
        self.removals = Some((before + 1).to_string().into_bytes());
        Ok(())
    }
}

/// The bounds of a rule at the start of a call.
struct Bounds<'s> {
    store: &'s Store,
    filter: Arc<Filter>,
    /// Events stored before this time are too old.
    stored_before: Option<Timestamp>,
    /// The number of oldest events above the limit of the rule.
    excess_events: u64,
    /// The bytes above the limit of the rule. The oldest events go until this many bytes are removed.
    excess_bytes: u64,
    /// The start of the call.
    now: Timestamp,
    parts: Vec<PartitionTrim<'s>>,
}

/// The state of a trim in one partition.
struct PartitionTrim<'s> {
    partition: Partition<'s>,
    state: PartitionState,
    versions: Versions,
    /// The sequence up to which the rule removes every event (inclusive).
    through: u64,
    holds: PartitionHolds,
}

/// The totals of a pass over the candidates.
#[derive(Debug, Default)]
struct Pass {
    events: u64,
    bytes: u64,
    held_by: Option<String>,
}

/// The events that a pass has selected.
struct Selection {
    /// By partition, in ascending order of sequence.
    going: Vec<Vec<Entry>>,
    /// Whether further events would go.
    more: bool,
    held_by: Option<String>,
}

impl<'s> Bounds<'s> {
    async fn of(store: &'s Store, request: &TrimRequest) -> Result<Self, EventStoreError> {
        // The versions are read before all other rows, so that every later change is noticed.
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
            // Such a store keeps no history, and keeps each event until its id may be forgotten. So it ignores the
            // rules.
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

    /// Returns whether an event is removed. When an event stays, all later events of its partition stay too.
    fn goes(&self, of: usize, candidate: &Entry, pass: &mut Pass) -> bool {
        let Some(part) = self.parts.get(of) else { return false };
        let (sequence, stored_at) = (sequence_of(candidate), stored_at(candidate));
        let too_old = self.stored_before.is_some_and(|before| stored_at < before);
        // Events above the limit are counted from the oldest event on. A held event stays, with all later events of its
        // partition. How many of these are older than events of other partitions is unknown. So after a held event, no
        // event is removed because of the number or bytes.
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

    /// Trims. Returns none if another caller changed the rows first and no event was removed.
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
                // The removed events stay removed. The next call decides on the rest.
                false => {
                    more = true;
                    break;
                }
            }
        }
        trimmed.more = more;
        Ok(Some(trimmed))
    }

    /// Returns whether no partition had a removal since the read. It matters only if the selection in one partition
    /// depends on the others. A later removal by another caller with the same selection takes the same events.
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

    /// Selects the events to remove, oldest first, at most `limit`. Also returns whether more would go, and the holder
    /// of the rest.
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
            // One event beyond the limit shows that another call has work.
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
    /// Returns the matching events of the partition, up to the head at the start of the call.
    fn candidates(&self, filter: &Arc<Filter>, at_once: usize) -> Candidates<'s> {
        Candidates::new(self.partition, filter, self.state.head, at_once)
    }

    /// Returns the number of matching events.
    async fn count(&self, filter: &Arc<Filter>) -> Result<u64, StorageFailure> {
        match filter.is_everything() {
            true => Ok(self.state.events),
            false => self.partition.engine.count(self.partition.number, filter, self.state.head).await,
        }
    }

    /// Returns the bytes of the matching events.
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

    /// Removes events in ascending order of sequence, one page at a time. Returns false if another caller changed the
    /// rows first. The pages removed before that are counted in `trimmed`.
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
