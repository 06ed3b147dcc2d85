//! An open store: its ports, and the operations that only one kind of store has.

use std::{fmt, ops::Deref, sync::Arc};

use domain::ports::Stores;

use crate::adapters::Adapter;

/// An open store. It derefs to its ports. [`ports`](Self::ports) returns them as a shared pointer.
pub struct StoreHandle {
    ports: Arc<dyn Stores>,
    adapter: Adapter,
}

impl StoreHandle {
    #[allow(dead_code, reason = "without any adapter there is no store")]
    pub(crate) fn new(ports: Arc<dyn Stores>, adapter: Adapter) -> Self {
        Self { ports, adapter }
    }

    /// Returns the ports as a shared pointer.
    pub fn ports(&self) -> &Arc<dyn Stores> {
        &self.ports
    }

    /// Returns the ports and drops the handle.
    pub fn into_ports(self) -> Arc<dyn Stores> {
        self.ports
    }

    #[cfg(feature = "app")]
    pub(crate) fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    #[cfg(feature = "app")]
    pub(crate) fn into_adapter(self) -> Adapter {
        self.adapter
    }

    /// Closes the file or the connections. Every answered write is durable without this call. A closed file leaves no
    /// write-ahead log beside it. Ports that are still shared fail after this call.
    pub async fn close(self) {
        let Self { ports, adapter } = self;
        drop(ports);
        adapter.close().await;
    }
}

impl Deref for StoreHandle {
    type Target = dyn Stores;

    fn deref(&self) -> &Self::Target {
        &*self.ports
    }
}

impl fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreHandle").field(&self.adapter.kind()).finish()
    }
}
