//! What the tests of counting share: a store that fails on demand, a clock that a test moves, a recorder that remembers.
#![allow(dead_code, unreachable_pub)]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use domain::{
    StorageFailure,
    ports::{Clock, StatSample, StatsStore},
};
use jiff::{SignedDuration, Timestamp};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Nothing: the call succeeds.
    None,
    /// It fails, and passes by itself.
    Busy,
    /// It is stored, and the answer is lost.
    AnswerLost,
    /// It stays until a person changes something.
    Full,
    /// It is never answered.
    Hangs,
}

/// Minute, name and label to count and sum.
pub type Kept = BTreeMap<(i64, String, String), (u64, u64)>;

/// Keeps counters in a map, and fails as scripted.
#[derive(Debug, Default)]
pub struct FakeStats {
    pub kept: Mutex<Kept>,
    pub faults: Mutex<VecDeque<Fault>>,
    pub calls: Mutex<Vec<usize>>,
    pub folds: Mutex<Vec<i64>>,
}

impl FakeStats {
    pub fn failing(faults: impl IntoIterator<Item = Fault>) -> Arc<Self> {
        Arc::new(Self { faults: Mutex::new(faults.into_iter().collect()), ..Self::default() })
    }

    /// The count and sum of a name over all minutes.
    pub fn total(&self, name: &str) -> (u64, u64) {
        let kept = self.kept.lock().unwrap();
        let of_name = kept.iter().filter(|(key, _)| key.1 == name);
        of_name.fold((0, 0), |sum, (_, of)| (sum.0 + of.0, sum.1 + of.1))
    }

    /// (minute, label, count, sum) of a name.
    pub fn of(&self, name: &str) -> Vec<(i64, String, u64, u64)> {
        let kept = self.kept.lock().unwrap();
        let of_name = kept.iter().filter(|(key, _)| key.1 == name);
        of_name.map(|(key, of)| (key.0, key.2.clone(), of.0, of.1)).collect()
    }
}

#[async_trait]
impl StatsStore for FakeStats {
    async fn add_stats(&self, samples: &[StatSample]) -> Result<(), StorageFailure> {
        self.calls.lock().unwrap().push(samples.len());
        let fault = self.faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
        match fault {
            Fault::None | Fault::AnswerLost => {}
            Fault::Busy => return Err(StorageFailure::Unavailable("away".to_owned())),
            Fault::Full => return Err(StorageFailure::Full("no space left".to_owned())),
            Fault::Hangs => std::future::pending().await,
        }
        for StatSample { minute, name, label, count, sum } in samples.iter().cloned() {
            let mut kept = self.kept.lock().unwrap();
            let entry = kept.entry((minute, name, label)).or_default();
            *entry = (entry.0 + count, entry.1 + sum);
        }
        match fault {
            Fault::AnswerLost => Err(StorageFailure::Unknown("the connection was cut".to_owned())),
            _ => Ok(()),
        }
    }

    async fn stats(&self, _: Option<i64>) -> Result<Vec<StatSample>, StorageFailure> {
        Ok(Vec::new())
    }

    async fn fold_stats(&self, before_minute: i64) -> Result<(), StorageFailure> {
        self.folds.lock().unwrap().push(before_minute);
        Ok(())
    }
}

/// The minute that tests begin in.
pub const MINUTE: i64 = 28_620_720;

/// A clock driven by hand. Clones are the same clock.
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

/// Remembers counters and how often histograms were recorded, by name and label.
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
