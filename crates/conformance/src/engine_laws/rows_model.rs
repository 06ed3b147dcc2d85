//! Random transactions and reads. Each result is compared with a naive model of the rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use domain::ports::{
    Atomicity, StorageEngine,
    engine::{
        Appended, Durability, Guard, IdState, Outcome, Read, ReadResult, RowId, Space, SpaceKind, Step,
        Transaction, Write,
    },
};
use fastrand::Rng;

use super::rows::odd_keys;
use crate::{Draft, EngineBench, EngineHarness, model::seeds};

/// Number of calls in one round.
const STEPS: usize = 150;

/// For every sequence of transactions, the rows and outcomes agree with the model. A failure prints the seed that
/// reproduces it.
pub async fn rows_agree_with_the_model(h: &impl EngineHarness) {
    for seed in seeds(h.partitions()) {
        let bench = EngineBench::new(h).await;
        let mut run = Run::new(bench, seed).await;
        for step in 0..STEPS {
            run.step(step).await;
        }
        run.finish().await;
    }
}

/// The expected content of a partition.
#[derive(Default)]
struct Model {
    rows: BTreeMap<RowId, Vec<u8>>,
    /// Ids with a tombstone.
    refused: BTreeSet<String>,
}

impl Model {
    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            Guard::Is(row, value) => self.rows.get(row) == Some(value),
            Guard::Absent(row) => !self.rows.contains_key(row),
            Guard::Present(row) => self.rows.contains_key(row),
            // The model has no loss of data. Every engine begins with a generation of at least 1.
            Guard::Generation(generation) => *generation != 0,
            // This law stores no events.
            Guard::NoneNewer(_) => true,
            Guard::Id(id, state) => *state == self.refused.contains(id).then_some(IdState::Erased),
        }
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
                let text = self.rows.get(row).map(|value| String::from_utf8(value.clone()).expect("digits"));
                let number: i64 = text.map_or(0, |text| text.parse().expect("a number"));
                self.rows.insert(row.clone(), (number + amount).to_string().into_bytes());
            }
            Write::Tombstone(id) => {
                self.refused.insert(id.clone());
            }
            Write::CountReplay { .. } => {}
        }
    }

    fn perform(&mut self, transaction: &Transaction) -> Outcome {
        let mut left_out = Vec::new();
        for (number, Step { guards, writes }) in transaction.steps.iter().enumerate() {
            match guards.iter().position(|guard| !self.holds(guard)) {
                Some(guard) if number == 0 => return Outcome::Refused { guard },
                Some(_) => left_out.push(number),
                None => writes.iter().for_each(|write| self.write(write)),
            }
        }
        Outcome::Done { left_out }
    }

    fn read(&self, read: &Read) -> ReadResult {
        match read {
            Read::Row(row) => ReadResult::Row(self.rows.get(row).cloned()),
            Read::Count(space) => ReadResult::Count(self.of(space).count() as u64),
            Read::Scopes(kind) => {
                let own = self.rows.keys().filter(|row| row.space.kind == *kind);
                let scopes: std::collections::BTreeSet<Vec<u8>> =
                    own.map(|row| row.space.scope.clone()).collect();
                ReadResult::Range(scopes.into_iter().map(|scope| (scope, Vec::new())).collect())
            }
            Read::Range { space, after, before, reverse, limit } => {
                let bound = |key: &Option<Vec<u8>>| key.clone().map_or(Bound::Unbounded, Bound::Excluded);
                let (after, before) = (bound(after), bound(before));
                let is_within = |key: &Vec<u8>| {
                    let behind = match &after {
                        Bound::Excluded(after) => key > after,
                        _ => true,
                    };
                    let ahead = match &before {
                        Bound::Excluded(before) => key < before,
                        _ => true,
                    };
                    behind && ahead
                };
                let mut rows: Vec<(Vec<u8>, Vec<u8>)> =
                    self.of(space).filter(|(key, _)| is_within(key)).collect();
                if *reverse {
                    rows.reverse();
                }
                rows.truncate(*limit);
                ReadResult::Range(rows)
            }
        }
    }

    fn of<'a>(&'a self, space: &'a Space) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a {
        let own = self.rows.iter().filter(move |(row, _)| row.space == *space);
        own.map(|(row, value)| (row.key.clone(), value.clone()))
    }
}

/// Draws rows, transactions and reads from small pools, so that they overlap.
struct Draw {
    rng: Rng,
    keys: Vec<Vec<u8>>,
    scopes: Vec<Vec<u8>>,
}

