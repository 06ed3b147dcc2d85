//! The connection to the old Redis. It has only commands that read.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo, Pipeline, RedisResult,
    aio::MultiplexedConnection,
};

use crate::{
    error::SourceError,
    layout::Layout,
    old_checkpoint::OldCheckpoint,
    old_event::{Fields, OldEvent},
};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The number of keys in one step of a scan.
const SCAN_COUNT: usize = 1000;

/// The Redis type of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hash,
    SortedSet,
    Other,
}

/// The data of the old system in Redis. It uses only SCAN, TYPE, HMGET, HEXISTS, ZRANGE, ZRANGEBYSCORE, ZSCORE and
/// ZCARD.
#[derive(Clone)]
pub struct Source {
    connection: MultiplexedConnection,
    layout: Layout,
}

impl std::fmt::Debug for Source {
    /// Omits the address, which may contain a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Source {
    /// Connects to `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`, or to `rediss://` for TLS with the certificates
    /// that the system trusts. It uses one connection. The time limit of an answer is 30 seconds.
    ///
    /// # Errors
    /// Returns a [`SourceError`] when the address is invalid, when no server answers within 10 seconds, or when the
    /// server rejects the user.
    pub async fn connect(url: &str, layout: Layout) -> Result<Self, SourceError> {
        let info = url.into_connection_info().map_err(|error| SourceError::address(&error))?;
        if url.starts_with("rediss") {
            // Another part of this process may have installed a provider already, which is also sufficient.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = Client::open(info).map_err(|error| SourceError::address(&error))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Self { connection, layout })
    }

    /// Returns the names of the source's keys.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the number of ids in the time index.
    pub(crate) async fn events(&self) -> RedisResult<u64> {
        redis::cmd("ZCARD").arg(self.layout.by_time()).query_async(&mut self.connection.clone()).await
    }

    /// Returns ids of the time index with their scores, from the score `from` on, without the first `skip` ids.
    pub(crate) async fn by_time(
        &self,
        from: f64,
        skip: usize,
        most: usize,
    ) -> RedisResult<Vec<(Vec<u8>, f64)>> {
        redis::cmd("ZRANGEBYSCORE")
            .arg(self.layout.by_time())
            .arg(format!("{from}"))
            .arg("+inf")
            .arg("WITHSCORES")
            .arg("LIMIT")
            .arg(skip)
            .arg(most)
            .query_async(&mut self.connection.clone())
            .await
    }

    /// Returns the events of these ids, in the order of the ids.
    pub(crate) async fn old_events(&self, ids: Vec<Vec<u8>>) -> RedisResult<Vec<OldEvent>> {
        let fields = ["event", "replayCount", "lastReplayAt"];
        let rows: Vec<RedisResult<Fields>> =
            self.each(&ids, |pipe, id| pipe.cmd("HMGET").arg(self.layout.event(id)).arg(&fields)).await?;
        let read = ids
            .into_iter()
            .zip(rows)
            .map(|(id, row)| Ok(OldEvent::new(id, if_hash(row)?.unwrap_or_default())));
        read.collect()
    }

    /// Returns, for each id, whether it has an event.
    pub(crate) async fn have_event(&self, ids: &[Vec<u8>]) -> RedisResult<Vec<bool>> {
        let rows: Vec<RedisResult<bool>> =
            self.each(ids, |pipe, id| pipe.cmd("HEXISTS").arg(self.layout.event(id)).arg("event")).await?;
        rows.into_iter().map(|row| Ok(if_hash(row)?.unwrap_or(false))).collect()
    }

    /// Returns, for each id, whether the time index lists it.
    pub(crate) async fn are_listed(&self, ids: &[Vec<u8>]) -> RedisResult<Vec<bool>> {
        let by_time = self.layout.by_time();
        let rows: Vec<RedisResult<Option<f64>>> =
            self.each(ids, |pipe, id| pipe.cmd("ZSCORE").arg(&by_time).arg(id)).await?;
        rows.into_iter().map(|row| row.map(|score| score.is_some())).collect()
    }

    /// Returns up to `most` members of a sorted set by rank, from `start`.
    pub(crate) async fn members(&self, key: &[u8], start: u64, most: u64) -> RedisResult<Vec<Vec<u8>>> {
        redis::cmd("ZRANGE")
            .arg(key)
            .arg(start)
            .arg(start.saturating_add(most).saturating_sub(1))
            .query_async(&mut self.connection.clone())
            .await
    }

    /// Returns the number of members of each sorted set.
    pub(crate) async fn sizes(&self, keys: &[Vec<u8>]) -> RedisResult<Vec<u64>> {
        let rows: Vec<RedisResult<u64>> = self.each(keys, |pipe, key| pipe.cmd("ZCARD").arg(key)).await?;
        rows.into_iter().collect()
    }

    /// Makes one step of a scan over the keys of events and indexes. Returns keys with their types, and the next
    /// cursor. A scan may return a key more than once.
    pub(crate) async fn scan(&self, cursor: u64) -> RedisResult<(Vec<(Vec<u8>, Kind)>, Option<u64>)> {
        let (keys, next) = self.scan_keys(&self.layout.events_pattern(), cursor).await?;
        let rows: Vec<RedisResult<String>> = self.each(&keys, |pipe, key| pipe.cmd("TYPE").arg(key)).await?;
        let kinds = rows.into_iter().map(|row| {
            row.map(|kind| match kind.as_str() {
                "hash" => Kind::Hash,
                "zset" => Kind::SortedSet,
                _ => Kind::Other,
            })
        });
        let kinds: Vec<Kind> = kinds.collect::<RedisResult<_>>()?;
        Ok((keys.into_iter().zip(kinds).collect(), next))
    }

    /// Returns every checkpoint, in no particular order.
    pub(crate) async fn checkpoints(&self) -> RedisResult<Vec<OldCheckpoint>> {
        let (pattern, mut cursor, mut keys) = (self.layout.checkpoints_pattern(), Some(0), Vec::new());
        while let Some(at) = cursor {
            let (found, next) = self.scan_keys(&pattern, at).await?;
            keys.extend(found);
            cursor = next;
        }
        keys.sort_unstable();
        keys.dedup();
        let mut checkpoints = Vec::with_capacity(keys.len());
        for keys in keys.chunks(SCAN_COUNT) {
            let rows: Vec<RedisResult<_>> = self
                .each(keys, |pipe, key| pipe.cmd("HMGET").arg(key).arg(OldCheckpoint::FIELDS.as_slice()))
                .await?;
            for (key, row) in keys.iter().zip(rows) {
                let id = key.get(self.layout.checkpoints().len() + 1..).unwrap_or_default();
                checkpoints.extend(if_hash(row)?.map(|fields| OldCheckpoint::new(id, fields)));
            }
        }
        Ok(checkpoints)
    }

    async fn scan_keys(&self, pattern: &str, cursor: u64) -> RedisResult<(Vec<Vec<u8>>, Option<u64>)> {
        let (next, keys): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(SCAN_COUNT)
            .query_async(&mut self.connection.clone())
            .await?;
        Ok((keys, (next != 0).then_some(next)))
    }

    /// Sends one command for each argument, in one round trip.
    async fn each<T: FromRedisValue>(
        &self,
        of: &[Vec<u8>],
        ask: impl for<'p> Fn(&'p mut Pipeline, &Vec<u8>) -> &'p mut Pipeline,
    ) -> RedisResult<Vec<RedisResult<T>>> {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = Pipeline::with_capacity(of.len());
        pipe.ignore_errors();
        for one in of {
            ask(&mut pipe, one);
        }
        pipe.query_async(&mut self.connection.clone()).await
    }
}

/// Returns the answer of a hash command, or `None` if the key is not a hash. The old system cannot read such a key
/// either.
fn if_hash<T>(row: RedisResult<T>) -> RedisResult<Option<T>> {
    match row {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
        Err(error) => Err(error),
    }
}
