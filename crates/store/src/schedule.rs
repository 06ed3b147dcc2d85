//! Events that wait for their time. An event waits in the partition that it will lie in: its bytes in a row by its id, its place
//! in an index by when it is due and then by when it was scheduled.

use std::collections::HashMap;

use async_trait::async_trait;
use domain::{
    Entity, Event, StorageFailure,
    batch::known_outcome,
    ports::{
        AppendOutcome, Atomicity, ScheduleOutcome, ScheduleStore, ScheduledEvent,
        engine::{
            Appended, Durability, Guard, IdState, Read, RowId, Space, SpaceKind, Transaction, Write,
            rows::{KeyReader, Part, key},
        },
    },
};
use futures_util::future::{join_all, try_join_all};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Store,
    partition::Partition,
    reached::reached,
    retry::OptimisticRetry,
    rows::{SCHEDULED, corrupt, counter, event, event_bytes, from_json, named, number, to_json},
};

/// Places that one read brings.
const READ_AT_ONCE: usize = 200;

/// What stands before an event's bytes, on a line of its own.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    due: Timestamp,
    scheduled_at: Timestamp,
    number: u64,
}

/// Where an event waits. Places sort as the events are due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    due: Timestamp,
    number: u64,
    id: String,
    bytes: u64,
}

impl Place {
    fn key(&self) -> Vec<u8> {
        let Self { due, number, id, bytes } = self;
        key(&[Part::Time(*due), Part::Number(*number), Part::Text(id), Part::Number(*bytes)])
    }

    fn row(&self) -> RowId {
        RowId::of(SpaceKind::ScheduleOrder, self.key())
    }

    fn read(key: &[u8]) -> Result<Self, StorageFailure> {
        let mut reader = KeyReader::new(key);
        let mut place = || {
            let (due, number) = reader.time().zip(reader.number())?;
            let (id, bytes) = reader.text().zip(reader.number())?;
            Some(Self { due, number, id, bytes })
        };
        place().ok_or_else(|| corrupt("a place in the schedule"))
    }
}

fn waiting_row(id: &str) -> RowId {
    named(SpaceKind::Scheduled, id)
}

/// An event that waits, and its place.
pub(crate) struct Waiting {
    place: Place,
    pub(crate) scheduled: ScheduledEvent,
}

impl Waiting {
    /// Reads the row of an id.
    pub(crate) fn read(id: &str, value: &[u8]) -> Result<Self, StorageFailure> {
        let what = || format!("the scheduled event {id:?}");
        let end = value.iter().position(|byte| *byte == b'\n').ok_or_else(|| corrupt(&what()))?;
        let (header, bytes) = value.split_at(end);
        let Header { due, scheduled_at, number } = from_json(header, what)?;
        let event = event(bytes.get(1..).unwrap_or_default(), what)?;
        let place = Place { due, number, id: id.to_owned(), bytes: event.size_bytes() as u64 };
        Ok(Self { place, scheduled: ScheduledEvent { event, due, scheduled_at } })
    }

    /// The id that a key of the schedule names.
    pub(crate) fn id_at(key: &[u8]) -> Result<String, StorageFailure> {
        Ok(Place::read(key)?.id)
    }

    /// Its key in the schedule.
    pub(crate) fn key(&self) -> Vec<u8> {
        self.place.key()
    }

    fn value(event: &Event, header: &Header) -> Result<Vec<u8>, StorageFailure> {
        let mut value = to_json(header)?;
        value.push(b'\n');
        value.extend_from_slice(&event_bytes(event));
        Ok(value)
    }

    /// Takes it out of the schedule, if it is still at its place.
    fn take_out(&self, transaction: &mut Transaction) {
        transaction.guard(Guard::Present(self.place.row()));
        transaction.delete(self.place.row()).delete(waiting_row(&self.place.id));
    }
}

