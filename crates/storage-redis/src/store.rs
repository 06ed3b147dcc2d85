//! The store: a handle on a namespace, what it remembers of the partition, and the port of the log.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    Cursor, Entity, Event, Filter, Position, StorageFailure, StoreId, StoredEvent,
    ports::{
        AppendOutcome, Atomicity, Erased, EventStore, EventStoreError, Keeps, Page, ReadRequest, StoreInfo,
        TrimRequest, Trimmed, VerifyReport, event_store::Progress,
    },
};
use redis::{Value, cmd};

use crate::{
    append::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS},
    compress::Compression,
    count, erase,
    failure::shape,
    hints::Hints,
    keys::Keys,
    link::Link,
    near::Finding,
    occupied,
    options::RedisOptions,
    read, retention,
    state::{LAYOUT, LEVEL, State, micros},
    verify,
    wake::Bell,
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

/// A store on Redis. Clones are handles on the same connection.
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

struct Inner {
    options: RedisOptions,
    link: Link,
    keys: Keys,
    store: StoreId,
    keeps: Keeps,
    compression: Compression,
    known: Mutex<Known>,
    hints: Hints,
    finding: Finding,
    average_bytes: AtomicU64,
    is_sparse: AtomicBool,
    bell: Bell,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("namespace", &self.inner.options.namespace).finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Opens a store, making the namespace where it is absent.
    ///
    /// # Errors
    /// When the server cannot be reached or must not be used as it is set up, or when the namespace is of another layout.
    pub async fn create(options: RedisOptions) -> Result<Self, StorageFailure> {
        let (link, keys) = way(&options)?;
        crate::checks::before_use(&link, &keys).await?;
        let state = match load(&link, &keys).await? {
            Some(state) => state,
            None => {
                crate::checks::before_making(&link, &keys).await?;
                make(&link, &keys, &options).await?;
                let made = load(&link, &keys).await?;
                made.ok_or_else(|| StorageFailure::Corrupt("the namespace that was made is gone".to_owned()))?
            }
        };
        Ok(Self::with(options, link, keys, &state))
    }

    /// Opens a store that must be there.
    ///
    /// # Errors
    /// As [`RedisStore::create`], and when there is no such namespace.
    pub async fn open(options: RedisOptions) -> Result<Self, StorageFailure> {
        let (link, keys) = way(&options)?;
        let state = load(&link, &keys).await?.ok_or_else(|| {
            StorageFailure::Unavailable(format!(
                "there is no namespace {:?} on this Redis server; `event-replay init` makes one",
                options.namespace
            ))
        })?;
        Ok(Self::with(options, link, keys, &state))
    }

