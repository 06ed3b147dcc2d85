//! What the tests of publishing share: a validator of two schemas, and a store that fails on demand.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod schedule;
pub mod stats;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bus::{PublishSettings, Publisher};
use domain::{
    Cursor, Entity, Event, Filter, Position, StorageFailure, StoredEvent, Violation,
    ports::{
        AppendOutcome, Atomicity, Clock, Erased, EventStore, EventStoreError, EventValidator, Page,
        ReadRequest, SchemaSummary, StoreInfo, TrimRequest, Trimmed, Verdict, VerifyReport,
        event_store::Progress,
    },
};
use jiff::Timestamp;
use serde_json::Value;
use storage_memory::MemoryEngine;
use store::Store;

/// A clock that stands still.
#[derive(Debug, Clone, Copy)]
pub struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        "2024-01-15T12:00:00Z".parse().unwrap()
    }
}

/// Knows the type `known`, which wants an id, a string `userId` and `data.n`, and takes `orderId` as ordering key.
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

/// What goes wrong with one append.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is stored, and the answer is lost.
    AnswerLost,
    /// It never arrives, and nobody knows.
    RequestLost,
    /// It fails with this.
    Fails(EventStoreError),
    /// The store has a bug.
    Panics,
}

/// A store in memory whose appends fail as scripted, and take some time.
#[derive(Debug)]
pub struct FaultyStore {
    pub inner: Store,
    pub faults: Mutex<VecDeque<Fault>>,
    pub batches: Mutex<Vec<Vec<String>>>,
    pub append_takes: Duration,
    pub max_events: Option<usize>,
    /// Users whose events fall to a partition that cannot be reached.
    pub out_of_reach: Mutex<Vec<String>>,
    /// The id of an event that is larger than any batch may be.
    pub too_large: Option<String>,
}

impl Default for FaultyStore {
    fn default() -> Self {
        Self {
            inner: Store::new(MemoryEngine::default()),
            faults: Mutex::default(),
            batches: Mutex::default(),
            append_takes: Duration::ZERO,
            max_events: None,
            out_of_reach: Mutex::default(),
            too_large: None,
        }
    }
}

#[async_trait]
impl EventStore for FaultyStore {
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        let has_too_large = self.too_large.as_ref().is_some_and(|id| batch.iter().any(|e| e.id() == id));
        if let Some(max_events) =
            self.max_events.filter(|max| batch.len() > *max).or(has_too_large.then_some(1))
        {
            return Err(EventStoreError::BatchTooLarge { max_events, max_bytes: 1 << 20 });
        }
        let ids = batch.iter().map(|event| event.id().to_owned()).collect();
        self.batches.lock().unwrap().push(ids);
        tokio::time::sleep(self.append_takes).await;
        let fault = self.faults.lock().unwrap().pop_front();
        let unknown = || Err(StorageFailure::Unknown("the connection was cut".to_owned()).into());
        match fault {
            None => self.append_reached(batch, atomicity).await,
            Some(Fault::AnswerLost) => {
                self.inner.append(batch, atomicity).await?;
                unknown()
            }
            Some(Fault::RequestLost) => unknown(),
            Some(Fault::Fails(error)) => Err(error),
            Some(Fault::Panics) => panic!("a bug of the store"),
        }
    }

    async fn read(&self, request: &ReadRequest) -> Result<Page, EventStoreError> {
        self.inner.read(request).await
    }

    async fn get(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
        self.inner.get(ids).await
    }

    async fn at(&self, positions: &[Position]) -> Result<Page, EventStoreError> {
        self.inner.at(positions).await
    }

    async fn count(&self, filter: &Arc<Filter>, until: Option<&Cursor>) -> Result<u64, EventStoreError> {
        self.inner.count(filter, until).await
    }

    async fn head(&self) -> Result<Cursor, EventStoreError> {
        self.inner.head().await
    }

    async fn changed(&self, after: &Cursor, timeout: Duration) -> Result<Cursor, EventStoreError> {
        self.inner.changed(after, timeout).await
    }

    async fn trim(&self, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
        self.inner.trim(request).await
    }

    async fn erase(&self, entity: &Entity) -> Result<Erased, EventStoreError> {
        self.inner.erase(entity).await
    }

    async fn verify(&self, progress: Option<Progress>) -> Result<VerifyReport, EventStoreError> {
        self.inner.verify(progress).await
    }

    async fn info(&self) -> Result<StoreInfo, EventStoreError> {
        self.inner.info().await
    }
}

impl FaultyStore {
    async fn append_reached(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        let out_of_reach = self.out_of_reach.lock().unwrap().clone();
        let is_reached = |event: &&Event| {
            !out_of_reach.iter().any(|user| event.json().contains(&format!(r#""userId":"{user}""#)))
        };
        if batch.iter().all(|event| is_reached(&event)) {
            return self.inner.append(batch, atomicity).await;
        }
        let reached: Vec<Event> = batch.iter().filter(is_reached).cloned().collect();
        let mut outcomes = self.inner.append(&reached, atomicity).await?.into_iter();
        let each = |event: &Event| match is_reached(&event) {
            true => Ok(outcomes.next().unwrap()),
            false => Err(StorageFailure::Unavailable("its partition is out of reach".to_owned())),
        };
        Err(EventStoreError::InPart(batch.iter().map(each).collect()))
    }
}

pub fn busy() -> EventStoreError {
    StorageFailure::Busy { waited: Duration::from_secs(1) }.into()
}

pub fn full() -> EventStoreError {
    StorageFailure::Full("no space left".to_owned()).into()
}

pub fn store(faults: impl IntoIterator<Item = Fault>) -> Arc<FaultyStore> {
    Arc::new(FaultyStore { faults: Mutex::new(faults.into_iter().collect()), ..FaultyStore::default() })
}

pub fn publisher(store: &Arc<FaultyStore>) -> Arc<Publisher> {
    publisher_with(store, PublishSettings::default())
}

pub fn publisher_with(store: &Arc<FaultyStore>, settings: PublishSettings) -> Arc<Publisher> {
    let store: Arc<dyn EventStore> = Arc::<FaultyStore>::clone(store);
    Arc::new(Publisher::new(store, Arc::new(TwoRules), Arc::new(Noon), settings))
}

/// A valid event of the known type.
pub fn event(id: &str, n: u64) -> String {
    format!(
        r#"{{"id":"{id}","type":"known","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}},"userId":"u","orderId":"o","data":{{"n":{n}}}}}"#
    )
}

/// What the store holds, in log order.
pub async fn stored_json(store: &FaultyStore) -> Vec<String> {
    let page = store.inner.read(&ReadRequest::new(Filter::default(), 100_000)).await.unwrap();
    assert!(page.next.is_none(), "the tests store less than a page");
    page.events.iter().map(|stored| stored.event.json().to_owned()).collect()
}
