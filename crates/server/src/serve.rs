//! The start and the stop of the server.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bus::BusError;
use domain::StorageFailure;
use event_replay::{
    Access, Settings,
    app::{self, StoreError, consumer},
};
use replay::{Housekeeper, HousekeepingOptions, JobHost};
use thiserror::Error;
use tokio::{net::TcpListener, sync::watch};
use tokio_rustls::TlsAcceptor;

use crate::{
    access::Tokens,
    app::{App, Publishers},
    consuming::Consuming,
    listener,
    options::{OptionsError, ServeOptions},
    rate::RateLimit,
    router::router,
    tls::{TlsError, TlsFiles},
};

/// Time that running requests have to finish after the server stops accepting connections.
const GRACE: Duration = Duration::from_secs(30);

/// Time that clients have to settle their deliveries after the server receives the request to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// An error that prevents the start of the server.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The options are invalid or unsafe.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Every request needs a token, and the store has none.
    #[error("every request needs a token, and the store has none: no client could use the server")]
    NoTokens,
    /// The tokens of the store cannot be read.
    #[error(transparent)]
    Tokens(#[from] StorageFailure),
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus could not be created.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The server cannot listen on the address.
    #[error("{address} cannot be listened at: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        error: io::Error,
    },
}

/// A server that listens. It answers requests after [`Server::run`] is called.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    app: App,
    stop: watch::Sender<bool>,
    tasks: Option<(JobHost, Housekeeper)>,
}

impl Server {
    /// Opens the store that the settings name, and listens. A read-only server does no more than this. Otherwise the
    /// server creates a missing store. It also does the background work of a consumer: it appends scheduled events at their
    /// time, runs replays that wait for a runner, and applies retention.
    ///
    /// # Errors
    /// Returns [`ServeError`] when the options are invalid or unsafe, the certificate or an upcaster cannot be used, the
    /// address is in use, or the store cannot be opened. Returns [`ServeError::NoTokens`] when every request needs a token and the
    /// store has none.
    pub async fn start(settings: Settings, options: ServeOptions) -> Result<Self, ServeError> {
        options.check()?;
        let tls = options.tls.as_ref().map(TlsFiles::acceptor).transpose()?;
        let upcasters = settings.upcasters.load().map_err(StoreError::from)?;
        // The server listens before it creates the store, so that a failure to listen leaves no store behind.
        let unusable = |error| ServeError::Listen { address: options.listen, error };
        let listener = TcpListener::bind(options.listen).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let access = if options.read_only { Access::Read } else { Access::Create };
        let store = app::open_store(&settings, access).await?;
        if options.needs_tokens() && store.list_tokens().await?.is_empty() {
            store.close().await;
            return Err(ServeError::NoTokens);
        }
        let (bus, tasks) = match options.read_only {
            true => (None, None),
            false => {
                let bus = consumer::bus(&store, &settings, upcasters).await?;
                let manager = consumer::manager(&store, &settings, &bus);
                let options = HousekeepingOptions { rules: settings.retention.clone(), ..Default::default() };
                let tasks = (JobHost::spawn(manager.clone()), Housekeeper::spawn(manager, options));
                (Some(bus), Some(tasks))
            }
        };
        let (stop, stopping) = watch::channel(false);
        let consuming = bus.clone().map(Consuming::new);
        let app = App {
            tokens: Tokens::new(options.needs_tokens()),
            rate: options.rate_limit.map(RateLimit::new),
            store,
            settings,
            options,
            bus,
            consuming,
            publishers: Publishers::default(),
            stopping,
        };
        Ok(Self { listener, address, tls, app, stop, tasks })
    }

    /// The address and the port on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` completes. Clients then have up to 10 seconds to settle their deliveries. After that the
    /// server accepts no more connections, ends its streams, gives running requests up to 30 seconds to finish, and
    /// closes the store.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, address: _, tls, app, stop: stopping, tasks } = self;
        let app = Arc::new(app);
        let stop = async {
            stop.await;
            stopping.send_replace(true);
            // The server still accepts connections here, so that clients can settle their deliveries.
            if let Some(consuming) = &app.consuming {
                consuming.drain(DRAIN).await;
            }
        };
        let serving = listener::serve(listener, tls, router(Arc::clone(&app)), stop, GRACE);
        match &app.consuming {
            None => serving.await,
            Some(consuming) => {
                tokio::select! {
                    () = serving => {}
                    () = consuming.stop_idle() => {}
                }
                consuming.stop().await;
            }
        }
        if let Some((host, keeper)) = tasks {
            tokio::join!(host.stop(), keeper.stop());
        }
        let Ok(app) = Arc::try_unwrap(app).map_err(|_| "a request is still running") else { return };
        close(app).await;
    }
}

async fn close(app: App) {
    let App { store, bus, consuming, publishers, .. } = app;
    // The store closes its file after the last user is dropped.
    drop((consuming, publishers));
    if let Some(bus) = bus {
        bus.close().await;
    }
    store.close().await;
}
