//! An open store: its ports, and what only a file or only a server offers beside them.

use std::{fmt, ops::Deref, sync::Arc};

use domain::ports::Stores;

use crate::adapters::Adapter;

/// An open store. It derefs to its ports; [`ports`](Self::ports) shares them.
pub struct StoreHandle {
    ports: Arc<dyn Stores>,
    adapter: Adapter,
}

impl StoreHandle {
    #[allow(dead_code, reason = "without any adapter there is no store")]
    pub(crate) fn new(ports: Arc<dyn Stores>, adapter: Adapter) -> Self {
        Self { ports, adapter }
    }

    /// Its ports, to be shared.
    pub fn ports(&self) -> &Arc<dyn Stores> {
        &self.ports
    }

    /// Its ports alone.
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

    /// Closes the file or the connections. Everything that was answered is stored without this; but a file that is closed leaves
    /// no write-ahead log beside it. Ports that are still shared fail from then on.
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