impl Partition<'_> {
    /// The earliest places, behind one, and before an instant.
    async fn places(
        self,
        after: Option<&Place>,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Place>, StorageFailure> {
        let read = Read::Range {
            space: Space::of(SpaceKind::ScheduleOrder),
            after: after.map(Place::key),
            before: before.map(|instant| key(&[Part::Time(instant)])),
            reverse: false,
            limit,
        };
        self.get(&[read]).await?.range().iter().map(|(key, _)| Place::read(key)).collect()
    }

    /// The events at these places. What left the schedule meanwhile is left out.
    async fn waiting(self, places: &[Place]) -> Result<Vec<Waiting>, StorageFailure> {
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

    /// What the log knows of an event; none where it does not know the id, or the stored one went meanwhile.
    async fn known(
        self,
        event: &Event,
        state: Option<IdState>,
    ) -> Result<Option<AppendOutcome>, StorageFailure> {
        let Some(state) = state else { return Ok(None) };
        let stored = match state {
            IdState::Stored(sequence) => self.at(&[sequence]).await?.pop().flatten(),
            IdState::Erased => None,
        };
        let json = match &stored {
            Some(Ok(stored)) => Some(stored.event.json()),
            // What is damaged equals nothing.
            Some(Err(_)) => Some(""),
            None => None,
        };
        Ok(known_outcome(event, state, self.number, json))
    }

    async fn schedule(self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, StorageFailure> {
        let row = waiting_row(event.id());
        let mut retry = OptimisticRetry::new();
        loop {
            let state = self.locate(&[event.id()]).await?.pop().flatten();
            let reads = [Read::Row(row.clone()), Read::Row(counter(SCHEDULED))];
            let mut found = self.get(&reads).await?;
            let (waiting, last) = (found.row(), found.row());
            let known = self.known(event, state).await?;
            let waiting = waiting.map(|value| Waiting::read(event.id(), &value)).transpose()?;
            let waits = waiting.as_ref().map(|waits| (&waits.scheduled.event, waits.scheduled.due));
            let outcome = domain::schedule::decide(event, known, waits);
            // What is answered as there already waits for its copies like what is new.
            let there = match outcome {
                ScheduleOutcome::Scheduled => None,
                ScheduleOutcome::AlreadyScheduled(_) => {
                    waiting.as_ref().map(|waits| Guard::Present(waits.place.row()))
                }
                ScheduleOutcome::AlreadyStored(_) => Some(Guard::Id(event.id().to_owned(), state)),
                ScheduleOutcome::Conflict | ScheduleOutcome::Erased => return Ok(outcome),
            };
            if let Some(there) = there {
                let mut transaction =
                    Transaction { durability: Durability::Replicated, ..Transaction::new() };
                transaction.guard(there);
                if self.is_committed(&transaction).await? {
                    return Ok(outcome);
                }
                retry.again().await?;
                continue;
            }
            let number = number(last.as_deref())? + 1;
            let header = Header { due, scheduled_at: found.now, number };
            let id = event.id().to_owned();
            let place = Place { due, number, id: id.clone(), bytes: event.size_bytes() as u64 };
            let mut transaction = Transaction::durable();
            transaction.durability = Durability::Replicated;
            transaction.guard(Guard::Id(id, None)).guard(Guard::Absent(row.clone()));
            transaction.guard(Guard::still(counter(SCHEDULED), last.as_deref()));
            transaction.put(counter(SCHEDULED), number.to_string());
            transaction.put(row.clone(), Waiting::value(event, &header)?).list(place.row());
            if self.is_committed(&transaction).await? {
                return Ok(outcome);
            }
            retry.again().await?;
        }
    }

    async fn cancel(self, id: &str) -> Result<bool, StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            let Some(value) = self.get(&[Read::Row(waiting_row(id))]).await?.row() else { return Ok(false) };
            let mut transaction = Transaction::durable();
            Waiting::read(id, &value)?.take_out(&mut transaction);
            if self.is_committed(&transaction).await? {
                return Ok(true);
            }
            retry.again().await?;
        }
    }

    /// What is due now, the earliest first.
    async fn due(self, limit: usize) -> Result<Vec<Place>, StorageFailure> {
        let now = self.get(&[]).await?.now;
        // Instants up to now are due, now included.
        let not_yet = domain::time::later(now, std::time::Duration::from_nanos(1));
        self.places(None, Some(not_yet), limit).await
    }

    /// Appends what is due. The events leave the schedule whatever became of them: what the log refuses now it will refuse
    /// forever.
    async fn append_due(
        self,
        limit: usize,
        most_bytes: u64,
    ) -> Result<Vec<(String, AppendOutcome)>, StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            let mut places = self.due(limit).await?;
            if places.is_empty() {
                return Ok(Vec::new());
            }
            let mut bytes = 0;
            let fits = |place: &&Place| {
                bytes += place.bytes;
                bytes <= most_bytes
            };
            let fit = places.iter().take_while(fits).count().max(1);
            places.truncate(fit);
            let waiting = self.waiting(&places).await?;
            if waiting.is_empty() {
                self.forget(&places).await?;
            }
            let mut with = Transaction::durable();
            for waits in &waiting {
                waits.take_out(&mut with);
            }
            let batch: Vec<Event> = waiting.into_iter().map(|waits| waits.scheduled.event).collect();
            if !batch.is_empty()
                && let Appended::Done(outcomes) =
                    self.engine.append(self.number, &batch, Atomicity::Each, &with).await?
            {
                return Ok(batch.iter().map(|event| event.id().to_owned()).zip(outcomes).collect());
            }
            // Another caller takes the same events.
            retry.again().await?;
        }
    }

    /// Drops places whose events are gone, however that came about: nothing else would ever take them out.
    async fn forget(self, places: &[Place]) -> Result<(), StorageFailure> {
        let transactions: Vec<Transaction> = places
            .iter()
            .map(|place| {
                let mut transaction = Transaction::new();
                transaction.guard(Guard::Absent(waiting_row(&place.id))).delete(place.row());
                transaction
            })
            .collect();
        self.commit(&transactions).await.map(drop)
    }

    /// Removes the scheduled events that name an entity, and refuses their ids from then on. The events whose ids were not
    /// refused before; one of an id that the log has as well only leaves the schedule.
    pub(crate) async fn erase_scheduled(self, entity: &Entity) -> Result<Vec<Event>, StorageFailure> {
        let (mut erased, mut after) = (Vec::new(), None);
        loop {
            let places = self.places(after.as_ref(), None, READ_AT_ONCE).await?;
            let Some(last) = places.last() else { return Ok(erased) };
            after = Some(last.clone());
            for waits in self.waiting(&places).await? {
                if waits.scheduled.event.names(entity) && self.bury(&waits).await? {
                    erased.push(waits.scheduled.event);
                }
            }
        }
    }

    /// Removes the scheduled events whose ids are refused already.
    pub(crate) async fn remove_erased_scheduled(self) -> Result<(), StorageFailure> {
        let mut after = None;
        loop {
            let places = self.places(after.as_ref(), None, READ_AT_ONCE).await?;
            let Some(last) = places.last() else { return Ok(()) };
            after = Some(last.clone());
            let waiting = self.waiting(&places).await?;
            let ids: Vec<&str> = waiting.iter().map(|waits| waits.place.id.as_str()).collect();
            for (waits, state) in waiting.iter().zip(self.locate(&ids).await?) {
                if state == Some(IdState::Erased) {
                    self.bury(waits).await?;
                }
            }
        }
    }

    /// Takes an event out of the schedule on request; whether its id is refused by this.
    async fn bury(self, waits: &Waiting) -> Result<bool, StorageFailure> {
        let id = waits.place.id.clone();
        let mut retry = OptimisticRetry::new();
        loop {
            let state = self.locate(&[&id]).await?.pop().flatten();
            let mut transaction = Transaction::durable();
            transaction.erases = true;
            waits.take_out(&mut transaction);
            transaction.guard(Guard::Id(id.clone(), state));
            if state.is_none() {
                transaction.write(Write::Tombstone(id.clone()));
            }
            match self.commit_one(&transaction).await? {
                outcome if outcome.is_done() => return Ok(state.is_none()),
                // Its place is the first guard: it has left the schedule already.
                domain::ports::engine::Outcome::Refused { guard: 0 } => return Ok(false),
                _ => retry.again().await?,
            }
        }
    }

    /// Every event that waits here, the earliest first.
    async fn scheduled(self, limit: usize) -> Result<Vec<ScheduledEvent>, StorageFailure> {
        let (mut found, mut after) = (Vec::new(), None);
        while found.len() < limit {
            let places = self.places(after.as_ref(), None, READ_AT_ONCE.min(limit - found.len())).await?;
            let Some(last) = places.last() else { break };
            after = Some(last.clone());
            found.extend(self.waiting(&places).await?.into_iter().map(|waits| waits.scheduled));
        }
        Ok(found)
    }
}

