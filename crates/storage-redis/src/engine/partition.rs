//! A handle on one partition, and what it remembers of it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use domain::{Position, StorageFailure, StoreId, ports::Keeps};
use jiff::Timestamp;
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    client::{failure::unexpected_reply, link::Link},
    engine::{
        keys::Keys,
        state::{State, micros},
    },
    index::{hints::Hints, term_lookup::Finding},
    log::compress::Compression,
    options::RedisOptions,
    server::{aof_rewrite::AofRewrite, copies::Counts},
};

/// What was last known of a partition. It may be old: the server checks what is decided by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) head: u64,
    pub(crate) epoch: u64,
    pub(crate) level: u32,
    pub(crate) split: u32,
}

/// One partition of a namespace. Clones are handles on the same connection.
#[derive(Clone)]
pub(crate) struct Partition {
    inner: Arc<Inner>,
}

/// What all partitions of a store have in common: how to reach the server.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) options: Arc<RedisOptions>,
    pub(crate) link: Arc<Link>,
    pub(crate) tidying: Arc<AofRewrite>,
    /// Whether the store was opened to be written to.
    pub(crate) writes: bool,
}

struct Inner {
    shared: Shared,
    keys: Keys,
    number: u16,
    store: StoreId,
    keeps: Keeps,
    compression: Compression,
    known: Mutex<Known>,
    hints: Hints,
    finding: Finding,
    average_bytes: AtomicU64,
    is_sparse: AtomicBool,
    counts: Counts,
}

impl Partition {
    /// A handle on the partition of this number whose state was read.
    pub(crate) fn new(shared: Shared, keys: Keys, number: u16, state: &State) -> Self {
        let known = Known { head: state.head, epoch: state.epoch, level: state.level, split: state.split };
        let inner = Inner {
            shared,
            keys,
            number,
            store: state.store,
            keeps: state.keeps,
            compression: Compression::new(state.compression),
            known: Mutex::new(known),
            hints: Hints::default(),
            finding: Finding::default(),
            average_bytes: AtomicU64::new(0),
            is_sparse: AtomicBool::new(false),
            counts: Counts::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The position of a sequence.
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

    /// What this handle remembers of terms.
    pub(crate) fn hints(&self) -> &Hints {
        &self.inner.hints
    }

    pub(crate) fn finding(&self) -> &Finding {
        &self.inner.finding
    }

    pub(crate) fn keeps(&self) -> Keeps {
        self.inner.keeps
    }

    /// How long events are on average, in bytes, as far as that is known; else 0.
    pub(crate) fn average_bytes(&self) -> u64 {
        self.inner.average_bytes.load(Ordering::Relaxed)
    }

    /// Whether the log had an event at about every sequence where it was read last.
    pub(crate) fn is_dense(&self) -> bool {
        !self.inner.is_sparse.load(Ordering::Relaxed)
    }

    /// Notes how many events some sequences had.
    pub(crate) fn note_density(&self, events: u64, sequences: u64) {
        self.inner.is_sparse.store(events < sequences / 2, Ordering::Relaxed);
    }

    /// The present instant in microseconds by the store's own clock, where it was given one.
    pub(crate) fn own_clock(&self) -> Option<i64> {
        self.inner.shared.options.clock.as_ref().map(|clock| micros(clock.now()))
    }

    /// Adds the question for the time to a pipeline, where the store goes by the server's clock.
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
        Ok(crate::engine::state::from_micros(seconds * 1_000_000 + micros))
    }

    /// What is known of the partition.
    pub(crate) fn known(&self) -> Known {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is known now.
    fn note(&self, now: Known) {
        let before = std::mem::replace(&mut *self.lock(), now);
        self.note_epoch(before.epoch, now.epoch);
    }

    /// A new log epoch means that the server restarted, or that another took its place.
    fn note_epoch(&self, before: u64, now: u64) {
        if now > before && self.inner.shared.writes {
            self.inner.shared.tidying.begin(self.link().clone());
        }
    }

    /// Notes the log epoch that a function answered. Where it is new, the head is not known: the next append is told.
    pub(crate) fn learn_epoch(&self, epoch: u64) {
        let before = {
            let mut known = self.lock();
            std::mem::replace(&mut known.epoch, epoch)
        };
        self.note_epoch(before, epoch);
    }

    /// Notes what a function answered of the partition: head, level, split and epoch.
    pub(crate) fn learn_moved(&self, rest: &[Value]) -> Result<(), StorageFailure> {
        let [Value::Int(head), Value::Int(level), Value::Int(split), Value::Int(epoch), ..] = rest else {
            return Err(unexpected_reply("where the log is"));
        };
        self.note(Known {
            head: *head as u64,
            level: *level as u32,
            split: *split as u32,
            epoch: *epoch as u64,
        });
        Ok(())
    }

    /// Notes that the dictionary has other buckets.
    pub(crate) fn learn_buckets(&self, level: u32, split: u32) {
        let mut known = self.lock();
        known.level = level;
        known.split = split;
    }

    /// Notes how far the log is.
    pub(crate) fn learn_head(&self, head: u64) {
        let mut known = self.lock();
        known.head = known.head.max(head);
    }

    /// The state as it is now.
    pub(crate) async fn state(&self) -> Result<State, StorageFailure> {
        Ok(self.state_and_time().await?.0)
    }

    /// The state as it is now, and the time by the store's clock, in one round trip.
    pub(crate) async fn state_and_time(&self) -> Result<(State, Timestamp), StorageFailure> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("HGETALL").arg(self.keys().meta());
        self.ask_time(&mut pipeline);
        let mut answers = self.link().read_all(&pipeline).await?.into_iter();
        let state = self.learn_answer(answers.next().unwrap_or(Value::Nil))?;
        Ok((state, self.take_time(&mut answers)?))
    }

    /// Reads what `HGETALL meta` answered, and notes it.
    pub(crate) fn learn_answer(&self, answer: Value) -> Result<State, StorageFailure> {
        let state = State::read(answer)?.ok_or_else(gone)?;
        self.check_store(state.store)?;
        self.note(Known { head: state.head, epoch: state.epoch, level: state.level, split: state.split });
        let average = (state.bytes / state.events.max(1)).max(u64::from(state.events > 0));
        self.inner.average_bytes.store(average, Ordering::Relaxed);
        Ok(state)
    }

    /// Refuses a namespace that took the place of the one that was opened.
    pub(crate) fn check_store(&self, store: StoreId) -> Result<(), StorageFailure> {
        match store == self.inner.store {
            true => Ok(()),
            false => Err(StorageFailure::Foreign(
                "the namespace was removed and made again after this store was opened".to_owned(),
            )),
        }
    }
}

/// A namespace that is no longer there.
pub(crate) fn gone() -> StorageFailure {
    StorageFailure::Foreign("the namespace is gone".to_owned())
}
