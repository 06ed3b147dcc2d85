//! Stores in RAM for the laws to be run on.

use std::sync::Arc;

use async_trait::async_trait;
use conformance::{Faults, Harness, ManualClock, Storage, Stores};
use domain::{Position, ports::Keeps};
use storage_memory::MemoryStore;

/// Makes stores in RAM.
pub(crate) struct Memory;

#[async_trait]
impl Harness for Memory {
    async fn fresh(&self, clock: ManualClock) -> Box<dyn Storage> {
        Box::new(InRam(MemoryStore::new(Arc::new(clock))))
    }

    async fn fresh_keeping(&self, clock: ManualClock, keeps: Keeps) -> Option<Box<dyn Storage>> {
        Some(Box::new(InRam(MemoryStore::keeping(Arc::new(clock), keeps))))
    }
}

/// One store; its clones stand for other processes.
pub(crate) struct InRam(pub(crate) MemoryStore);

#[async_trait]
impl Storage for InRam {
    async fn open(&self) -> Arc<dyn Stores> {
        Arc::new(self.0.clone())
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
