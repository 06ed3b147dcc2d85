//! Walks over the log itself, including damaged events.

use domain::{StorageFailure, ports::Order};
use redis::{FromRedisValue, Value};

use crate::{
    client::failure::unexpected_reply,
    engine::{
        keys::{CHUNK, chunk_of},
        partition::Partition,
    },
    log::entries::{Entry, entries, range},
};

/// The number of entries of one read.
const READ_AT_ONCE: usize = 500;

/// A walk over the entries of some chunks, oldest first.
#[derive(Debug)]
pub(crate) struct LogWalk {
    /// The remaining chunks, newest first.
    chunks: Vec<u64>,
    from: u64,
    until: u64,
}

impl LogWalk {
    /// Returns a walk over the whole log up to a sequence.
    pub(crate) async fn new(store: &Partition, until: u64) -> Result<Self, StorageFailure> {
        let mut chunks = store.chunks().await?;
        chunks.reverse();
        Ok(Self { chunks, from: 0, until })
    }

    /// Returns a walk from one sequence to another in one chunk.
    pub(crate) fn within(from: u64, until: u64) -> Self {
        Self { chunks: vec![chunk_of(from)], from, until }
    }

    /// Returns the next entries, which may be empty. None at the end.
    pub(crate) async fn next(&mut self, store: &Partition) -> Result<Option<Vec<Entry>>, StorageFailure> {
        let Some(chunk) = self.chunks.last().copied() else { return Ok(None) };
        let first = self.from.max(chunk * CHUNK);
        let last = self.until.min(chunk * CHUNK + CHUNK - 1);
        if first > last {
            self.chunks.pop();
            return Ok(Some(Vec::new()));
        }
        let mut pipeline = redis::Pipeline::with_capacity(1);
        let mut command = range(&store.keys().log(chunk), first, last);
        command.arg("COUNT").arg(READ_AT_ONCE);
        pipeline.add_command(command);
        let answer = store.read_entries(&pipeline).await?.pop().ok_or_else(|| unexpected_reply("the log"))?;
        let found = entries(answer)?;
        match found.last() {
            Some(last) if found.len() == READ_AT_ONCE => self.from = last.sequence + 1,
            _ => {
                self.chunks.pop();
            }
        }
        Ok(Some(found))
    }
}

/// Returns the command for the numbers of the log's chunks, in the order of a walk.
pub(crate) fn chunks_command(store: &Partition, order: Order) -> redis::Cmd {
    let mut command = redis::cmd(if order == Order::OldestFirst { "ZRANGE" } else { "ZREVRANGE" });
    command.arg(store.keys().chunks()).arg(0).arg(-1);
    command
}

/// Parses numbers of chunks.
pub(crate) fn numbers(answer: Value) -> Result<Vec<u64>, StorageFailure> {
    FromRedisValue::from_redis_value(answer).map_err(|_| unexpected_reply("numbers of chunks"))
}

impl Partition {
    /// Returns the numbers of the log's chunks, oldest first.
    pub(crate) async fn chunks(&self) -> Result<Vec<u64>, StorageFailure> {
        self.chunks_by(Order::OldestFirst).await
    }

    /// Returns the numbers of the log's chunks, in the order of a walk.
    pub(crate) async fn chunks_by(&self, order: Order) -> Result<Vec<u64>, StorageFailure> {
        numbers(self.link().read(&chunks_command(self, order)).await?)
    }
}
