//! The way to the server: one connection that all callers share, made anew when it is lost.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::StorageFailure;
use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisResult, Value, aio::MultiplexedConnection,
};

use crate::{
    failure::{self, Intent},
    functions,
};

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The shortest and the longest pause between two tries to connect; callers meanwhile are answered at once.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A way to one server. Callers at once share its round trips.
pub(crate) struct Link {
    client: Client,
    timeout: Duration,
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    /// The newest connection, for those who need not wait for one.
    current: Mutex<Option<(u64, MultiplexedConnection)>>,
    failed: Mutex<Failed>,
}

/// What came of the last tries to connect.
#[derive(Debug, Clone, Default)]
struct Failed {
    times: u32,
    last: Option<(Instant, StorageFailure)>,
    generation: u64,
}

impl Link {
    /// A way to a server. Nothing is sent yet.
    pub(crate) fn new(client: Client, timeout: Duration) -> Self {
        Self {
            client,
            timeout,
            connection: tokio::sync::Mutex::new(None),
            current: Mutex::new(None),
            failed: Mutex::new(Failed::default()),
        }
    }

    /// The client, for connections of their own.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a command that changes nothing.
    pub(crate) async fn read(&self, command: &Cmd) -> Result<Value, StorageFailure> {
        let (generation, mut connection) = self.connected().await?;
        let answer = connection.send_packed_command(command).await;
        self.settled(generation, answer.and_then(Value::extract_error), Intent::Read)
    }

    /// Sends commands that change nothing, all in one round trip; their answers in order.
    pub(crate) async fn read_all(&self, commands: &Pipeline) -> Result<Vec<Value>, StorageFailure> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let (generation, mut connection) = self.connected().await?;
        let answer = connection.send_packed_commands(commands, 0, commands.len()).await;
        let answer = answer.and_then(|values| values.into_iter().map(Value::extract_error).collect());
        self.settled(generation, answer, Intent::Read)
    }

    /// Sends commands that change something, each for itself; for what needs no more.
    pub(crate) async fn write(&self, command: &Cmd) -> Result<Value, StorageFailure> {
        let (generation, mut connection) = self.connected().await?;
        let answer = connection.send_packed_command(command).await;
        self.settled(generation, answer.and_then(Value::extract_error), Intent::Write)
    }

    /// Calls a function of the library that changes something. A server that does not know the library is given it.
    pub(crate) async fn call(
        &self,
        function: &str,
        keys: &[String],
        args: &[impl redis::ToRedisArgs],
    ) -> Result<Value, StorageFailure> {
        let mut command = redis::cmd("FCALL");
        command.arg(functions::name(function)).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        for arg in args {
            command.arg(arg);
        }
        self.call_command(&command).await
    }

    /// Sends an `FCALL` that was put together by its caller.
    pub(crate) async fn call_command(&self, command: &Cmd) -> Result<Value, StorageFailure> {
        let (generation, mut connection) = self.connected().await?;
        let mut answer = connection.send_packed_command(command).await.and_then(Value::extract_error);
        if answer.as_ref().is_err_and(is_unknown_function) {
            load(&mut connection).await.map_err(|error| failure::redis(&error, Intent::Read))?;
            answer = connection.send_packed_command(command).await.and_then(Value::extract_error);
        }
        self.settled(generation, answer, Intent::Write)
    }

    fn settled<T>(
        &self,
        generation: u64,
        answer: RedisResult<T>,
        intent: Intent,
    ) -> Result<T, StorageFailure> {
        answer.map_err(|error| {
            if failure::ends_connection(&error) {
                self.drop_connection(generation);
            }
            failure::redis(&error, intent)
        })
    }

    fn drop_connection(&self, generation: u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|(own, _)| *own == generation) {
            *current = None;
        }
    }

    fn current(&self) -> Option<(u64, MultiplexedConnection)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn connected(&self) -> Result<(u64, MultiplexedConnection), StorageFailure> {
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

    /// The last failure, while it is too early to try again.
    fn rests(&self) -> Option<StorageFailure> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, failure) = failed.last.as_ref()?;
        let pause = PAUSES.0.saturating_mul(1 << failed.times.min(10)).min(PAUSES.1);
        (at.elapsed() < pause).then(|| failure.clone())
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(self.timeout))
            .set_pipeline_buffer_size(1024);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// Gives the library to a server. That another did so meanwhile is as good.
async fn load(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let mut command = redis::cmd("FUNCTION");
    command.arg("LOAD").arg(&functions::library().source);
    match command.exec_async(connection).await {
        Err(error) if error.to_string().contains("already exists") => Ok(()),
        other => other,
    }
}

fn is_unknown_function(error: &RedisError) -> bool {
    error.to_string().contains("Function not found")
}