    fn with(options: RedisOptions, link: Link, keys: Keys, state: &State) -> Self {
        let known = Known { head: state.head, epoch: state.epoch, level: state.level, split: state.split };
        let bell = Bell::new(link.clone(), keys.bell());
        let inner = Inner {
            options,
            link,
            keys,
            store: state.store,
            keeps: state.keeps,
            compression: Compression::new(state.compression),
            known: Mutex::new(known),
            hints: Hints::default(),
            finding: Finding::default(),
            average_bytes: AtomicU64::new(0),
            is_sparse: AtomicBool::new(false),
            bell,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Ends the connections. What was answered is stored whether or not this is called.
    pub async fn close(self) {
        self.inner.bell.close().await;
    }

    pub(crate) fn link(&self) -> &Link {
        &self.inner.link
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    pub(crate) fn options(&self) -> &RedisOptions {
        &self.inner.options
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.inner.bell
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
        self.inner.options.clock.as_ref().map(|clock| micros(clock.now()))
    }

    /// The present instant in microseconds by the store's clock: one round trip where that is the server's.
    pub(crate) async fn now(&self) -> Result<i64, StorageFailure> {
        if let Some(now) = self.own_clock() {
            return Ok(now);
        }
        let answer = self.link().read(&cmd("TIME")).await?;
        let (seconds, micros): (i64, i64) =
            redis::FromRedisValue::from_redis_value(answer).map_err(|_| shape("the time"))?;
        Ok(seconds * 1_000_000 + micros)
    }

    /// What is known of the partition.
    pub(crate) async fn known(&self) -> Result<Known, StorageFailure> {
        Ok(*self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a function answered of the partition: head, level, split and epoch.
    pub(crate) fn learn_moved(&self, rest: &[Value]) -> Result<(), StorageFailure> {
        let [Value::Int(head), Value::Int(level), Value::Int(split), Value::Int(epoch), ..] = rest else {
            return Err(shape("where the log is"));
        };
        *self.lock() =
            Known { head: *head as u64, level: *level as u32, split: *split as u32, epoch: *epoch as u64 };
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

    /// The state as it is now, one round trip.
    pub(crate) async fn state(&self) -> Result<State, StorageFailure> {
        let state = load(self.link(), self.keys()).await?;
        let state = state.ok_or_else(|| StorageFailure::Foreign("the namespace is gone".to_owned()))?;
        self.learn(&state)?;
        Ok(state)
    }

    /// Notes a state that was read.
    pub(crate) fn learn(&self, state: &State) -> Result<(), StorageFailure> {
        if state.store != self.inner.store {
            return Err(StorageFailure::Foreign(
                "the namespace was deleted and made anew meanwhile".to_owned(),
            ));
        }
        *self.lock() = Known { head: state.head, epoch: state.epoch, level: state.level, split: state.split };
        let average = (state.bytes / state.events.max(1)).max(u64::from(state.events > 0));
        self.inner.average_bytes.store(average, Ordering::Relaxed);
        Ok(())
    }
}

/// The way to a namespace. Nothing is sent yet.
pub(crate) fn way(options: &RedisOptions) -> Result<(Link, Keys), StorageFailure> {
    Keys::check_namespace(&options.namespace)?;
    let keys = Keys::new(&options.namespace, crate::state::PARTITION);
    Ok((Link::new(options, &keys.meta())?, keys))
}

/// The state of the namespace; none where there is none.
pub(crate) async fn load(link: &Link, keys: &Keys) -> Result<Option<State>, StorageFailure> {
    let mut command = cmd("HGETALL");
    command.arg(keys.meta());
    match link.read(&command).await {
        // Its own type says that the key is not ours.
        Err(StorageFailure::Corrupt(text)) if text.contains("WRONGTYPE") => Err(StorageFailure::Foreign(
            format!("the key {} on this server is another program's: name another namespace", keys.meta()),
        )),
        answer => State::read(answer?),
    }
}

/// Makes the namespace. Where another was quicker, that one's stays.
async fn make(link: &Link, keys: &Keys, options: &RedisOptions) -> Result<(), StorageFailure> {
    let meta = keys.meta();
    let keeps = match options.keeps {
        Keeps::History => "history",
        Keeps::Deliveries => "deliveries",
    };
    let mut write = Write::new();
    write.if_none(&meta);
    let fields: [(&str, String); 13] = [
        ("layout", LAYOUT.to_owned()),
        ("store", format!("{:016x}", fastrand::u64(1..))),
        ("keeps", keeps.to_owned()),
        ("compression", if options.compression { "zstd" } else { "none" }.to_owned()),
        ("partitions", crate::state::PARTITIONS.to_string()),
        ("head", "0".to_owned()),
        ("epoch", "1".to_owned()),
        ("level", LEVEL.to_string()),
        ("split", "0".to_owned()),
        ("stored", "0".to_owned()),
        ("events", "0".to_owned()),
        ("bytes", "0".to_owned()),
        ("fields", "0".to_owned()),
    ];
    write.command("HSET", &meta, &fields[..]);
    write.run(link, &meta).await.map(|_| ())
}

#[async_trait]
impl EventStore for RedisStore {
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        let bytes: usize = batch.iter().map(Event::size_bytes).sum();
        if batch.len() > MAX_BATCH_EVENTS || (bytes > MAX_BATCH_BYTES && batch.len() > 1) {
            return Err(EventStoreError::BatchTooLarge {
                max_events: MAX_BATCH_EVENTS,
                max_bytes: MAX_BATCH_BYTES,
            });
        }
        match self.append_batch(batch, atomicity, None).await? {
            Ok(outcomes) => Ok(outcomes),
            // Nothing went with it that could be refused.
            Err(_) => Err(shape("an append").into()),
        }
    }

    async fn read(&self, request: &ReadRequest) -> Result<Page, EventStoreError> {
        read::page(self, request).await
    }

    async fn get(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
        read::by_ids(self, ids).await
    }

    async fn at(&self, positions: &[Position]) -> Result<Page, EventStoreError> {
        read::at(self, positions).await
    }

    async fn count(&self, filter: &Arc<Filter>, until: Option<&Cursor>) -> Result<u64, EventStoreError> {
        count::count(self, filter, until).await
    }

    async fn head(&self) -> Result<Cursor, EventStoreError> {
        let state = self.state().await?;
        Ok(state.cursor(state.head))
    }

    async fn changed(&self, after: &Cursor, timeout: Duration) -> Result<Cursor, EventStoreError> {
        self.wait_for_change(after, timeout).await
    }

    async fn trim(&self, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
        retention::trim(self, request).await
    }

    async fn erase(&self, entity: &Entity) -> Result<Erased, EventStoreError> {
        erase::erase(self, entity).await
    }

    async fn verify(&self, progress: Option<Progress>) -> Result<VerifyReport, EventStoreError> {
        verify::verify(self, progress).await
    }

    async fn info(&self) -> Result<StoreInfo, EventStoreError> {
        let state = self.state().await?;
        let bytes_occupied = occupied::bytes(self, &state).await?;
        Ok(StoreInfo {
            id: state.store,
            namespace: self.options().namespace.clone(),
            keeps: state.keeps,
            head: state.cursor(state.head),
            events: state.events,
            bytes: state.bytes,
            bytes_occupied,
            trimmed_through: vec![state.trimmed],
        })
    }
}
