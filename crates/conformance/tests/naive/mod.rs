//! The smallest correct engine: all data in maps behind one lock for each partition, without an index.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    Event, Filter, Position, StorageFailure, StoreId, StoredEvent,
    batch::{Resolution, known_outcome},
    ports::{
        AppendOutcome, Atomicity, Clock as _, Order, RetentionMode, StorageEngine, VerifyReport,
        engine::{
            Appended, Checked, EngineInfo, EngineLimits, Entry, Guard, IdState, Outcome, PartitionState,
            Read, ReadResult, Removal, RemovalKind, Removed, RowId, Scan, ScanPage, Snapshot, Space,
            Transaction, Write, log::sequence_of,
        },
    },
};
use event_replay_conformance::{EngineHarness, EngineStorage, ManualClock};
use jiff::Timestamp;
use tokio::sync::watch;

/// Creates naive engines with this number of partitions.
pub struct NaiveHarness(pub u16);

#[async_trait]
impl EngineHarness for NaiveHarness {
    fn partitions(&self) -> u16 {
        self.0
    }

    async fn fresh(&self, clock: ManualClock) -> Box<dyn EngineStorage> {
        Box::new(Naive::new(clock, self.0))
    }
}

#[async_trait]
impl EngineStorage for Naive {
    async fn open(&self) -> Arc<dyn StorageEngine> {
        Arc::new(self.clone())
    }
}

/// The engine, which is also its storage.
#[derive(Clone)]
pub struct Naive {
    clock: ManualClock,
    info: EngineInfo,
    partitions: Arc<Vec<Mutex<Part>>>,
    /// Notifies waiting callers after each append.
    appended: watch::Sender<()>,
}

#[derive(Default)]
struct Part {
    log: BTreeMap<u64, StoredEvent>,
    refused: BTreeSet<String>,
    head: u64,
    newest: Option<Timestamp>,
    trimmed_through: u64,
    rows: BTreeMap<RowId, Vec<u8>>,
}

