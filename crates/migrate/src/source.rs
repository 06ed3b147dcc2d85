//! The connection to the old Redis. It has reading commands alone.

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

/// Keys that a step of a walk through all of them looks at.
const SCAN_COUNT: usize = 1000;

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hash,
    SortedSet,
    Other,
}

/// What the old system keeps in Redis. Reads only: SCAN, TYPE, HMGET, HEXISTS, ZRANGE, ZRANGEBYSCORE, ZSCORE, ZCARD.
#[derive(Clone)]
pub struct Source {
    connection: MultiplexedConnection,
    layout: Layout,
}

impl std::fmt::Debug for Source {
    /// Without the address: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Source {
    /// Connects to `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS with the certificates that
    /// the system trusts. One connection; an answer is waited for 30 seconds.
    ///
    /// # Errors
    /// When the address makes no sense, nothing answers within 10 seconds, or the user is not let in.
    pub async fn connect(url: &str, layout: Layout) -> Result<Self, SourceError> {
        let info = url.into_connection_info().map_err(|error| SourceError::address(&error))?;
        if url.starts_with("rediss") {
            // Another part of this process may have chosen one already, which serves as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = Client::open(info).map_err(|error| SourceError::address(&error))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Self { connection, layout })
    }

    /// The names of its keys.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How many ids the index of time lists.
    pub(crate) async fn events(&self) -> RedisResult<u64> {
        redis::cmd("ZCARD").arg(self.layout.by_time()).query_async(&mut self.connection.clone()).await
    }

    /// Ids of the index of time with their scores, from a score on and after passing over `skip` of them.
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

    /// The events of these ids, in their order.
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

    /// Which of these ids have an event.
    pub(crate) async fn have_event(&self, ids: &[Vec<u8>]) -> RedisResult<Vec<bool>> {
        let rows: Vec<RedisResult<bool>> =
            self.each(ids, |pipe, id| pipe.cmd("HEXISTS").arg(self.layout.event(id)).arg("event")).await?;
        rows.into_iter().map(|row| Ok(if_hash(row)?.unwrap_or(false))).collect()
    }

    /// Which of these ids the index of time lists.
    pub(crate) async fn are_listed(&self, ids: &[Vec<u8>]) -> RedisResult<Vec<bool>> {
        let by_time = self.layout.by_time();
        let rows: Vec<RedisResult<Option<f64>>> =
            self.each(ids, |pipe, id| pipe.cmd("ZSCORE").arg(&by_time).arg(id)).await?;
        rows.into_iter().map(|row| row.map(|score| score.is_some())).collect()
    }

    /// Members of a sorted set by place, from `start`.
    pub(crate) async fn members(&self, key: &[u8], start: u64, most: u64) -> RedisResult<Vec<Vec<u8>>> {
        redis::cmd("ZRANGE")
            .arg(key)
            .arg(start)
            .arg(start.saturating_add(most).saturating_sub(1))
            .query_async(&mut self.connection.clone())
            .await
    }

    /// How many members these sorted sets have.
    pub(crate) async fn sizes(&self, keys: &[Vec<u8>]) -> RedisResult<Vec<u64>> {
        let rows: Vec<RedisResult<u64>> = self.each(keys, |pipe, key| pipe.cmd("ZCARD").arg(key)).await?;
        rows.into_iter().collect()
    }

    /// A step of the walk through the keys of events and indexes: keys with what they hold, and where to go on. A key may
    /// come more than once.
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

    /// Every checkpoint, in no order.
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

    /// Asks the same of each, in one round trip.
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

/// An answer about a hash; none where the key holds something else, which the old system cannot read either.
fn if_hash<T>(row: RedisResult<T>) -> RedisResult<Option<T>> {
    match row {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
        Err(error) => Err(error),
    }
}
