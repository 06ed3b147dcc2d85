//! Stores in memory.

use std::sync::Arc;

use storage_memory::MemoryEngine;
use store::Store;

use crate::{adapters::Adapter, handle::StoreHandle, options::OpenOptions};

/// Makes a new store. Each call makes another store.
pub(crate) fn open(options: OpenOptions) -> StoreHandle {
    StoreHandle::new(
        Arc::new(Store::new(MemoryEngine::keeping(options.clock, options.keeps))),
        Adapter::Memory,
    )
}
