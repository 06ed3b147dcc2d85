//! Stores in RAM on which the laws run.

use std::sync::Arc;

use async_trait::async_trait;
use conformance::{EngineHarness, EngineStorage, Faults, Harness, ManualClock, Storage, Stores};
use domain::{
    Position,
    ports::{RetentionMode, StorageEngine},
};
use event_replay_storage_memory::MemoryEngine;
use store::Store;

/// Makes stores in RAM with this number of partitions.
pub(crate) struct Memory(pub(crate) u16);

#[async_trait]
impl Harness for Memory {
    fn partitions(&self) -> u16 {
        self.0
    }

    async fn fresh(&self, clock: ManualClock) -> Box<dyn Storage> {
        Box::new(InRam(MemoryEngine::partitioned(Arc::new(clock), RetentionMode::History, self.0)))
    }

    async fn fresh_keeping(&self, clock: ManualClock, keeps: RetentionMode) -> Option<Box<dyn Storage>> {
        Some(Box::new(InRam(MemoryEngine::partitioned(Arc::new(clock), keeps, self.0))))
    }
}

#[async_trait]
impl EngineHarness for Memory {
    fn partitions(&self) -> u16 {
        self.0
    }

    async fn fresh(&self, clock: ManualClock) -> Box<dyn EngineStorage> {
        Box::new(InRam(MemoryEngine::partitioned(Arc::new(clock), RetentionMode::History, self.0)))
    }
}

#[async_trait]
impl EngineStorage for InRam {
    async fn open(&self) -> Arc<dyn StorageEngine> {
        Arc::new(self.0.clone())
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

/// One store. Its handles stand for other processes.
pub(crate) struct InRam(pub(crate) MemoryEngine);

#[async_trait]
impl Storage for InRam {
    async fn open(&self) -> Arc<dyn Stores> {
        Arc::new(Store::new(self.0.clone()))
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

#[async_trait]
impl Faults for InRam {
    async fn damage_event(&self, at: Position) {
        assert!(self.0.damage_event(at), "an event is at {at}");
    }

    async fn drop_index_entry(&self, at: Position) {
        assert!(self.0.drop_index_entry(at), "an event is at {at}");
    }

    async fn plant_index_entry(&self, at: Position) {
        self.0.plant_index_entry(at);
    }
}
