//! One server: one connection that all callers share, made again when it is lost.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::{Backoff, StorageFailure};
use redis::{AsyncConnectionConfig, Client, RedisResult, aio::MultiplexedConnection};

use crate::client::failure::{self, Intent};

/// How long a connection may take to be made.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The pauses between two tries to connect. Callers meanwhile are answered at once.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(40), Duration::from_secs(1));

/// Idle connections that are kept: one for each partition that a server may have.
const MOST_SPARE: usize = 64;

/// A way to one server. Callers at once share its round trips.
pub(crate) struct Node {
    client: Client,
    /// How long an answer may take; none where the caller sees to that.
    timeout: Option<Duration>,
    connection: tokio::sync::Mutex<()>,
    /// The newest connection, for those who need not wait for one.
    current: Mutex<Option<(u64, MultiplexedConnection)>>,
    failed: Mutex<Failed>,
    /// Idle connections, for calls that need one of their own.
    spare: Mutex<Vec<MultiplexedConnection>>,
}

/// What came of the last tries to connect.
#[derive(Debug, Clone, Default)]
struct Failed {
    times: u32,
    last: Option<(Instant, StorageFailure)>,
    generation: u64,
}

impl Node {
    /// A way to a server. Nothing is sent yet.
    pub(crate) fn new(client: Client, timeout: Option<Duration>) -> Self {
        Self {
            client,
            timeout,
            connection: tokio::sync::Mutex::new(()),
            current: Mutex::new(None),
            failed: Mutex::new(Failed::default()),
            spare: Mutex::new(Vec::new()),
        }
    }

    /// The client, for connections of their own.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The address, as `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// A failure to reach it, with its address: where there are several, it says which.
    pub(crate) fn named(&self, failure: StorageFailure) -> StorageFailure {
        match failure {
            StorageFailure::Unavailable(text) => {
                StorageFailure::Unavailable(format!("{}: {text}", self.address()))
            }
            StorageFailure::Unknown(text) => StorageFailure::Unknown(format!("{}: {text}", self.address())),
            failure => failure,
        }
    }

    /// The connection that is there, or a new one; and its number, by which it is dropped.
    pub(crate) async fn connected(&self) -> Result<(u64, MultiplexedConnection), StorageFailure> {
        if let Some(current) = self.current() {
            return Ok(current);
        }
        // One connects, the others wait for it.
        let _turn = self.connection.lock().await;
        if let Some(current) = self.current() {
            return Ok(current);
        }
        if let Some(failure) = self.rests() {
            return Err(failure);
        }
        match self.connect().await {
            Ok(connection) => {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.times = 0;
                failed.last = None;
                failed.generation += 1;
                let fresh = (failed.generation, connection);
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
                Ok(fresh)
            }
            Err(error) => {
                // Nothing was sent yet: whatever it was, nothing has changed.
                let failure = failure::redis(&error, Intent::Read);
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.times += 1;
                failed.last = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// A connection that the caller has for itself, until it gives it back.
    pub(crate) async fn own_connection(&self) -> Result<MultiplexedConnection, StorageFailure> {
        if let Some(spare) = self.spare().pop() {
            return Ok(spare);
        }
        if let Some(failure) = self.rests() {
            return Err(failure);
        }
        self.connect().await.map_err(|error| failure::redis(&error, Intent::Read))
    }

    /// Takes back a connection that is as it was.
    pub(crate) fn give_back(&self, connection: MultiplexedConnection) {
        let mut spare = self.spare();
        if spare.len() < MOST_SPARE {
            spare.push(connection);
        }
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<MultiplexedConnection>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a connection is of no more use.
    pub(crate) fn drop_connection(&self, number: u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|(own, _)| *own == number) {
            *current = None;
        }
    }

    fn current(&self) -> Option<(u64, MultiplexedConnection)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last failure, while it is too early to try again.
    fn rests(&self) -> Option<StorageFailure> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, failure) = failed.last.as_ref()?;
        (at.elapsed() < PAUSES.bound(failed.times)).then(|| failure.clone())
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(self.timeout)
            .set_pipeline_buffer_size(1024);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}