impl Draw {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut pool = odd_keys();
        rng.shuffle(&mut pool);
        let keys = pool.split_off(pool.len() - 10);
        let scopes = pool.split_off(pool.len() - 3);
        Self { rng, keys, scopes }
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(..n) == 0
    }

    fn key(&mut self) -> Vec<u8> {
        self.keys[self.rng.usize(..self.keys.len())].clone()
    }

    fn space(&mut self) -> Space {
        let kinds = [SpaceKind::Counter, SpaceKind::Blocked, SpaceKind::DeadLetterState, SpaceKind::Lane];
        let kind = kinds[self.rng.usize(..kinds.len())];
        Space::within(kind, self.scopes[self.rng.usize(..self.scopes.len())].clone())
    }

    fn row(&mut self) -> RowId {
        let (space, key) = (self.space(), self.key());
        space.row(key)
    }

    /// Draws a row of a map.
    fn map_row(&mut self) -> RowId {
        loop {
            let row = self.row();
            if !row.space.kind.is_index() {
                return row;
            }
        }
    }

    /// Draws a value: a number for counters, nothing for rows of an index, and any bytes for others.
    fn value(&mut self, kind: SpaceKind) -> Vec<u8> {
        match kind {
            SpaceKind::Counter => self.rng.i64(-20..20).to_string().into_bytes(),
            kind if kind.is_index() => Vec::new(),
            _ => (0..self.rng.usize(..4)).map(|_| self.rng.u8(..)).collect(),
        }
    }

    fn id(&mut self) -> String {
        format!("refused {}", self.rng.u32(..6))
    }

    /// Draws a guard that mostly holds for the current rows of the model.
    fn guard(&mut self, model: &Model) -> Guard {
        let (row, map_row, id) = (self.row(), self.map_row(), self.id());
        if self.one_in(4) {
            return match self.rng.u32(..5) {
                0 => Guard::Absent(row),
                1 => Guard::Present(row),
                2 => Guard::Generation(u64::from(self.rng.bool()) * u64::MAX),
                3 => Guard::Id(id, self.rng.bool().then_some(IdState::Erased)),
                _ => {
                    let value = self.value(map_row.space.kind);
                    Guard::Is(map_row, value)
                }
            };
        }
        match self.rng.u32(..4) {
            0 => Guard::still(map_row.clone(), model.rows.get(&map_row).map(Vec::as_slice)),
            1 if model.rows.contains_key(&row) => Guard::Present(row),
            1 => Guard::Absent(row),
            2 => {
                let state = model.refused.contains(&id).then_some(IdState::Erased);
                Guard::Id(id, state)
            }
            _ => Guard::still(map_row.clone(), model.rows.get(&map_row).map(Vec::as_slice)),
        }
    }

    fn write(&mut self) -> Write {
        match self.rng.u32(..20) {
            0..=9 => {
                let row = self.row();
                let value = self.value(row.space.kind);
                Write::Put(row, value)
            }
            10..=13 => Write::Delete(self.row()),
            14..=15 => Write::Clear(self.space()),
            16 => Write::Tombstone(self.id()),
            _ => {
                let scope = self.space().scope;
                Write::Add(Space::within(SpaceKind::Counter, scope).row(self.key()), self.rng.i64(-9..10))
            }
        }
    }

    fn transaction(&mut self, model: &Model) -> Transaction {
        let steps = (0..self.rng.usize(1..4)).map(|_| {
            let guards = (0..self.rng.usize(..3)).map(|_| self.guard(model)).collect();
            let writes = (0..self.rng.usize(..5)).map(|_| self.write()).collect();
            Step { guards, writes }
        });
        let steps = steps.collect();
        let durability = [Durability::Relaxed, Durability::Relaxed, Durability::Durable][self.rng.usize(..3)];
        Transaction { steps, durability, even_when_full: self.rng.bool(), erases: self.one_in(10) }
    }

    fn read(&mut self) -> Read {
        let space = self.space();
        match self.rng.u32(..4) {
            0 => Read::Row(self.map_row()),
            1 => Read::Count(space),
            2 if self.rng.bool() => Read::Scopes(space.kind),
            _ => {
                let bounds = [(); 2].map(|()| self.rng.bool().then(|| self.key()));
                let [after, before] = bounds;
                let limit = [1, 2, 4, usize::MAX][self.rng.usize(..4)];
                Read::Range { space, after, before, reverse: self.rng.bool(), limit }
            }
        }
    }
}

struct Run {
    bench: EngineBench,
    handles: Vec<Arc<dyn StorageEngine>>,
    draw: Draw,
    models: Vec<Model>,
    generations: Vec<u64>,
    seed: u64,
}

impl Run {
    async fn new(bench: EngineBench, seed: u64) -> Self {
        let handles = bench.handles(2).await;
        let models = (0..bench.partitions).map(|_| Model::default()).collect();
        let mut generations = Vec::new();
        for partition in 0..bench.partitions {
            generations.push(bench.engine.state(partition).await.unwrap().generation);
        }
        Self { bench, handles, draw: Draw::new(seed), models, generations, seed }
    }

