//! A handle on one partition, and what it remembers of it. A partition is a whole store by itself; how several are one
//! store is said by [`crate::store`].

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use domain::{StorageFailure, StoreId, ports::Keeps};
use redis::{Value, cmd};

use crate::{
    comeback::Tidying,
    compress::Compression,
    copies::Counts,
    failure::shape,
    hints::Hints,
    keys::Keys,
    lane_texts::LaneTexts,
    link::Link,
    near::Finding,
    options::RedisOptions,
    state::{State, micros},
    write::Write,
};

/// What was last known of a partition. It may be old: whatever is decided by it is checked by the server.
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
    pub(crate) tidying: Arc<Tidying>,
    /// Whether the store was opened to be written to.
    pub(crate) writes: bool,
}

struct Inner {
    shared: Shared,
    keys: Keys,
    /// Which it is, and of how many.
    number: u16,
    of: u16,
    store: StoreId,
    keeps: Keeps,
    compression: Compression,
    known: Mutex<Known>,
    /// The state as it was read last.
    last: Mutex<State>,
    hints: Hints,
    finding: Finding,
    average_bytes: AtomicU64,
    is_sparse: AtomicBool,
    counts: Counts,
    lane_texts: LaneTexts,
}

impl Partition {
    /// A handle on the partition of this number whose state was read.
    pub(crate) fn new(shared: Shared, keys: Keys, number: u16, state: &State) -> Self {
        let known = Known { head: state.head, epoch: state.epoch, level: state.level, split: state.split };
        let inner = Inner {
            shared,
            keys,
            number,
            of: state.partitions,
            store: state.store,
            keeps: state.keeps,
            compression: Compression::new(state.compression),
            known: Mutex::new(known),
            last: Mutex::new(state.clone()),
            hints: Hints::default(),
            finding: Finding::default(),
            average_bytes: AtomicU64::new(0),
            is_sparse: AtomicBool::new(false),
            counts: Counts::default(),
            lane_texts: LaneTexts::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Which of the store's partitions it is.
    pub(crate) fn number(&self) -> u16 {
        self.inner.number
    }

    /// What a segment of a group in this partition is called in the whole group.
    pub(crate) fn outward_segment(&self, segment: u16) -> u16 {
        self.inner.number + self.inner.of * segment
    }

    /// The segment of this partition that is called so in the whole group.
    pub(crate) fn inward_segment(&self, segment: u16) -> u16 {
        segment / self.inner.of
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

    /// What was read of lanes.
    pub(crate) fn lane_texts(&self) -> &LaneTexts {
        &self.inner.lane_texts
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

    pub(crate) fn keeps(&self) -> Keeps {
        self.inner.keeps
    }

    /// The present instant in microseconds by the store's own clock, where it was given one.
    pub(crate) fn own_clock(&self) -> Option<i64> {
        self.inner.shared.options.clock.as_ref().map(|clock| micros(clock.now()))
    }

    /// The present instant in microseconds by the store's clock: one round trip where that is the server's.
    pub(crate) async fn now(&self) -> Result<i64, StorageFailure> {
        if let Some(now) = self.own_clock() {
            return Ok(now);
        }
        let answer = self.link().read_near(&cmd("TIME"), &self.keys().meta()).await?;
        let (seconds, micros): (i64, i64) =
            redis::FromRedisValue::from_redis_value(answer).map_err(|_| shape("the time"))?;
        Ok(seconds * 1_000_000 + micros)
    }

    /// What is known of the partition.
    pub(crate) async fn known(&self) -> Result<Known, StorageFailure> {
        Ok(*self.lock())
    }

    /// The log epoch, as far as it is known.
    pub(crate) fn known_epoch(&self) -> u64 {
        self.lock().epoch
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is known now. A new log epoch means that the server came back, or another took its place.
    fn note(&self, now: Known) {
        let before = std::mem::replace(&mut *self.lock(), now);
        if now.epoch > before.epoch && self.inner.shared.writes {
            self.inner.shared.tidying.begin(self.link().clone());
        }
    }

    /// Notes what a function answered of the partition: head, level, split and epoch.
    pub(crate) fn learn_moved(&self, rest: &[Value]) -> Result<(), StorageFailure> {
        let [Value::Int(head), Value::Int(level), Value::Int(split), Value::Int(epoch), ..] = rest else {
            return Err(shape("where the log is"));
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

    /// Tells trims that something is held that was not before.
    pub(crate) async fn tell_of_hold(&self) -> Result<(), StorageFailure> {
        let meta = self.keys().meta();
        let mut write = Write::new();
        write.command("HINCRBY", &meta, ("holds", 1));
        write.run(self.link(), &meta).await.map(drop)
    }

    /// The state as it is now, one round trip.
    pub(crate) async fn state(&self) -> Result<State, StorageFailure> {
        let state = crate::namespace::load(self.link(), self.keys()).await?;
        let state = state.ok_or_else(|| StorageFailure::Foreign("the namespace is gone".to_owned()))?;
        self.learn(&state)?;
        Ok(state)
    }

    /// The state as far as it is known, without asking: the log has come at least so far.
    pub(crate) fn known_state(&self) -> State {
        let head = self.lock().head;
        let last = self.inner.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        State { head: last.head.max(head), ..last }
    }

    /// Notes a state that was read.
    pub(crate) fn learn(&self, state: &State) -> Result<(), StorageFailure> {
        if state.store != self.inner.store {
            return Err(StorageFailure::Foreign(
                "the namespace was deleted and made anew meanwhile".to_owned(),
            ));
        }
        self.note(Known { head: state.head, epoch: state.epoch, level: state.level, split: state.split });
        if self.inner.of > 1 {
            *self.inner.last.lock().unwrap_or_else(PoisonError::into_inner) = state.clone();
        }
        let average = (state.bytes / state.events.max(1)).max(u64::from(state.events > 0));
        self.inner.average_bytes.store(average, Ordering::Relaxed);
        Ok(())
    }
}
