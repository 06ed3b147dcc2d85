//! Every storage port in RAM: the reference model that other stores are compared with, and what unit tests swap in.
//!
//! One partition, one log epoch. All state is behind one lock that is held for one step and never across an await;
//! everything is gone when the last handle is dropped.

mod append;
mod checkpoints;
mod commits;
mod dead_letters;
mod erase;
#[cfg(feature = "faults")]
mod faults;
mod groups;
mod holds;
mod index;
mod lanes;
mod leases;
mod read;
mod replays;
mod retention;
mod schedule;
mod schemas;
mod state;
mod stats;
mod verify;

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    Cursor, Entity, Event, Filter, Position, StoreId, StoredEvent,
    ports::{
        AppendOutcome, Atomicity, Clock, Erased, EventStore, EventStoreError, Keeps, Page, ReadRequest,
        StoreInfo, SystemClock, TrimRequest, Trimmed, VerifyReport, event_store::Progress,
    },
};
use jiff::Timestamp;
use tokio::sync::watch;

pub use append::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS};

use crate::state::State;

/// A store in RAM. Clones are further handles on the same store.
///
/// ```
/// use domain::{Document, Limits, ports::{Atomicity, EventStore}};
/// use storage_memory::MemoryStore;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let json = br#"{"id":"e1","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{}}"#;
/// let event = Document::parse(json, &Limits::default()).unwrap().into_event().unwrap();
/// let store = MemoryStore::default();
/// store.append(&[event], Atomicity::Each).await.unwrap();
/// assert_eq!(store.get(&["e1".to_owned()]).await.unwrap().len(), 1);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
    /// The newest sequence; written under the state's lock, so that it never falls.
    head: watch::Sender<u64>,
}

impl Default for MemoryStore {
    /// An empty store on the machine's clock.
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl MemoryStore {
    /// An empty store on a clock of the caller's.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::keeping(clock, Keeps::History)
    }

    /// An empty store that keeps this much. Under [`Keeps::Deliveries`] each trim, whatever its rule, also removes what
    /// every group has passed and the store has had for longer than [`Keeps::DEDUP_WINDOW`].
    pub fn keeping(clock: Arc<dyn Clock>, keeps: Keeps) -> Self {
        let state = RwLock::new(State::new(StoreId(fastrand::u64(..)), keeps));
        let head = watch::Sender::new(0);
        Self { shared: Arc::new(Shared { clock, state, head }) }
    }

    /// No step panics half-way, so a poisoned lock still guards a whole state.
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.shared.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Wakes whoever waits for the head. Called under the state's lock.
    fn show_head(&self, state: &State) {
        self.shared.head.send_replace(state.last);
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        let mut state = self.state_mut();
        let outcomes = append::append(&mut state, batch, atomicity, self.now())?;
        self.show_head(&state);
        Ok(outcomes)
    }

    async fn read(&self, request: &ReadRequest) -> Result<Page, EventStoreError> {
        read::page(&self.state(), request)
    }

    async fn get(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
        read::get(&self.state(), ids)
    }

    async fn at(&self, positions: &[Position]) -> Result<Page, EventStoreError> {
        Ok(read::at(&self.state(), positions))
    }

    async fn count(&self, filter: &Arc<Filter>, until: Option<&Cursor>) -> Result<u64, EventStoreError> {
        read::count(&self.state(), filter, until)
    }

    async fn head(&self) -> Result<Cursor, EventStoreError> {
        Ok(self.state().head())
    }

    async fn changed(&self, after: &Cursor, timeout: Duration) -> Result<Cursor, EventStoreError> {
        let mut head = self.shared.head.subscribe();
        let after = self.state().sequence_of(after)?;
        // Neither a timeout nor a closed channel is an error here: both end the wait with the head as it is.
        let _ = tokio::time::timeout(timeout, head.wait_for(|head| *head > after)).await;
        Ok(self.state().head())
    }

    async fn trim(&self, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
        retention::trim(&mut self.state_mut(), request, self.now())
    }

    async fn erase(&self, entity: &Entity) -> Result<Erased, EventStoreError> {
        Ok(erase::erase(&mut self.state_mut(), entity, self.shared.clock.now()))
    }

    async fn verify(&self, progress: Option<Progress>) -> Result<VerifyReport, EventStoreError> {
        Ok(verify::verify(&self.state(), progress.as_ref()))
    }

    async fn info(&self) -> Result<StoreInfo, EventStoreError> {
        Ok(self.state().info())
    }
}
