//! Stores in memory.

use std::sync::Arc;

use storage_memory::MemoryStore;

use crate::{adapters::Adapter, handle::StoreHandle, options::OpenOptions};

/// A new store: each time it is opened it is another one.
pub(crate) fn open(options: OpenOptions) -> StoreHandle {
    StoreHandle::new(Arc::new(MemoryStore::keeping(options.clock, options.keeps)), Adapter::Memory)
}
