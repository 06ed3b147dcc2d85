//! Conditional appends. The store reads the events that the expectation rules out, then appends under a guard against
//! newer events of that filter.
//!
//! The guard covers only the few events after the read, so an engine can check it in the step that appends. When the
//! engine refuses, the store reads the rest of the log and tries again. That read finds a ruled-out event, or passes
//! the others.

use domain::{
    Event, Expectation, ExpectationScope, StorageFailure, UnexpectedEvent,
    batch::refuses,
    expectation::NewerEvents,
    group::Key,
    ports::{
        AppendOutcome, Atomicity, EventStoreError, Order, RetentionMode,
        engine::{Appended, Durability, Guard, PartitionState, Scan, Transaction},
    },
};

use super::append::check;
use crate::{Store, partition::Partition, retry::OptimisticRetry, store::check_sequence};

/// The most events of one read, and the most bytes.
const PAGE: usize = 100;
const PAGE_BYTES: u64 = 1024 * 1024;

/// A batch with its expectation about the partition that it goes to.
struct Conditional<'s, 'b> {
    partition: Partition<'s>,
    batch: &'b [Event],
    /// The sequence that the caller named. None means that every event counts.
    mark: Option<u64>,
    newer: NewerEvents,
}

/// The result of a read.
enum Found {
    /// A ruled-out event.
    Event(UnexpectedEvent),
    /// No ruled-out event up to the head of this state.
    NoneUntil(PartitionState),
}

impl Store {
    pub(super) async fn append_conditional(
        &self,
        batch: &[Event],
        expectation: &Expectation,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        self.check_size(batch)?;
        let Some(first) = batch.first() else { return Ok(Vec::new()) };
        let key = self.checked_key(first, batch, expectation.scope)?;
        let partition = self.partition(self.partition_of(first));
        let mark = match &expectation.after {
            Some(cursor) => {
                self.check_shape(cursor)?;
                Some(cursor.sequence(partition.number))
            }
            None => None,
        };
        let newer = NewerEvents::new(&expectation.filter, key, mark.unwrap_or(0));
        Conditional { partition, batch, mark, newer }.append().await
    }

    /// Returns the ordering key of an expectation that concerns one key. Refuses an expectation that no single step can
    /// check.
    fn checked_key(
        &self,
        first: &Event,
        batch: &[Event],
        scope: ExpectationScope,
    ) -> Result<Option<Key>, EventStoreError> {
        let refused = |why: String| Err(EventStoreError::Uncheckable(why));
        if self.keeps() == RetentionMode::UntilDelivered {
            return refused(
                "the store keeps events only until they are delivered, so an expectation about the log cannot be checked"
                    .to_owned(),
            );
        }
        match scope {
            ExpectationScope::Store if self.is_single() => Ok(None),
            ExpectationScope::Store => refused(format!(
                "the store has {} partitions, and no step covers them all. Limit the expectation to the ordering key of the \
                 events (`of_key`), or use a store of one partition",
                self.partition_count()
            )),
            ExpectationScope::Key => {
                let key = first.ordering_key();
                match batch.iter().map(Event::ordering_key).find(|other| *other != key) {
                    None => Ok(Some(key.into())),
                    Some(other) => refused(format!(
                        "the expectation is about one ordering key, and the events of the batch have several ({key}, {other})"
                    )),
                }
            }
        }
    }
}

impl Conditional<'_, '_> {
    async fn append(mut self) -> Result<Vec<AppendOutcome>, EventStoreError> {
        let from = self.newer.after;
        let mut generation = None;
        let mut retry = OptimisticRetry::new();
        loop {
            let state = match self.read().await? {
                Found::Event(event) => return self.refuse(event).await,
                Found::NoneUntil(state) => state,
            };
            if generation.is_some_and(|known| known != state.generation) {
                // The log may have lost the events of the earlier reads, and may hold other events at their sequences.
                (self.newer.after, generation) = (from, Some(state.generation));
                retry.again().await?;
                continue;
            }
            (self.newer.after, generation) = (self.newer.after.max(state.head), Some(state.generation));
            match self.try_append(state.generation).await? {
                Appended::Done(outcomes) => return Ok(outcomes),
                Appended::Refused { .. } => retry.again().await?,
            }
        }
    }

    async fn try_append(&self, generation: u64) -> Result<Appended, StorageFailure> {
        let mut with = Transaction { durability: Durability::Replicated, ..Transaction::new() };
        with.guard(Guard::Generation(generation)).guard(Guard::NoneNewer(self.newer.clone()));
        let Partition { engine, number } = self.partition;
        engine.append(number, self.batch, Atomicity::AllOrNothing, &with).await
    }

    /// Continues the read where the last read ended.
    async fn read(&self) -> Result<Found, EventStoreError> {
        let mut after = self.newer.after;
        let mut generation = None;
        loop {
            let page = self
                .partition
                .scan(&Scan {
                    filter: &self.newer.filter,
                    order: Order::OldestFirst,
                    after: Some(after),
                    until: None,
                    limit: PAGE,
                    max_bytes: PAGE_BYTES,
                })
                .await?;
            self.check_mark(&page.state)?;
            for entry in page.entries {
                let stored = entry.map_err(|damaged| {
                    let (number, sequence) = (self.partition.number, damaged.sequence);
                    StorageFailure::Corrupt(format!(
                        "the event at {number}:{sequence} may contradict the expectation: {}",
                        damaged.detail
                    ))
                })?;
                let is_own = self.batch.iter().any(|own| own.id() == stored.event.id());
                if !is_own && self.newer.contains(&stored.event) {
                    return Ok(Found::Event(UnexpectedEvent::from(&stored)));
                }
            }
            let is_same = *generation.get_or_insert(page.state.generation) == page.state.generation;
            match page.next {
                _ if !is_same => {
                    return Err(StorageFailure::Busy { waited: std::time::Duration::ZERO }.into());
                }
                Some(next) => after = next,
                None => return Ok(Found::NoneUntil(page.state)),
            }
        }
    }

    /// Refuses a position that the log has lost. Refuses a position when retention removed later events, because they
    /// cannot be checked.
    fn check_mark(&self, state: &PartitionState) -> Result<(), EventStoreError> {
        let Some(mark) = self.mark else { return Ok(()) };
        let number = self.partition.number;
        check_sequence(number, state, mark)?;
        if state.trimmed_through > mark {
            return Err(EventStoreError::LostCursor(format!(
                "retention has removed events after {number}:{mark}, up to {number}:{}, so the expectation cannot be \
                 checked. Read the events again, and decide again",
                state.trimmed_through
            )));
        }
        Ok(())
    }

    /// Returns the answer when the log has a ruled-out event. The outcomes that the ids of the batch give take
    /// precedence. An earlier call may have stored the batch although its answer was lost.
    async fn refuse(&self, event: UnexpectedEvent) -> Result<Vec<AppendOutcome>, EventStoreError> {
        let outcomes = check(self.partition, self.batch).await?;
        let is_stored = |outcome: &AppendOutcome| matches!(outcome, AppendOutcome::AlreadyStored(_));
        if outcomes.iter().all(is_stored) || outcomes.iter().any(refuses) {
            return Ok(outcomes);
        }
        Err(EventStoreError::Unexpected(event))
    }
}
