//! Plain commands to servers, as an operator would send them.

use std::time::{Duration, Instant};

use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult, Value};
use tokio::time::sleep;

use crate::{Error, Server};

/// Time limit of a response. It is short, so that a paused server is detected soon.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Pause between two checks of a slow condition.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// Sends a command on a new connection, so that an earlier failure of the server has no influence.
pub(crate) async fn say<T: FromRedisValue>(server: &Server, words: &[&str]) -> Result<T, Error> {
    let refused = |source| Error::Refused {
        server: server.to_string(),
        command: words.join(" "),
        source: Box::new(source),
    };
    sent(server, words, ANSWER_WITHIN)
        .await
        .and_then(|value| Ok(T::from_redis_value(value)?))
        .map_err(refused)
}

async fn sent(server: &Server, words: &[&str], within: Duration) -> RedisResult<Value> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_WITHIN))
        .set_response_timeout(Some(within));
    let client = Client::open(server.plain_url())?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command.query_async(&mut connection).await
}

/// A bounded wait for a slow condition.
pub(crate) struct Patience {
    since: Instant,
    within: Duration,
}

impl Patience {
    pub(crate) fn of(within: Duration) -> Self {
        Self { since: Instant::now(), within }
    }

    /// Pauses before the next check. `amiss` describes the unmet condition.
    ///
    /// # Errors
    /// Returns an [`Error`] when the time limit has passed.
    pub(crate) async fn more(&self, server: &Server, amiss: &str) -> Result<(), Error> {
        if self.since.elapsed() > self.within {
            return Err(server.not_ready(&format!("and its fellows: after {:?} {amiss}", self.within)).await);
        }
        sleep(PAUSE).await;
        Ok(())
    }
}

/// Returns the value of the line `name:value` in a response of `INFO` or `CLUSTER INFO`.
pub(crate) fn value_of<'a>(info: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    info.lines().find_map(value).unwrap_or_default().trim_end()
}