impl Part {
    fn id(&self, id: &str) -> Option<IdState> {
        if self.refused.contains(id) {
            return Some(IdState::Erased);
        }
        let stored = self.log.values().find(|stored| stored.event.id() == id);
        stored.map(|stored| IdState::Stored(stored.position.sequence))
    }

    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            Guard::Is(row, value) => self.rows.get(row) == Some(value),
            Guard::Absent(row) => !self.rows.contains_key(row),
            Guard::Present(row) => self.rows.contains_key(row),
            Guard::Generation(generation) => *generation == 1,
            Guard::Id(id, state) => self.id(id) == *state,
            Guard::NoneNewer(newer) => {
                let is_one = |stored: &StoredEvent| newer.contains(&stored.event);
                self.trimmed_through <= newer.after
                    && !self.log.range(newer.after + 1..).any(|(_, stored)| is_one(stored))
            }
        }
    }

    /// Returns the first guard of the first step that does not hold.
    fn refusal(&self, transaction: &Transaction) -> Option<usize> {
        transaction.steps.first()?.guards.iter().position(|guard| !self.holds(guard))
    }

    fn perform(&mut self, transaction: &Transaction) -> Outcome {
        if let Some(guard) = self.refusal(transaction) {
            return Outcome::Refused { guard };
        }
        self.perform_admitted(transaction)
    }

    /// Performs a transaction after the guards of its first step were checked.
    fn perform_admitted(&mut self, transaction: &Transaction) -> Outcome {
        let mut left_out = Vec::new();
        for (number, step) in transaction.steps.iter().enumerate() {
            match number == 0 || step.guards.iter().all(|guard| self.holds(guard)) {
                true => step.writes.iter().for_each(|write| self.write(write)),
                false => left_out.push(number),
            }
        }
        Outcome::Done { left_out }
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Put(row, value) => {
                self.rows.insert(row.clone(), value.clone());
            }
            Write::Delete(row) => {
                self.rows.remove(row);
            }
            Write::Clear(space) => self.rows.retain(|row, _| row.space != *space),
            Write::Add(row, amount) => {
                let value = self.rows.get(row).map(|value| std::str::from_utf8(value).unwrap());
                let number: i64 = value.map_or(0, |value| value.parse().unwrap());
                self.rows.insert(row.clone(), (number + amount).to_string().into_bytes());
            }
            Write::Tombstone(id) => {
                self.refused.insert(id.clone());
            }
            Write::CountReplay { sequences, at } => {
                for sequence in sequences.iter().collect::<BTreeSet<_>>() {
                    if let Some(stored) = self.log.get_mut(sequence) {
                        stored.replay_count += 1;
                        stored.last_replay_at = Some(*at);
                    }
                }
            }
        }
    }

    fn append(
        &mut self,
        partition: u16,
        batch: &[Event],
        atomicity: Atomicity,
        now: Timestamp,
    ) -> Vec<AppendOutcome> {
        let mut resolution = Resolution::new(batch, atomicity);
        if resolution.is_contradictory() {
            return resolution.outcomes();
        }
        loop {
            let mut learned = false;
            for index in resolution.pending() {
                let Some(state) = self.id(batch[index].id()) else { continue };
                let json = match state {
                    IdState::Stored(sequence) => self.log.get(&sequence).map(|stored| stored.event.json()),
                    IdState::Erased => None,
                };
                let outcome = known_outcome(&batch[index], state, partition, json).unwrap();
                resolution.settle(index, outcome);
                learned = true;
            }
            if !learned {
                break;
            }
        }
        if !resolution.is_refused() {
            for index in resolution.pending() {
                self.head += 1;
                let position = Position::new(partition, self.head);
                let stored_at = self.newest.map_or(now, |newest| newest.max(now));
                self.newest = Some(stored_at);
                let event = batch[index].clone();
                let stored =
                    StoredEvent { event, position, stored_at, replay_count: 0, last_replay_at: None };
                self.log.insert(self.head, stored);
                resolution.settle(index, AppendOutcome::Stored(position));
            }
        }
        resolution.outcomes()
    }

    fn state(&self, now: Timestamp) -> PartitionState {
        PartitionState {
            head: self.head,
            epoch: 1,
            generation: 1,
            ends: Vec::new(),
            events: self.log.len() as u64,
            bytes: self.log.values().map(|stored| stored.event.size_bytes() as u64).sum(),
            trimmed_through: self.trimmed_through,
            now,
        }
    }

    fn read(&self, read: &Read) -> ReadResult {
        let of = |space: &Space| {
            let own = self.rows.range(space.row("")..).take_while(|(row, _)| row.space == *space);
            own.map(|(row, value)| (row.key.clone(), value.clone())).collect::<Vec<_>>()
        };
        match read {
            Read::Row(row) => ReadResult::Row(self.rows.get(row).cloned()),
            Read::Count(space) => ReadResult::Count(of(space).len() as u64),
            Read::Scopes(kind) => {
                let own = self.rows.keys().filter(|row| row.space.kind == *kind);
                let scopes: std::collections::BTreeSet<_> = own.map(|row| row.space.scope.clone()).collect();
                ReadResult::Range(scopes.into_iter().map(|scope| (scope, Vec::new())).collect())
            }
            Read::Range { space, after, before, reverse, limit } => {
                let mut rows = of(space);
                rows.retain(|(key, _)| {
                    after.as_ref().is_none_or(|after| key > after)
                        && before.as_ref().is_none_or(|before| key < before)
                });
                if *reverse {
                    rows.reverse();
                }
                rows.truncate(*limit);
                ReadResult::Range(rows)
            }
        }
    }
}

impl Naive {
    pub fn new(clock: ManualClock, partitions: u16) -> Self {
        let limits = EngineLimits {
            append_events: 1_000,
            append_bytes: 1 << 20,
            removal_events: 1_000,
            removal_stretch: 1 << 20,
        };
        let (store, namespace, keeps) = (StoreId(7), "naive".to_owned(), RetentionMode::History);
        let info = EngineInfo { store, namespace, keeps, partitions, limits };
        let parts = (0..partitions).map(|_| Mutex::default()).collect();
        Self { clock, info, partitions: Arc::new(parts), appended: watch::Sender::default() }
    }

    fn part(&self, partition: u16) -> MutexGuard<'_, Part> {
        self.partitions[usize::from(partition)].lock().unwrap()
    }
}

#[async_trait]
impl StorageEngine for Naive {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    async fn state(&self, partition: u16) -> Result<PartitionState, StorageFailure> {
        Ok(self.part(partition).state(self.clock.now()))
    }

    async fn changed(&self, heads: &[u64], timeout: Duration) -> Result<(), StorageFailure> {
        let mut appended = self.appended.subscribe();
        let is_past = |(partition, head): (u16, &u64)| self.part(partition).head > *head;
        if !(0..).zip(heads).any(is_past) {
            let _ = tokio::time::timeout(timeout, appended.changed()).await;
        }
        Ok(())
    }

