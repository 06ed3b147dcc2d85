//! A storage engine in RAM. Unit tests use it in place of other engines, and tests compare other engines with it.
//!
//! `log.rs` keeps the events of a partition with their index, and `scan.rs` reads them. `rows.rs` keeps the rows
//! beside the log, and `engine.rs` implements the port. One lock guards each partition. A call holds the lock for one
//! step, and never across an await. The data is lost when the last handle is dropped.
//!
//! ```
//! use domain::{Filter, ports::{EventStore, ReadRequest}};
//! use event_replay_storage_memory::MemoryEngine;
//! use store::Store;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let store = Store::new(MemoryEngine::default());
//! let page = store.read(&ReadRequest::new(Filter::default(), 10)).await.unwrap();
//! assert!(page.events.is_empty());
//! # });
//! ```

mod engine;
#[cfg(feature = "faults")]
mod faults;
mod index;
mod log;
mod rows;
mod scan;
mod verify;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use domain::{
    StorageFailure, StoreId,
    ports::{
        Clock, RetentionMode, SystemClock,
        engine::{EngineInfo, EngineLimits},
    },
};
use tokio::sync::watch;

use crate::log::Partition;

/// Most events of one batch.
pub const MAX_BATCH_EVENTS: usize = 100_000;
/// Most bytes of one batch, counted as the events' JSON.
pub const MAX_BATCH_BYTES: usize = 256 * 1024 * 1024;

/// A storage engine in RAM. Clones are further handles to the same store.
#[derive(Debug, Clone)]
pub struct MemoryEngine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    info: EngineInfo,
    clock: Arc<dyn Clock>,
    partitions: Vec<RwLock<Partition>>,
    /// Number of appends to all partitions.
    appends: watch::Sender<u64>,
}

impl Default for MemoryEngine {
    /// Returns an empty store of one partition with the clock of the machine.
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl MemoryEngine {
    /// Returns an empty store of one partition with the clock of the caller.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::keeping(clock, RetentionMode::History)
    }

    /// Returns an empty store of one partition with this retention mode.
    pub fn keeping(clock: Arc<dyn Clock>, keeps: RetentionMode) -> Self {
        Self::partitioned(clock, keeps, 1)
    }

    /// Returns an empty store of several partitions, at least one.
    pub fn partitioned(clock: Arc<dyn Clock>, keeps: RetentionMode, partitions: u16) -> Self {
        let partitions = partitions.max(1);
        let info = EngineInfo {
            store: StoreId(fastrand::u64(..)),
            namespace: "memory".to_owned(),
            keeps,
            partitions,
            limits: EngineLimits {
                append_events: MAX_BATCH_EVENTS,
                append_bytes: MAX_BATCH_BYTES,
                removal_events: 1_000,
                removal_stretch: u64::MAX,
            },
        };
        let partition = |number| RwLock::new(Partition::new(number));
        let partitions = (0..partitions).map(partition).collect();
        Self { shared: Arc::new(Shared { info, clock, partitions, appends: watch::Sender::new(0) }) }
    }

    fn partition(&self, number: u16) -> Result<&RwLock<Partition>, StorageFailure> {
        let partition = self.shared.partitions.get(usize::from(number));
        partition.ok_or_else(|| StorageFailure::Other(format!("there is no partition {number}")))
    }

    /// Locks a partition for reading. No step panics before its end, so a poisoned lock still guards a consistent
    /// partition.
    fn read(&self, number: u16) -> Result<RwLockReadGuard<'_, Partition>, StorageFailure> {
        Ok(self.partition(number)?.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, number: u16) -> Result<RwLockWriteGuard<'_, Partition>, StorageFailure> {
        Ok(self.partition(number)?.write().unwrap_or_else(PoisonError::into_inner))
    }
}
