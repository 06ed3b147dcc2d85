//! Stores in memory.

use std::sync::Arc;

use storage_memory::MemoryEngine;
use store::Store;

use crate::{adapters::Adapter, handle::StoreHandle, options::OpenOptions};

/// A new store: each time it is opened it is another one.
pub(crate) fn open(options: OpenOptions) -> StoreHandle {
    StoreHandle::new(
        Arc::new(Store::new(MemoryEngine::keeping(options.clock, options.keeps))),
        Adapter::Memory,
    )
}
