//! One server, with two connections that all callers share. A lost connection is made again. Pages of the log have a
//! separate connection: otherwise short calls, such as commits of groups, would wait until a page is sent and parsed.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use domain::{Backoff, StorageFailure};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, Pipeline, ProtocolVersion, RedisResult, Value,
    aio::MultiplexedConnection,
};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use crate::client::{
    failure::{self, Intent},
    tap::{Kept, Tap},
};

/// The longest time in which a connection is made.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The pauses between two tries to connect. During a pause, callers get the last failure at once.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(40), Duration::from_secs(1));

/// The largest number of idle connections that are kept: one for each partition that a server may have.
const MOST_SPARE: usize = 64;

/// Access to one server. Concurrent callers share its round trips.
pub(crate) struct Node {
    client: Client,
    /// The longest time until an answer. None if the caller sets the limit.
    timeout: Option<Duration>,
    connecting: tokio::sync::Mutex<()>,
    /// The newest connections. Callers take them without waiting.
    short: Mutex<Option<Connection>>,
    pages: Mutex<Option<Connection>>,
    failed: Mutex<Failed>,
    /// Idle connections, for calls that need an unshared one.
    spare: Mutex<Vec<MultiplexedConnection>>,
}

/// The purpose of a connection. Over one connection, answers come in the order of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    Short,
    /// Pages of the log.
    Pages,
}

/// A connection that callers share.
#[derive(Clone)]
pub(crate) struct Connection {
    /// Identifies the connection for [`Node::drop_connection`].
    pub(crate) number: u64,
    pub(crate) to: MultiplexedConnection,
    tap: Option<Tapped>,
}

/// The additional parts of a connection for pages. The driver ends when the last clone is dropped.
#[derive(Clone)]
struct Tapped {
    kept: Arc<Kept>,
    _driver: Arc<JoinSet<()>>,
}

impl Connection {
    /// Returns a connection that only one caller uses.
    pub(crate) fn unshared(to: MultiplexedConnection) -> Self {
        Self { number: 0, to, tap: None }
    }

    /// Sends commands in one round trip.
    pub(crate) async fn send_all(&mut self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        let mut values = self.to.send_packed_commands(commands, 0, commands.len()).await?;
        if let Some(tap) = &self.tap {
            tap.kept.resolve(&mut values)?;
        }
        Ok(values)
    }
}

/// The result of the last tries to connect.
#[derive(Debug, Clone, Default)]
struct Failed {
    times: u32,
    last: Option<(Instant, StorageFailure)>,
    generation: u64,
}

impl Node {
    /// Returns the access to a server. Sends nothing yet.
    pub(crate) fn new(client: Client, timeout: Option<Duration>) -> Self {
        Self {
            client,
            timeout,
            connecting: tokio::sync::Mutex::new(()),
            short: Mutex::new(None),
            pages: Mutex::new(None),
            failed: Mutex::new(Failed::default()),
            spare: Mutex::new(Vec::new()),
        }
    }

    /// Returns the client, for separate connections.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the address, as `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Adds the address to a failure to reach the server. So the failure says which of several servers it was.
    pub(crate) fn named(&self, failure: StorageFailure) -> StorageFailure {
        match failure {
            StorageFailure::Unavailable(text) => {
                StorageFailure::Unavailable(format!("{}: {text}", self.address()))
            }
            StorageFailure::Unknown(text) => StorageFailure::Unknown(format!("{}: {text}", self.address())),
            failure => failure,
        }
    }

    /// Returns the current connection, or makes a new one.
    pub(crate) async fn connected(&self, traffic: Traffic) -> Result<Connection, StorageFailure> {
        if let Some(current) = self.current(traffic) {
            return Ok(current);
        }
        // One caller connects, and the others wait for it.
        let _turn = self.connecting.lock().await;
        if let Some(current) = self.current(traffic) {
            return Ok(current);
        }
        if let Some(failure) = self.rests() {
            return Err(failure);
        }
        let connected = match traffic {
            Traffic::Short => self.connect().await.map(|connection| (connection, None)),
            Traffic::Pages => self.connect_for_pages().await,
        };
        match connected {
            Ok((to, tap)) => {
                let mut failed = lock(&self.failed);
                failed.times = 0;
                failed.last = None;
                failed.generation += 1;
                let fresh = Connection { number: failed.generation, to, tap };
                *lock(self.slot(traffic)) = Some(fresh.clone());
                Ok(fresh)
            }
            Err(error) => {
                // Nothing was sent yet, so nothing has changed.
                let failure = failure::redis(&error, Intent::Read);
                let mut failed = lock(&self.failed);
                failed.times += 1;
                failed.last = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// Returns a connection that only the caller uses, until the caller gives it back.
    pub(crate) async fn own_connection(&self) -> Result<MultiplexedConnection, StorageFailure> {
        if let Some(spare) = self.spare().pop() {
            return Ok(spare);
        }
        if let Some(failure) = self.rests() {
            return Err(failure);
        }
        self.connect().await.map_err(|error| failure::redis(&error, Intent::Read))
    }

    /// Keeps an idle connection for a later call, if there is room. Its state must be the same as when it was new.
    pub(crate) fn give_back(&self, connection: MultiplexedConnection) {
        let mut spare = self.spare();
        if spare.len() < MOST_SPARE {
            spare.push(connection);
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<MultiplexedConnection>> {
        lock(&self.spare)
    }

    /// Records that a connection is unusable, and drops both connections. A server that ended one of them has ended
    /// both, and a call over the other would report an outage that is over.
    pub(crate) fn drop_connection(&self, number: u64) {
        let (mut short, mut pages) = (lock(&self.short), lock(&self.pages));
        let is_it = |own: &Option<Connection>| own.as_ref().is_some_and(|own| own.number == number);
        if is_it(&short) || is_it(&pages) {
            *short = None;
            *pages = None;
        }
    }

    fn slot(&self, traffic: Traffic) -> &Mutex<Option<Connection>> {
        match traffic {
            Traffic::Short => &self.short,
            Traffic::Pages => &self.pages,
        }
    }

    fn current(&self, traffic: Traffic) -> Option<Connection> {
        lock(self.slot(traffic)).clone()
    }

    /// Returns the last failure, while it is too early to try again.
    fn rests(&self) -> Option<StorageFailure> {
        let failed = lock(&self.failed);
        let (at, failure) = failed.last.as_ref()?;
        (at.elapsed() < PAUSES.bound(failed.times)).then(|| failure.clone())
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        self.client.get_multiplexed_async_connection_with_config(&self.config()).await
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(self.timeout)
            .set_pipeline_buffer_size(1024)
    }

    /// Makes a connection that keeps long replies as raw bytes. With TLS or RESP3, it is a plain connection.
    async fn connect_for_pages(&self) -> RedisResult<(MultiplexedConnection, Option<Tapped>)> {
        let info = self.client.get_connection_info();
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Ok((self.connect().await?, None));
        };
        let settings = info.redis_settings();
        if settings.protocol() != ProtocolVersion::RESP2 {
            return Ok((self.connect().await?, None));
        }
        let kept = Arc::new(Kept::default());
        let connect = async {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            let tap = Tap::new(stream, Arc::clone(&kept));
            MultiplexedConnection::new_with_config(settings, tap, self.config()).await
        };
        let (connection, driver) = match timeout(CONNECT_WITHIN, connect).await {
            Ok(connected) => connected?,
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time").into()),
        };
        let mut task = JoinSet::new();
        task.spawn(driver);
        Ok((connection, Some(Tapped { kept, _driver: Arc::new(task) })))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