    async fn append(
        &self,
        partition: u16,
        batch: &[Event],
        atomicity: Atomicity,
        with: &Transaction,
    ) -> Result<Appended, StorageFailure> {
        let mut part = self.part(partition);
        if let Some(guard) = part.refusal(with) {
            return Ok(Appended::Refused { guard });
        }
        let outcomes = part.append(partition, batch, atomicity, self.clock.now());
        part.perform_admitted(with);
        drop(part);
        self.appended.send_replace(());
        Ok(Appended::Done(outcomes))
    }

    async fn remove(&self, partition: u16, removal: &Removal<'_>) -> Result<Removed, StorageFailure> {
        let mut part = self.part(partition);
        if let Some(guard) = part.refusal(removal.with) {
            return Ok(Removed::Refused { guard });
        }
        let (mut events, mut bytes) = (0, 0);
        for sequence in removal.entries.iter().map(sequence_of) {
            let Some(stored) = part.log.remove(&sequence) else { continue };
            events += 1;
            bytes += stored.event.size_bytes() as u64;
            match removal.kind {
                RemovalKind::Erase => drop(part.refused.insert(stored.event.id().to_owned())),
                _ => part.trimmed_through = part.trimmed_through.max(sequence),
            }
        }
        part.perform_admitted(removal.with);
        Ok(Removed::Done { events, bytes })
    }

    async fn scan(&self, partition: u16, request: &Scan<'_>) -> Result<ScanPage, StorageFailure> {
        let part = self.part(partition);
        let after = request.after.map_or(Bound::Unbounded, Bound::Excluded);
        let until = request.until.unwrap_or(u64::MAX);
        let mut found: Vec<&StoredEvent> = part
            .log
            .values()
            .filter(|stored| stored.position.sequence <= until && request.filter.matches(&stored.event))
            .collect();
        if request.order == Order::NewestFirst {
            found.reverse();
        }
        found.retain(|stored| match (request.order, after) {
            (Order::OldestFirst, Bound::Excluded(after)) => stored.position.sequence > after,
            (Order::NewestFirst, Bound::Excluded(after)) => stored.position.sequence < after,
            _ => true,
        });
        let (mut entries, mut bytes, mut next) = (Vec::new(), 0, None);
        for stored in found {
            if entries.len() == request.limit || bytes >= request.max_bytes {
                next = entries.last().map(sequence_of);
                break;
            }
            bytes += stored.event.size_bytes() as u64;
            entries.push(Ok(stored.clone()));
        }
        Ok(ScanPage { entries, next, state: part.state(self.clock.now()) })
    }

    async fn at(&self, partition: u16, sequences: &[u64]) -> Result<Vec<Option<Entry>>, StorageFailure> {
        let part = self.part(partition);
        Ok(sequences.iter().map(|sequence| part.log.get(sequence).cloned().map(Ok)).collect())
    }

    async fn locate(&self, partition: u16, ids: &[&str]) -> Result<Vec<Option<IdState>>, StorageFailure> {
        let part = self.part(partition);
        Ok(ids.iter().map(|id| part.id(id)).collect())
    }

    async fn count(&self, partition: u16, filter: &Arc<Filter>, until: u64) -> Result<u64, StorageFailure> {
        let part = self.part(partition);
        let log = part.log.range(..=until);
        Ok(log.filter(|(_, stored)| filter.matches(&stored.event)).count() as u64)
    }

    async fn verify(&self, partition: u16, checked: Checked<'_>) -> Result<VerifyReport, StorageFailure> {
        let events = self.part(partition).log.len() as u64;
        checked(events);
        Ok(VerifyReport { events, ..VerifyReport::default() })
    }

    async fn scrub(&self, _: u16, _: bool) -> Result<Vec<String>, StorageFailure> {
        Ok(Vec::new())
    }

    async fn occupied(&self) -> Result<Option<u64>, StorageFailure> {
        Ok(None)
    }

    async fn get(&self, partition: u16, reads: &[Read]) -> Result<Snapshot, StorageFailure> {
        let part = self.part(partition);
        Ok(Snapshot::new(self.clock.now(), 1, reads.iter().map(|read| part.read(read))))
    }

    async fn commit(
        &self,
        partition: u16,
        transactions: &[Transaction],
    ) -> Result<Vec<Outcome>, StorageFailure> {
        let mut part = self.part(partition);
        Ok(transactions.iter().map(|transaction| part.perform(transaction)).collect())
    }
}
