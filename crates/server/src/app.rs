//! The state that all requests share.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bus::{Bus, Publisher, UnknownTypes};
use event_replay::stats::Meter;
use event_replay::{
    Settings, StoreHandle,
    app::{AppError, counting, publish, publish::PublishRequest},
};
use tokio::sync::{Mutex, watch};

use crate::{access::Tokens, consuming::Consuming, options::ServeOptions, rate::RateLimit};

/// Maximum age of a cached publisher. A publisher knows the schemas that another process adds after this time.
const FRESH: Duration = Duration::from_secs(1);

/// The state that all requests share.
pub(crate) struct App {
    pub(crate) store: StoreHandle,
    pub(crate) settings: Settings,
    pub(crate) options: ServeOptions,
    /// Authentication of clients.
    pub(crate) tokens: Tokens,
    /// Limit on the requests per second of each client. `None` means no limit.
    pub(crate) rate: Option<RateLimit>,
    /// The bus. `None` on a read-only server.
    pub(crate) bus: Option<Bus>,
    /// Consumers whose handlers are HTTP clients. `None` on a read-only server.
    pub(crate) consuming: Option<Consuming>,
    pub(crate) publishers: Publishers,
    /// True after the server received the request to stop. Streams then end, and the server is no longer ready.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl App {
    /// Whether the server received the request to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the server receives the request to stop. Cancel-safe.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // An error means that the sender was dropped, so the server has ended.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Returns the meter for the counters of publishers.
    fn meter(&self) -> Meter {
        self.bus.as_ref().map_or_else(counting::meter, |bus| bus.meter().clone())
    }

    /// Returns a publisher. The schemas of the publisher are at most one second old.
    pub(crate) async fn publisher(&self, request: PublishRequest) -> Result<Arc<Publisher>, AppError> {
        self.publishers.get(self, request).await
    }
}

/// Cached publishers, one for each validation setting. A publisher reads the schemas once. Concurrent requests share
/// its appends.
#[derive(Default)]
pub(crate) struct Publishers(Mutex<HashMap<(Option<UnknownTypesKey>, bool), Made>>);

type UnknownTypesKey = bool;

struct Made {
    publisher: Arc<Publisher>,
    at: Instant,
}

impl Publishers {
    async fn get(&self, app: &App, request: PublishRequest) -> Result<Arc<Publisher>, AppError> {
        let key = (request.unknown_types.map(|types| types == UnknownTypes::Accept), request.no_validation);
        let mut made = self.0.lock().await;
        if let Some(made) = made.get(&key).filter(|made| made.at.elapsed() < FRESH) {
            return Ok(Arc::clone(&made.publisher));
        }
        let publisher = Arc::new(publish::publisher(&app.store, &app.settings, request, app.meter()).await?);
        made.insert(key, Made { publisher: Arc::clone(&publisher), at: Instant::now() });
        Ok(publisher)
    }

    /// Drops all publishers, because the schemas have changed.
    pub(crate) async fn forget(&self) {
        self.0.lock().await.clear();
    }
}
