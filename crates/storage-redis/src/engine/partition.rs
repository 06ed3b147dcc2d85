//! A handle on one partition, with the cached state of the partition.

use std::sync::Arc;

use domain::{
    Position, StorageFailure, StoreId,
    ports::RetentionMode,
    time::{from_unix_micros, unix_micros},
};
use jiff::Timestamp;
use redis::{FromRedisValue, Pipeline, Value, cmd};

use crate::{
    client::{failure::unexpected_reply, link::Link},
    engine::{
        keys::Keys,
        last_known::{Known, LastKnown},
        state::State,
    },
    index::{merge::Merging, term_lookup::Finding},
    log::compression::Compression,
    options::RedisOptions,
    server::copies::Counts,
};

/// One partition of a namespace. Clones share the same connection.
#[derive(Clone)]
pub(crate) struct Partition {
    inner: Arc<Inner>,
}

/// The parts that all partitions of a store share: the options and the link to the server.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) options: Arc<RedisOptions>,
    pub(crate) link: Arc<Link>,
}

struct Inner {
    shared: Shared,
    keys: Keys,
    number: u16,
    store: StoreId,
    keeps: RetentionMode,
    compression: Compression,
    known: LastKnown,
    merging: Merging,
    finding: Finding,
    counts: Counts,
}

impl Partition {
    /// Returns a handle on the partition with this number and this state.
    pub(crate) fn new(shared: Shared, keys: Keys, number: u16, state: &State) -> Self {
        let inner = Inner {
            shared,
            keys,
            number,
            store: state.store,
            keeps: state.keeps,
            compression: Compression::new(state.compression),
            known: LastKnown::new(state),
            merging: Merging::default(),
            finding: Finding::default(),
            counts: Counts::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the position of a sequence.
    pub(crate) fn position(&self, sequence: u64) -> Position {
        Position::new(self.inner.number, sequence)
    }

    pub(crate) fn number(&self) -> u16 {
        self.inner.number
    }

    pub(crate) fn link(&self) -> &Link {
        &self.inner.shared.link
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    pub(crate) fn options(&self) -> &RedisOptions {
        &self.inner.shared.options
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.inner.counts
    }

    pub(crate) fn compression(&self) -> &Compression {
        &self.inner.compression
    }

    /// Starts the merge of those runs of the index that are due, in the background.
    pub(crate) fn merge_runs(&self) {
        self.inner.merging.begin(self.clone());
    }

    /// Stops the work in the background.
    pub(crate) async fn close(&self) {
        self.inner.merging.close().await;
    }

    pub(crate) fn finding(&self) -> &Finding {
        &self.inner.finding
    }

    pub(crate) fn keeps(&self) -> RetentionMode {
        self.inner.keeps
    }

    /// Returns the present time by the clock of the options, in microseconds. None if the store uses the server's
    /// clock.
    pub(crate) fn own_clock(&self) -> Option<i64> {
        self.inner.shared.options.clock.as_ref().map(|clock| unix_micros(clock.now()))
    }

    /// Adds the request for the time to a pipeline, if the store uses the server's clock.
    pub(crate) fn ask_time(&self, pipeline: &mut Pipeline) {
        if self.options().clock.is_none() {
            pipeline.cmd("TIME");
        }
    }

    /// Reads the answer to [`Partition::ask_time`].
    pub(crate) fn take_time(
        &self,
        answers: &mut impl Iterator<Item = Value>,
    ) -> Result<Timestamp, StorageFailure> {
        if let Some(clock) = &self.options().clock {
            return Ok(clock.now());
        }
        let answer = answers.next().ok_or_else(|| unexpected_reply("the time"))?;
        let (seconds, micros): (i64, i64) =
            FromRedisValue::from_redis_value(answer).map_err(|_| unexpected_reply("the time"))?;
        Ok(from_unix_micros(seconds * 1_000_000 + micros))
    }

    /// Returns the last known values of the partition.
    pub(crate) fn last(&self) -> &LastKnown {
        &self.inner.known
    }

    /// Returns the last known place of the log and its dictionary.
    pub(crate) fn known(&self) -> Known {
        self.last().get()
    }

    /// Records the log epoch from the answer of a function that writes.
    pub(crate) fn learn_epoch(&self, epoch: u64) {
        self.last().set_epoch(epoch);
    }

    /// Records the head, level, split and epoch from the answer of a function that writes.
    pub(crate) fn learn_moved(&self, rest: &[Value]) -> Result<(), StorageFailure> {
        let [Value::Int(head), Value::Int(level), Value::Int(split), Value::Int(epoch), ..] = rest else {
            return Err(unexpected_reply("where the log is"));
        };
        let now =
            Known { head: *head as u64, level: *level as u32, split: *split as u32, epoch: *epoch as u64 };
        self.last().set(now);
        Ok(())
    }

    /// Reads the present state.
    pub(crate) async fn state(&self) -> Result<State, StorageFailure> {
        let mut command = cmd("HGETALL");
        command.arg(self.keys().meta());
        self.learn_answer(self.link().read(&command).await?)
    }

    /// Reads the present state and the time by the store's clock, in one round trip.
    pub(crate) async fn state_and_time(&self) -> Result<(State, Timestamp), StorageFailure> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("HGETALL").arg(self.keys().meta());
        self.ask_time(&mut pipeline);
        let answers = match self.link().read_all(&pipeline).await {
            // A user that may not ask for the time gets the local time.
            Err(StorageFailure::Denied(_)) => return Ok((self.state().await?, Timestamp::now())),
            answers => answers?,
        };
        let mut answers = answers.into_iter();
        let state = self.learn_answer(answers.next().unwrap_or(Value::Nil))?;
        Ok((state, self.take_time(&mut answers)?))
    }

    /// Parses and records the answer to `HGETALL meta`.
    pub(crate) fn learn_answer(&self, answer: Value) -> Result<State, StorageFailure> {
        let state = State::read(answer)?.ok_or_else(gone)?;
        self.check_store(state.store)?;
        self.last().set(Known::from(&state));
        self.last().set_bytes(&state);
        Ok(state)
    }

    /// Refuses a namespace that has replaced the opened one.
    pub(crate) fn check_store(&self, store: StoreId) -> Result<(), StorageFailure> {
        match store == self.inner.store {
            true => Ok(()),
            false => Err(StorageFailure::Foreign(
                "the namespace was removed and made again after this store was opened".to_owned(),
            )),
        }
    }
}

/// Returns the failure for a namespace that no longer exists.
pub(crate) fn gone() -> StorageFailure {
    StorageFailure::Foreign("the namespace is gone".to_owned())
}
