//! Scheduled events. An event waits in the partition that will store it.

mod due;
pub(crate) mod rows;

use async_trait::async_trait;
use domain::{
    Entity, Event, StorageFailure,
    ports::{
        AppendOutcome, ScheduleOutcome, ScheduleStore, ScheduledEvent,
        engine::{
            Durability, Guard, IdState, Outcome, Read, Space, SpaceKind, Transaction,
            rows::{Part, key},
        },
    },
    schedule,
};
use futures_util::future::join_all;
use jiff::Timestamp;

use self::rows::{ScheduleSlot, Waiting, waiting_row};
use crate::{
    Store,
    events::lookup::known,
    pages::IndexPages,
    partition::Partition,
    reached::reached,
    retry::OptimisticRetry,
    rows::{SCHEDULED, counter, number, refuse_id},
};

/// The most places of one read.
const READ_AT_ONCE: usize = 200;

impl<'s> Partition<'s> {
    /// Returns the earliest places of the schedule, before an instant (exclusive).
    async fn places(
        self,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<ScheduleSlot>, StorageFailure> {
        let read = Read::Range {
            space: Space::of(SpaceKind::ScheduleOrder),
            after: None,
            before: before.map(|instant| key(&[Part::Time(instant)])),
            reverse: false,
            limit,
        };
        self.get(&[read]).await?.range().iter().map(|(key, _)| ScheduleSlot::read(key)).collect()
    }

    /// Returns pages of every place, earliest first.
    fn every_place(self, page: usize) -> IndexPages<'s> {
        IndexPages::new(self, vec![Space::of(SpaceKind::ScheduleOrder)], page)
    }

    /// Returns the events at the places of a page.
    async fn waiting_at(self, page: &[Vec<u8>]) -> Result<Vec<Waiting>, StorageFailure> {
        let places = page.iter().map(|key| ScheduleSlot::read(key)).collect::<Result<Vec<_>, _>>()?;
        self.waiting(&places).await
    }

    /// Returns the events at these places. Events that have left the schedule are left out.
    async fn waiting(self, places: &[ScheduleSlot]) -> Result<Vec<Waiting>, StorageFailure> {
        let reads: Vec<Read> = places.iter().map(|place| Read::Row(waiting_row(&place.id))).collect();
        let mut found = self.get(&reads).await?;
        let mut waiting = Vec::with_capacity(places.len());
        for place in places {
            let Some(value) = found.row() else { continue };
            let event = Waiting::read(&place.id, &value)?;
            if event.place == *place {
                waiting.push(event);
            }
        }
        Ok(waiting)
    }

