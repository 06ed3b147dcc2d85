//! The state that requests share.

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

/// How old a publisher may be: schemas that another process adds are known after this time.
const FRESH: Duration = Duration::from_secs(1);

/// The state that requests share.
pub(crate) struct App {
    pub(crate) store: StoreHandle,
    pub(crate) settings: Settings,
    pub(crate) options: ServeOptions,
    /// Who clients are.
    pub(crate) tokens: Tokens,
    /// How many requests a second a client may send; none: any number.
    pub(crate) rate: Option<RateLimit>,
    /// None where the server is read-only.
    pub(crate) bus: Option<Bus>,
    /// Consumers whose handlers are clients; none where the server is read-only.
    pub(crate) consuming: Option<Consuming>,
    pub(crate) publishers: Publishers,
    /// True from when the server is told to stop: streams end, and it is not ready any more.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl App {
    /// Whether the server was told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the server is told to stop. Cancel-safe.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // The sender lives as long as the server does; once it is gone the server has ended.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Counts the requests.
    fn meter(&self) -> Meter {
        self.bus.as_ref().map_or_else(counting::meter, |bus| bus.meter().clone())
    }

    /// A publisher, with the schemas of the store as they were a second ago or later.
    pub(crate) async fn publisher(&self, request: PublishRequest) -> Result<Arc<Publisher>, AppError> {
        self.publishers.get(self, request).await
    }
}

/// Publishers by what they let in. Each reads the schemas once, and shares appends among the requests of a while.
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

    /// Forgets all of them: the schemas have changed.
    pub(crate) async fn forget(&self) {
        self.0.lock().await.clear();
    }
}
