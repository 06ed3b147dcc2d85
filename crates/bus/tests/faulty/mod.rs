//! Shared parts of the publishing tests: a validator with two schemas, and a store with scripted faults.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex, atomic::AtomicUsize},
    time::Duration,
};

pub use conformance::EngineFault as Fault;
use conformance::{FaultScript, FaultyEngine};
use domain::{
    Filter, StorageFailure, Violation,
    ports::{
        Clock, EventStore, EventValidator, ReadRequest, ScheduleStore, SchemaSummary, StatsStore, Verdict,
        engine::{EngineLimits, SpaceKind},
    },
};
use event_replay_bus::{PublishSettings, Publisher};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use stats::Meter;
use storage_memory::MemoryEngine;
use store::Store;
use tokio::time::Instant;

/// A clock that always returns the same time.
#[derive(Debug, Clone, Copy)]
pub struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        "2024-01-15T12:00:00Z".parse().unwrap()
    }
}

/// A validator that knows the type `known`. It requires an id, a string `userId` and `data.n`, and its ordering key is
/// `orderId`.
#[derive(Debug, Clone, Copy)]
pub struct TwoRules;

impl EventValidator for TwoRules {
    fn validate(&self, event: &Value) -> Verdict {
        if event["type"] != "known" {
            return Verdict::NoSchema;
        }
        let mut violations = Vec::new();
        for (pointer, value) in
            [("/data/n", &event["data"]["n"]), ("/id", &event["id"]), ("/userId", &event["userId"])]
        {
            if value.is_null() {
                violations.push(Violation::new(pointer, "required", "the schema wants it"));
            }
        }
        if violations.is_empty() { Verdict::Valid } else { Verdict::Invalid(violations) }
    }

    fn ordering_member(&self, event_type: &str, _: &str) -> Option<&str> {
        (event_type == "known").then_some("orderId")
    }

    fn schemas(&self) -> Vec<SchemaSummary> {
        Vec::new()
    }
}

/// A clock that follows tokio's clock, which tests pause. Clones share one clock.
#[derive(Debug, Clone)]
pub struct TokioClock {
    began: Instant,
    /// The offset by which the clock was set, in milliseconds.
    set_by: Arc<Mutex<i64>>,
}

impl TokioClock {
    pub fn new() -> Self {
        Self { began: Instant::now(), set_by: Arc::default() }
    }

    /// The time at which the clock was created.
    pub fn noon() -> Timestamp {
        Noon.now()
    }

    pub fn set_by(&self, millis: i64) {
        *self.set_by.lock().unwrap() += millis;
    }

    /// A time of this clock, in milliseconds after noon.
    pub fn at(millis: i64) -> Timestamp {
        Self::noon() + SignedDuration::from_millis(millis)
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let set_by = SignedDuration::from_millis(*self.set_by.lock().unwrap());
        Self::noon() + SignedDuration::try_from(self.began.elapsed()).unwrap() + set_by
    }
}