#[async_trait]
impl ScheduleStore for Store {
    async fn schedule(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, StorageFailure> {
        self.partition(self.partition_of(event)).schedule(event, due).await
    }

    async fn scheduled(&self, limit: usize) -> Result<Vec<ScheduledEvent>, StorageFailure> {
        let parts = try_join_all(self.partitions().map(|partition| partition.scheduled(limit))).await?;
        let mut found: Vec<ScheduledEvent> = parts.into_iter().flatten().collect();
        if !self.is_single() {
            // Those of one partition are in order, also where they are due at once.
            found.sort_by_key(|waits| (waits.due, waits.scheduled_at));
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn cancel_scheduled(&self, event_id: &str) -> Result<bool, StorageFailure> {
        let parts = self.partitions().map(|partition| partition.cancel(event_id));
        Ok(try_join_all(parts).await?.contains(&true))
    }

    async fn append_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, StorageFailure> {
        let limits = self.info().limits;
        let (limit, most_bytes) = (limit.clamp(1, limits.append_events), limits.append_bytes as u64);
        if self.is_single() {
            return self.first().append_due(limit, most_bytes).await;
        }
        // The earliest of all partitions, each in a step of its own partition.
        let due = join_all(self.partitions().map(|partition| partition.due(limit))).await;
        let mut due: Vec<(Place, u16)> = (0u16..)
            .zip(reached(due)?)
            .flat_map(|(number, places)| places.unwrap_or_default().into_iter().map(move |it| (it, number)))
            .collect();
        due.sort_unstable();
        due.truncate(limit);
        let count = |number: u16| due.iter().filter(|(_, of)| *of == number).count();
        let asks = self.partitions().map(|partition| async move {
            match count(partition.number) {
                0 => Ok(Vec::new()),
                some => partition.append_due(some, most_bytes).await,
            }
        });
        let mut outcomes = HashMap::new();
        for (number, part) in (0u16..).zip(reached(join_all(asks).await)?) {
            outcomes
                .extend(part.unwrap_or_default().into_iter().map(|(id, outcome)| ((number, id), outcome)));
        }
        // As they were due; what came in between is last.
        let known = due.into_iter().filter_map(|(place, number)| outcomes.remove_entry(&(number, place.id)));
        let mut appended: Vec<((u16, String), AppendOutcome)> = known.collect();
        appended.extend(outcomes);
        Ok(appended.into_iter().map(|((_, id), outcome)| (id, outcome)).collect())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StorageFailure> {
        let parts = join_all(self.partitions().map(|partition| partition.places(None, None, 1))).await;
        let first = |places: Option<Vec<Place>>| Some(places?.first()?.due);
        Ok(reached(parts)?.into_iter().filter_map(first).min())
    }
}
