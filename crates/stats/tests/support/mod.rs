//! The common part of these tests: a store that fails on demand, a manual clock, and a recorder that keeps its values.
#![allow(dead_code, unreachable_pub)]

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex},
};

pub use conformance::EngineFault;
use conformance::{EngineCall, EngineRequest, FaultScript, FaultyEngine, TransactionExt};
use domain::{
    StorageFailure,
    ports::{
        Clock, StatsStore,
        engine::{Read, SpaceKind, Write, rows::KeyReader},
    },
};
use jiff::{SignedDuration, Timestamp};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use storage_memory::MemoryEngine;
use store::Store;

/// Returns a transient fault.
pub fn busy() -> EngineFault {
    EngineFault::Fails(StorageFailure::Unavailable("away".to_owned()))
}

/// Returns a fault that stays until an operator acts.
pub fn full() -> EngineFault {
    EngineFault::Fails(StorageFailure::Full("no space left".to_owned()))
}

/// A store in memory with faults in its counters.
pub struct FaultyStats {
    store: Store,
    /// The number of samples that each call added.
    pub calls: Arc<Mutex<Vec<usize>>>,
    /// The minute before which each call merged.
    pub folds: Arc<Mutex<Vec<i64>>>,
}

impl FaultyStats {
    /// Creates a store whose next additions fail with these faults.
    pub fn failing(faults: impl IntoIterator<Item = EngineFault>) -> Self {
        let script = Arc::new(FaultScript::new());
        script.plan_all("commit", faults);
        let (calls, folds) = (Arc::<Mutex<Vec<usize>>>::default(), Arc::<Mutex<Vec<i64>>>::default());
        let (added, folded) = (Arc::clone(&calls), Arc::clone(&folds));
        script.observe(move |call| {
            if call.writes(SpaceKind::Stat) {
                added.lock().unwrap().push(samples_of(call));
            }
            folded.lock().unwrap().extend(folds_of(call));
        });
        let store = Store::new(FaultyEngine::new(Arc::new(MemoryEngine::default()), script));
        Self { store, calls, folds }
    }

    /// Returns the count and the sum of a name over all minutes.
    pub async fn total(&self, name: &str) -> (u64, u64) {
        self.of(name).await.iter().fold((0, 0), |sum, of| (sum.0 + of.2, sum.1 + of.3))
    }

    /// Returns the rows of a name as (minute, label, count, sum).
    pub async fn of(&self, name: &str) -> Vec<(i64, String, u64, u64)> {
        let kept = self.stats(None).await.unwrap().into_iter().filter(|sample| sample.name == name);
        kept.map(|sample| (sample.minute, sample.label, sample.count, sample.sum)).collect()
    }
}

impl Deref for FaultyStats {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// Returns the number of samples in a call. Each sample is an addition to a count and an addition to a sum.
fn samples_of(call: &EngineCall<'_>) -> usize {
    let writes = call.transactions().iter().flat_map(TransactionExt::all_writes);
    writes.filter(|write| matches!(write, Write::Add(row, _) if row.space.kind == SpaceKind::Stat)).count()
        / 2
}

/// Returns the upper bounds of the ranges of minutes that a call reads.
fn folds_of(call: &EngineCall<'_>) -> Vec<i64> {
    let EngineRequest::Get(reads) = call.request else { return Vec::new() };
    let before = |read: &Read| match read {
        Read::Range { space, before: Some(before), .. } if space.kind == SpaceKind::StatMinute => {
            Some((KeyReader::new(before).number()? ^ (1 << 63)) as i64)
        }
        _ => None,
    };
    reads.iter().filter_map(before).collect()
}

/// The first minute of the tests.
pub const MINUTE: i64 = 28_620_720;

/// A manual clock. Clones share the same time.
#[derive(Debug, Clone)]
pub struct HandClock(Arc<Mutex<Timestamp>>);

impl HandClock {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Timestamp::from_second(MINUTE * 60).unwrap())))
    }

    pub fn advance_minutes(&self, minutes: i64) {
        *self.0.lock().unwrap() += SignedDuration::from_mins(minutes);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A recorder that keeps counters, and the number and the sum of histogram values, by name and label.
#[derive(Debug, Clone, Default)]
pub struct Remembering(pub Arc<Mutex<BTreeMap<String, (u64, f64)>>>);

struct Cell {
    memory: Remembering,
    key: String,
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.memory.0.lock().unwrap().entry(self.key.clone()).or_default().0 += value;
    }

    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        let mut memory = self.memory.0.lock().unwrap();
        let entry = memory.entry(self.key.clone()).or_default();
        *entry = (entry.0 + 1, entry.1 + value);
    }
}

impl Remembering {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: String = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Cell { memory: self.clone(), key: format!("{}{{{labels}}}", key.name()) })
    }
}

impl Recorder for Remembering {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key))
    }
}