/// A store in memory with scripted faults.
pub struct Faulty {
    store: Arc<Store>,
    /// The same store without faults.
    pub inner: Store,
    pub script: Arc<FaultScript>,
    /// The ids of the events of each append.
    pub batches: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Faulty {
    pub fn new(engine: MemoryEngine, script: FaultScript) -> Self {
        let (inner, script, batches) =
            (Store::new(engine), Arc::new(script), Arc::<Mutex<Vec<Vec<String>>>>::default());
        let noted = Arc::clone(&batches);
        script.observe(move |call| {
            if call.name() == "append" {
                noted.lock().unwrap().push(call.appended_ids().into_iter().map(str::to_owned).collect());
            }
        });
        let engine = FaultyEngine::new(Arc::clone(inner.engine()), Arc::clone(&script));
        Self { store: Arc::new(Store::new(engine)), inner, script, batches }
    }

    /// Returns a counter of the reads of the schedule from now on.
    pub fn looks(&self) -> Arc<AtomicUsize> {
        self.script.count(|call| call.reads(SpaceKind::ScheduleOrder))
    }

    /// Returns the ids that wait in the schedule, with their due times.
    pub async fn waiting(&self) -> Vec<(String, Timestamp)> {
        let waiting = self.inner.scheduled(1_000).await.unwrap();
        waiting.iter().map(|waiting| (waiting.event.id().to_owned(), waiting.due)).collect()
    }

    /// Returns the appended ids, with their stored times in milliseconds after noon.
    pub async fn appended(&self) -> Vec<(String, i64)> {
        let millis = |at: Timestamp| at.duration_since(TokioClock::noon()).as_millis() as i64;
        let page = self.inner.read(&ReadRequest::new(Filter::default(), 100_000)).await.unwrap();
        page.events.iter().map(|stored| (stored.event.id().to_owned(), millis(stored.stored_at))).collect()
    }

    /// Returns the same store with a limit of `append_events` events in one step.
    pub fn with_max_events(self, append_events: usize) -> Self {
        let limits = EngineLimits { append_events, append_bytes: 1 << 20, ..self.engine().info().limits };
        let engine = FaultyEngine::new(Arc::clone(self.inner.engine()), Arc::clone(&self.script));
        Self { store: Arc::new(Store::new(engine.with_limits(limits))), ..self }
    }
}

impl Deref for Faulty {
    type Target = Arc<Store>;

    fn deref(&self) -> &Arc<Store> {
        &self.store
    }
}

pub fn busy() -> StorageFailure {
    StorageFailure::Busy { waited: Duration::from_secs(1) }
}

pub fn full() -> StorageFailure {
    StorageFailure::Full("no space left".to_owned())
}

/// A store with appends that fail as planned.
pub fn store(faults: impl IntoIterator<Item = Fault>) -> Faulty {
    slow(Duration::ZERO, faults)
}

/// A store with appends that fail as planned, and with calls that take time.
pub fn slow(takes: Duration, faults: impl IntoIterator<Item = Fault>) -> Faulty {
    let store = Faulty::new(MemoryEngine::default(), FaultScript::taking(takes));
    store.script.plan_all("append", faults);
    store
}

pub fn publisher(store: &Faulty) -> Arc<Publisher> {
    publisher_with(store, PublishSettings::default())
}

pub fn publisher_with(store: &Faulty, settings: PublishSettings) -> Arc<Publisher> {
    Arc::new(Publisher::new(Arc::<Store>::clone(store), Arc::new(TwoRules), Arc::new(Noon), settings))
}

/// A valid event of the type `known`.
pub fn event(id: &str, n: u64) -> String {
    format!(
        r#"{{"id":"{id}","type":"known","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}},"userId":"u","orderId":"o","data":{{"n":{n}}}}}"#
    )
}

/// Returns the stored events in log order.
pub async fn stored_json(store: &Faulty) -> Vec<String> {
    let page = store.inner.read(&ReadRequest::new(Filter::default(), 100_000)).await.unwrap();
    assert!(page.next.is_none(), "the tests store less than a page");
    page.events.iter().map(|stored| stored.event.json().to_owned()).collect()
}

/// The counts of a meter.
pub struct Counts(BTreeMap<(String, String), u64>);

impl Counts {
    pub async fn of(meter: &Meter) -> Self {
        let store = Store::new(MemoryEngine::default());
        meter.flush(&store).await.unwrap();
        let mut counts = BTreeMap::new();
        for sample in store.stats(None).await.unwrap() {
            *counts.entry((sample.name, sample.label)).or_default() += sample.count;
        }
        Self(counts)
    }

    pub fn by_label(&self, name: &str) -> Vec<(String, u64)> {
        let of_name = self.0.iter().filter(|(key, _)| key.0 == name);
        of_name.map(|(key, count)| (key.1.clone(), *count)).collect()
    }
}
