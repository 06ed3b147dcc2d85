//! The bus publishes and subscribes over one store.

use std::{fmt, sync::Arc};

use domain::ports::{Clock, EventUpcaster, Stores};
use stats::{Flusher, Meter};
use tokio::sync::Mutex;

use crate::{
    builder::{BusBuilder, BusSettings},
    consumer::ConsumerSettings,
    publish_error::PublishError,
    published::Published,
    publisher::Publisher,
    schedule::SchedulePump,
    settings::PublishOptions,
    shared::Shared,
    subscription::Subscription,
};

struct Inner {
    shared: Arc<Shared>,
    publisher: Publisher,
    settings: BusSettings,
    ends: Mutex<Option<(SchedulePump, Flusher)>>,
}

/// Publishes events and delivers events to the handlers of consumer groups. Clones are handles on the same bus.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
/// use event_replay_bus::Bus;
/// use domain::{Delivery, HandlerError};
/// use storage_memory::MemoryEngine;
/// use store::Store;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = Bus::builder(Arc::new(Store::new(MemoryEngine::default()))).enable_validation(false).build().await?;
/// let seen = Arc::new(AtomicU32::new(0));
/// let counter = Arc::clone(&seen);
/// let consumer = bus
///     .subscribe("billing")
///     .on("payment.*", event_replay_bus::handler(move |delivery: &Delivery| {
///         counter.fetch_add(delivery.attempt, Ordering::Relaxed);
///         async { Ok::<(), HandlerError>(()) }
///     }))
///     .start()
///     .await?;
/// bus.publish(br#"{"id":"e1","type":"payment.processed","version":"1","timestamp":"2024-01-15T10:30:00Z",
///                  "source":"shop","metadata":{}}"#).await?;
/// while seen.load(Ordering::Relaxed) == 0 {
///     tokio::task::yield_now().await;
/// }
/// consumer.stop().await?;
/// bus.close().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Bus {
    inner: Arc<Inner>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl Bus {
    pub(crate) fn new(
        shared: Arc<Shared>,
        publisher: Publisher,
        settings: BusSettings,
        pump: SchedulePump,
        flusher: Flusher,
    ) -> Self {
        let ends = Mutex::new(Some((pump, flusher)));
        Self { inner: Arc::new(Inner { shared, publisher, settings, ends }) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Returns a builder of a bus over `store`.
    pub fn builder(store: Arc<dyn Stores>) -> BusBuilder {
        BusBuilder::new(store)
    }

    /// Publishes one event. See [`Publisher::publish`].
    ///
    /// # Errors
    /// Returns the errors of [`Publisher::publish`].
    pub async fn publish(&self, json: &[u8]) -> Result<Published, PublishError> {
        self.inner.publisher.publish(json).await
    }

    /// Publishes one event with delivery options. See [`Publisher::publish_with`].
    ///
    /// # Errors
    /// Returns the errors of [`Publisher::publish_with`].
    pub async fn publish_with(
        &self,
        json: &[u8],
        options: &PublishOptions,
    ) -> Result<Published, PublishError> {
        self.inner.publisher.publish_with(json, options).await
    }

    /// Returns the publisher of this bus.
    pub fn publisher(&self) -> &Publisher {
        &self.inner.publisher
    }

    /// Returns the store of this bus.
    pub fn store(&self) -> &Arc<dyn Stores> {
        &self.inner.shared.store
    }

    /// Returns the clock of this bus.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.shared.clock
    }

    /// Returns the upcaster that each event passes before a handler gets it.
    pub fn upcaster(&self) -> &Arc<dyn EventUpcaster> {
        &self.inner.shared.upcaster
    }

    /// Returns the meter that counts the work of this bus.
    pub fn meter(&self) -> &Meter {
        &self.inner.shared.meter
    }

    /// Returns a new subscription of a consumer group, with the bus settings as its defaults.
    pub fn subscribe(&self, group: impl Into<String>) -> Subscription {
        let settings = ConsumerSettings {
            timeout: self.inner.settings.default_timeout,
            max_retries: self.inner.settings.max_retries,
            dead_letters: self.inner.settings.enable_dead_letter_queue,
            breaker: self.inner.settings.breaker,
            ..ConsumerSettings::default()
        };
        Subscription::new(self.clone(), group.into(), settings)
    }

    /// Ends the tasks of the bus. This process then appends no more scheduled events, and the bus writes its pending
    /// counts. Consumers run until they are stopped. Stop the consumers first: work that they do after this call is not
    /// counted.
    pub async fn close(&self) {
        if let Some((pump, flusher)) = self.inner.ends.lock().await.take() {
            pump.stop().await;
            flusher.stop().await;
        }
    }
}