    async fn step(&mut self, step: usize) {
        let here = format!("EVENT_REPLAY_SEED={} EVENT_REPLAY_ROUNDS=1, step {step}", self.seed);
        let partition = self.draw.rng.u16(..self.bench.partitions);
        match self.draw.rng.u32(..10) {
            0..=5 => self.commit(partition, &here).await,
            6 => self.append(partition, step, &here).await,
            _ => self.read(partition, &here).await,
        }
    }

    fn engine(&mut self) -> Arc<dyn StorageEngine> {
        Arc::clone(&self.handles[self.draw.rng.usize(..self.handles.len())])
    }

    /// Draws a transaction. Guards on the generation get the generation of this partition.
    fn transaction(&mut self, partition: u16) -> Transaction {
        let mut transaction = self.draw.transaction(&self.models[usize::from(partition)]);
        let generation = self.generations[usize::from(partition)];
        for guard in transaction.steps.iter_mut().flat_map(|step| &mut step.guards) {
            if let Guard::Generation(asked @ u64::MAX) = guard {
                *asked = generation;
            }
        }
        transaction
    }

    async fn commit(&mut self, partition: u16, here: &str) {
        let transactions: Vec<Transaction> =
            (0..self.draw.rng.usize(1..4)).map(|_| self.transaction(partition)).collect();
        let outcomes = self.engine().commit(partition, &transactions).await.unwrap();
        let model = &mut self.models[usize::from(partition)];
        let expected: Vec<Outcome> = transactions.iter().map(|one| model.perform(one)).collect();
        assert_eq!(outcomes, expected, "{here}: {transactions:#?}");
    }

    async fn append(&mut self, partition: u16, step: usize, here: &str) {
        let transaction = self.transaction(partition);
        let batch = Draft::many(&format!("e{step}"), self.draw.rng.usize(..3));
        let appended = self.engine().append(partition, &batch, Atomicity::Each, &transaction).await.unwrap();
        let expected = self.models[usize::from(partition)].perform(&transaction);
        match (&appended, &expected) {
            (Appended::Done(outcomes), Outcome::Done { .. }) if outcomes.len() == batch.len() => {}
            (Appended::Refused { guard }, Outcome::Refused { guard: expected }) if guard == expected => {}
            _ => panic!("{here}: {appended:?}, not {expected:?} with {transaction:#?}"),
        }
        let ids: Vec<&str> = batch.iter().map(domain::Event::id).collect();
        let known = self.engine().locate(partition, &ids).await.unwrap();
        let are_stored = known.iter().all(|state| state.is_some() == expected.is_done());
        assert!(are_stored, "{here}: {known:?} after {appended:?}");
    }

    async fn read(&mut self, partition: u16, here: &str) {
        let reads: Vec<Read> = (0..self.draw.rng.usize(1..8)).map(|_| self.draw.read()).collect();
        let mut answers = self.engine().get(partition, &reads).await.unwrap();
        for read in &reads {
            let expected = self.models[usize::from(partition)].read(read);
            let answer = match read {
                Read::Row(_) => ReadResult::Row(answers.row()),
                Read::Range { .. } => ReadResult::Range(answers.range()),
                Read::Count(_) => ReadResult::Count(answers.count()),
                Read::Scopes(_) => {
                    let mut scopes = answers.range();
                    scopes.sort_unstable();
                    ReadResult::Range(scopes)
                }
            };
            assert_eq!(answer, expected, "{here}: {read:?}");
        }
    }

    /// Compares the final rows with the model through a new handle.
    async fn finish(&mut self) {
        let engine = self.bench.storage.open().await;
        for (partition, model) in (0..).zip(&self.models) {
            for kind in [SpaceKind::Counter, SpaceKind::Blocked, SpaceKind::DeadLetterState, SpaceKind::Lane]
            {
                for scope in &self.draw.scopes {
                    let read = Read::all(Space::within(kind, scope.clone()));
                    let mut answers = engine.get(partition, std::slice::from_ref(&read)).await.unwrap();
                    let found = ReadResult::Range(answers.range());
                    assert_eq!(
                        found,
                        model.read(&read),
                        "EVENT_REPLAY_SEED={}: {kind:?} at the end",
                        self.seed
                    );
                }
            }
            let asked: Vec<&str> = model.refused.iter().map(String::as_str).collect();
            let known = engine.locate(partition, &asked).await.unwrap();
            assert_eq!(known, vec![Some(IdState::Erased); asked.len()], "EVENT_REPLAY_SEED={}", self.seed);
        }
    }
}
