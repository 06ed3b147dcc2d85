//! Starting and stopping the server.

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

/// How long requests that run may take to finish once the server is told to stop.
const GRACE: Duration = Duration::from_secs(30);

/// How long clients may take to settle what they were handed once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the server did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The options make no sense, or are not safe.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Every request needs a token, and the store has none.
    #[error("every request needs a token, and the store has none: no client could use the server")]
    NoTokens,
    /// The tokens cannot be read.
    #[error(transparent)]
    Tokens(#[from] StorageFailure),
    /// The store was not opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus was not made.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The address cannot be listened at.
    #[error("{address} cannot be listened at: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
}

/// A server that listens, and answers once it runs.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    app: App,
    stop: watch::Sender<bool>,
    tasks: Option<(JobHost, Housekeeper)>,
}

impl Server {
    /// Opens the store that the settings name, and listens. Unless it is to be read-only, the store is made where there is
    /// none, and the server does what every consumer does beside consuming: it lets scheduled events into the log, runs replays
    /// that wait for a runner, and applies retention.
    ///
    /// # Errors
    /// When the options make no sense, the store is not opened, or the address is taken.
    pub async fn start(settings: Settings, options: ServeOptions) -> Result<Self, ServeError> {
        options.check()?;
        let tls = options.tls.as_ref().map(TlsFiles::acceptor).transpose()?;
        // Before the store is made: an address that is taken leaves nothing behind.
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
                let bus = consumer::bus(&store, &settings).await?;
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is done. Then it accepts no more connections, lets requests that run finish for up to 30 seconds,
    /// ends its streams, and closes the store.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, address: _, tls, app, stop: stopping, tasks } = self;
        let app = Arc::new(app);
        let stop = async {
            stop.await;
            stopping.send_replace(true);
            // Connections are still accepted: clients settle what they have.
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
    // The store closes its file when nothing uses it any more.
    drop((consuming, publishers));
    if let Some(bus) = bus {
        bus.close().await;
    }
    store.close().await;
}
