//! Erases an entity. The store permanently removes its events from the log, the schedule and the dead letters, and
//! refuses their ids from then on.

use std::sync::Arc;

use domain::{
    Entity, Filter, OrderingKey, StorageFailure,
    group::{Key, segment_of},
    ports::{
        Erased, EventStoreError,
        engine::{Entry, Guard, Removal, RemovalKind, Removed, Transaction, log::sequence_of},
    },
};

use crate::{
    Store,
    pages::LogPages,
    partition::Partition,
    retry::OptimisticRetry,
    rows::{REMOVALS, blocked, counter},
};

/// The most entries of one read.
const READ_AT_ONCE: usize = 200;

impl Store {
    /// Removes copies of events from the schedule and the dead letters when the store already refuses their ids. A
    /// store that was made from a backup older than an erasure needs this.
    ///
    /// # Errors
    /// Returns the failure of the engine.
    pub async fn remove_erased_copies(&self) -> Result<(), StorageFailure> {
        for partition in self.partitions() {
            partition.remove_erased_scheduled().await?;
            partition.remove_erased_letters(self.partition_count()).await?;
        }
        Ok(())
    }

    pub(super) async fn erase_in(
        &self,
        partition: Partition<'_>,
        entity: &Entity,
    ) -> Result<Erased, EventStoreError> {
        let mut erased = Erased::default();
        // The schedule comes first, because its events may still enter the log. The dead letters come last, because an
        // event of the log may still become one.
        let scheduled = partition.erase_scheduled(entity).await?;
        let unreadable = self.erase_from_log(partition, entity, &mut erased).await?;
        let letters = partition.erase_letters(entity, self.partition_count()).await?;
        // An event and its copies count as one event.
        for event in scheduled.iter().chain(&letters) {
            erased.events += 1;
            erased.bytes += event.size_bytes() as u64;
        }
        self.forget_key(partition, entity).await?;
        erased.remains = self.engine().scrub(partition.number, erased.events > 0).await?;
        if unreadable > 0 {
            erased.remains.push(format!(
                "{unreadable} damaged events, which can no longer say what they are about; `event-replay verify` names them"
            ));
        }
        Ok(erased)
    }

    /// Erases the events that match the entity's filter. It also erases a damaged event that an index finds, because
    /// the index still holds the entity. Returns the number of damaged events that no index assigns to an entity.
    async fn erase_from_log(
        &self,
        partition: Partition<'_>,
        entity: &Entity,
        erased: &mut Erased,
    ) -> Result<u64, StorageFailure> {
        let filter = Arc::new(Filter::of_entity(entity.clone()));
        let until = partition.state().await?.head;
        let mut pages = LogPages::new(partition, filter, Some(until), READ_AT_ONCE);
        let mut unreadable = 0;
        while let Some(page) = pages.next().await? {
            let is_unknown = |entry: &Entry| entry.as_ref().err().is_some_and(|damaged| !damaged.indexed);
            let (unknown, going): (Vec<Entry>, Vec<Entry>) = page.into_iter().partition(is_unknown);
            unreadable += unknown.len() as u64;
            for part in self.removal_parts(&going) {
                erase_part(partition, part, erased).await?;
            }
        }
        Ok(unreadable)
    }

    /// Splits ascending entries into parts that one removal can take.
    pub(crate) fn removal_parts<'e>(
        &self,
        going: &'e [Entry],
    ) -> impl Iterator<Item = &'e [Entry]> + use<'e> {
        let limits = self.info().limits;
        let stretch = move |entry: &Entry| sequence_of(entry) / limits.removal_stretch.max(1);
        let parts = going.chunk_by(move |one, other| stretch(one) == stretch(other));
        parts.flat_map(move |part| part.chunks(limits.removal_events.max(1)))
    }

    /// Clears the entity's blocked keys, since they name the entity too. After the erasure no event of the key is left
    /// to wait.
    async fn forget_key(&self, partition: Partition<'_>, entity: &Entity) -> Result<(), StorageFailure> {
        let key = OrderingKey { kind: &entity.kind, id: &entity.id };
        let own = Key::new(entity.kind.as_str(), entity.id.as_str());
        for group in partition.groups().await? {
            let segments = group.row.spec.segments;
            let segment = segment_of(&key, partition.number, self.partition_count(), segments);
            let row = blocked(group.name(), segment, &own);
            if partition.row(row.clone()).await?.is_some() {
                let mut transaction = Transaction::durable();
                transaction.erases = true;
                transaction.delete(row);
                partition.commit_one(&transaction).await?;
            }
        }
        Ok(())
    }
}

async fn erase_part(
    partition: Partition<'_>,
    entries: &[Entry],
    erased: &mut Erased,
) -> Result<(), StorageFailure> {
    let mut retry = OptimisticRetry::new();
    loop {
        // The counter makes a concurrent trim notice the removal and decide again.
        let removals = partition.row(counter(REMOVALS)).await?;
        let mut with = Transaction::durable();
        with.guard(Guard::still(counter(REMOVALS), removals.as_deref())).add(counter(REMOVALS), 1);
        let removal = Removal { entries, kind: RemovalKind::Erase, with: &with };
        match partition.engine.remove(partition.number, &removal).await? {
            Removed::Done { events, bytes } => {
                erased.events += events;
                erased.bytes += bytes;
                return Ok(());
            }
            Removed::Refused { .. } => retry.again().await?,
        }
    }
}