    async fn schedule(self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, StorageFailure> {
        let row = waiting_row(event.id());
        let reads = [Read::Row(row.clone()), Read::Row(counter(SCHEDULED))];
        let mut retry = OptimisticRetry::new();
        loop {
            let state = self.locate_one(event.id()).await?;
            let mut found = self.get(&reads).await?;
            let (waiting, last) = (found.row(), found.row());
            let stored = match state {
                Some(IdState::Stored(sequence)) => self.at(&[sequence]).await?.pop().flatten(),
                Some(IdState::Erased) | None => None,
            };
            let known = known(event, self.number, state, stored.as_ref());
            let waiting = waiting.map(|value| Waiting::read(event.id(), &value)).transpose()?;
            let waits = waiting.as_ref().map(|waits| (&waits.scheduled.event, waits.scheduled.due));
            let outcome = schedule::decide(event, known, waits);
            // An already stored or scheduled event also waits for its copies, as a new event does.
            let mut transaction = Transaction { durability: Durability::Replicated, ..Transaction::new() };
            match outcome {
                ScheduleOutcome::Conflict(_) | ScheduleOutcome::Erased => return Ok(outcome),
                ScheduleOutcome::AlreadyStored(_) => {
                    transaction.guard(Guard::Id(event.id().to_owned(), state));
                }
                ScheduleOutcome::AlreadyScheduled(_) => {
                    let there = waiting.as_ref().map(|waits| Guard::Present(waits.place.row()));
                    transaction.guard(there.unwrap_or_else(|| Guard::Present(row.clone())));
                }
                ScheduleOutcome::Scheduled => {
                    let number = number(last.as_deref())? + 1;
                    transaction.guard(Guard::Id(event.id().to_owned(), None));
                    transaction.guard(Guard::Absent(row.clone()));
                    transaction.guard(Guard::still(counter(SCHEDULED), last.as_deref()));
                    transaction.put(counter(SCHEDULED), number.to_string());
                    Waiting::new(event, due, found.now, number).put_in(&mut transaction)?;
                }
            }
            if self.is_committed(&transaction).await? {
                return Ok(outcome);
            }
            retry.again().await?;
        }
    }

    async fn cancel(self, id: &str) -> Result<bool, StorageFailure> {
        self.decide(&[Read::Row(waiting_row(id))], |mut found| {
            let Some(value) = found.row() else { return Ok((false, None)) };
            let mut transaction = Transaction::durable();
            Waiting::read(id, &value)?.take_out(&mut transaction);
            Ok((true, Some(transaction)))
        })
        .await
    }

    /// Removes the scheduled events that name an entity, and refuses their ids from then on. Returns the events whose
    /// ids were neither stored nor refused before. An event that the log also has only leaves the schedule.
    pub(crate) async fn erase_scheduled(self, entity: &Entity) -> Result<Vec<Event>, StorageFailure> {
        let mut erased = Vec::new();
        let mut pages = self.every_place(READ_AT_ONCE);
        while let Some(page) = pages.next().await? {
            for waits in self.waiting_at(&page).await? {
                if waits.scheduled.event.names(entity) && self.bury(&waits).await? {
                    erased.push(waits.scheduled.event);
                }
            }
        }
        Ok(erased)
    }

    /// Removes the scheduled events whose ids are already refused.
    pub(crate) async fn remove_erased_scheduled(self) -> Result<(), StorageFailure> {
        let mut pages = self.every_place(READ_AT_ONCE);
        while let Some(page) = pages.next().await? {
            let waiting = self.waiting_at(&page).await?;
            let ids: Vec<&str> = waiting.iter().map(|waits| waits.place.id.as_str()).collect();
            for (waits, state) in waiting.iter().zip(self.locate(&ids).await?) {
                if state == Some(IdState::Erased) {
                    self.bury(waits).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes an event from the schedule on request. Returns whether this call made the store refuse the id.
    async fn bury(self, waits: &Waiting) -> Result<bool, StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            let state = self.locate_one(&waits.place.id).await?;
            let mut transaction = Transaction::durable();
            waits.take_out(&mut transaction);
            refuse_id(&mut transaction, &waits.place.id, state);
            match self.commit_one(&transaction).await? {
                Outcome::Done { .. } => return Ok(state.is_none()),
                // Guard 0 is the event's place. Its refusal means that the event has already left the schedule.
                Outcome::Refused { guard: 0 } => return Ok(false),
                Outcome::Refused { .. } => retry.again().await?,
            }
        }
    }

    /// Returns the waiting events of this partition, earliest first.
    async fn scheduled(self, limit: usize) -> Result<Vec<ScheduledEvent>, StorageFailure> {
        let mut found = Vec::new();
        let mut pages = self.every_place(READ_AT_ONCE.min(limit));
        while found.len() < limit
            && let Some(page) = pages.next().await?
        {
            found.extend(self.waiting_at(&page).await?.into_iter().map(|waits| waits.scheduled));
        }
        found.truncate(limit);
        Ok(found)
    }
}

#[async_trait]
impl ScheduleStore for Store {
    async fn schedule(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, StorageFailure> {
        self.partition(self.partition_of(event)).schedule(event, due).await
    }

    async fn scheduled(&self, limit: usize) -> Result<Vec<ScheduledEvent>, StorageFailure> {
        let mut found = self.in_all(|partition| partition.scheduled(limit)).await?.concat();
        if !self.is_single() {
            // The sort is stable. Events of one partition keep their order, also when they are due at the same time.
            found.sort_by_key(|waits| (waits.due, waits.scheduled_at));
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn cancel_scheduled(&self, event_id: &str) -> Result<bool, StorageFailure> {
        Ok(self.in_all(|partition| partition.cancel(event_id)).await?.contains(&true))
    }

    async fn append_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, StorageFailure> {
        self.append_scheduled(limit).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StorageFailure> {
        let parts = join_all(self.partitions().map(|partition| partition.places(None, 1))).await;
        let first = |places: Option<Vec<ScheduleSlot>>| Some(places?.first()?.due);
        Ok(reached(parts)?.into_iter().filter_map(first).min())
    }
}
