//! The engine: the partitions of a namespace, and the selection of the partition for a call.
//!
//! A function of the server works on the keys of one slot. So a [`Partition`] is a separate log, with a separate
//! dictionary and separate rows.

pub(crate) mod commit;
pub(crate) mod keys;
pub(crate) mod last_known;
pub(crate) mod notifier;
pub(crate) mod partition;
pub(crate) mod program;
pub(crate) mod rows;
pub(crate) mod state;
pub(crate) mod tags;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Event, Filter, StorageFailure,
    ports::{
        engine::{
            Appended, Checked, EngineInfo, EngineLimits, Entry, IdState, Outcome, PartitionState, Read,
            Removal, Removed, Scan, ScanPage, Snapshot, StorageEngine, Transaction,
        },
        event_store::{Atomicity, VerifyReport},
    },
};
use futures_util::future::try_join_all;

use crate::{
    client::link::Link,
    engine::{
        keys::{CHUNK, Keys},
        notifier::AppendNotifier,
        partition::{Partition, Shared},
    },
    index::{count, fold, lookup::Dictionary},
    log::{
        append::{self, MAX_BATCH_BYTES, MAX_BATCH_EVENTS},
        remove, scan, scrub,
    },
    options::RedisOptions,
    server::{
        checks,
        namespace::{self, Found},
        occupied,
    },
    verify,
};

/// A storage engine on Redis. Clones share the same connections.
#[derive(Clone)]
pub struct RedisEngine {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Shared,
    bell: AppendNotifier,
    partitions: Vec<Partition>,
    info: EngineInfo,
}

impl std::fmt::Debug for RedisEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisEngine")
            .field("namespace", &self.options().namespace)
            .field("partitions", &self.partitions().len())
            .finish_non_exhaustive()
    }
}

impl RedisEngine {
    /// Opens a store. Makes the namespace if it does not exist.
    ///
    /// # Errors
    /// Returns an error when the server cannot be reached, when its settings forbid writes, or when the namespace has
    /// another layout.
    pub async fn create(options: RedisOptions) -> Result<Self, StorageFailure> {
        let link = Self::way(&options)?;
        checks::before_use(&link, &namespace::root(&options.namespace), &options).await?;
        let found = match namespace::find(&link, &options.namespace).await? {
            Some(found) => found,
            None => {
                namespace::make(&link, &options).await?;
                let made = namespace::find(&link, &options.namespace).await?;
                made.ok_or_else(|| StorageFailure::Corrupt("the namespace that was made is gone".to_owned()))?
            }
        };
        Self::with(options, link, &found)
    }

    /// Opens a store that must exist.
    ///
    /// # Errors
    /// Returns the errors of [`RedisEngine::create`], and an error when the namespace does not exist.
    pub async fn open(options: RedisOptions) -> Result<Self, StorageFailure> {
        let link = Self::way(&options)?;
        let found = namespace::find(&link, &options.namespace).await?.ok_or_else(|| {
            StorageFailure::Unavailable(format!(
                "there is no namespace {:?} on this Redis server; `event-replay init` makes one",
                options.namespace
            ))
        })?;
        Self::with(options, link, &found)
    }

    /// Returns the link to the server of a namespace. Sends nothing yet.
    pub(crate) fn way(options: &RedisOptions) -> Result<Link, StorageFailure> {
        Keys::check_namespace(&options.namespace)?;
        Link::new(options, &namespace::root(&options.namespace).meta())
    }

    fn with(options: RedisOptions, link: Link, found: &Found) -> Result<Self, StorageFailure> {
        let Some((_, state)) = found.first() else {
            return Err(StorageFailure::Corrupt("the namespace has no partition".to_owned()));
        };
        let info = EngineInfo {
            store: state.store,
            namespace: options.namespace.clone(),
            keeps: state.keeps,
            partitions: found.len() as u16,
            limits: EngineLimits {
                append_events: MAX_BATCH_EVENTS,
                append_bytes: MAX_BATCH_BYTES,
                removal_events: remove::AT_ONCE,
                removal_stretch: CHUNK,
            },
        };
        let bell = AppendNotifier::new(link.clone(), found.iter().map(|(keys, _)| keys.bell()).collect());
        let (options, link) = (Arc::new(options), Arc::new(link));
        let shared = Shared { options, link };
        let partitions = (0u16..)
            .zip(found)
            .map(|(number, (keys, state))| Partition::new(shared.clone(), keys.clone(), number, state))
            .collect();
        Ok(Self { inner: Arc::new(Inner { shared, bell, partitions, info }) })
    }

    /// Closes the connections. Answered writes are stored, whether or not this is called.
    pub async fn close(self) {
        self.inner.bell.close().await;
        for partition in self.partitions() {
            partition.close().await;
        }
    }

    /// Folds the pending terms of the newest events into the index now. Appends do this by themselves after many
    /// events. Reads give the same results before and after.
    ///
    /// # Errors
    /// Returns an error when the server fails, or when keys of the index are damaged.
    pub async fn fold(&self) -> Result<(), StorageFailure> {
        try_join_all(self.partitions().iter().map(fold::all)).await.map(drop)
    }

    /// Returns the number of partitions of the namespace.
    pub fn partition_count(&self) -> u16 {
        self.inner.info.partitions
    }

    pub(crate) fn link(&self) -> &Link {
        &self.inner.shared.link
    }

    pub(crate) fn options(&self) -> &RedisOptions {
        &self.inner.shared.options
    }

    /// Returns the partitions, in order.
    pub(crate) fn partitions(&self) -> &[Partition] {
        &self.inner.partitions
    }

    fn partition(&self, number: u16) -> Result<&Partition, StorageFailure> {
        self.partitions().get(usize::from(number)).ok_or_else(|| {
            StorageFailure::Other(format!(
                "there is no partition {number}: the namespace has {}",
                self.partition_count()
            ))
        })
    }
}

#[async_trait]
impl StorageEngine for RedisEngine {
    fn info(&self) -> &EngineInfo {
        &self.inner.info
    }

    async fn state(&self, partition: u16) -> Result<PartitionState, StorageFailure> {
        let (state, now) = self.partition(partition)?.state_and_time().await?;
        Ok(state.told(now))
    }

    async fn changed(&self, heads: &[u64], timeout: Duration) -> Result<(), StorageFailure> {
        notifier::wait(&self.inner.bell, self.partitions(), heads, timeout).await
    }

    async fn append(
        &self,
        partition: u16,
        batch: &[Event],
        atomicity: Atomicity,
        with: &Transaction,
    ) -> Result<Appended, StorageFailure> {
        append::append(self.partition(partition)?, batch, atomicity, with).await
    }

    async fn remove(&self, partition: u16, removal: &Removal<'_>) -> Result<Removed, StorageFailure> {
        remove::remove(self.partition(partition)?, removal).await
    }

    async fn scan(&self, partition: u16, request: &Scan<'_>) -> Result<ScanPage, StorageFailure> {
        scan::page(self.partition(partition)?, request).await
    }

    async fn at(&self, partition: u16, sequences: &[u64]) -> Result<Vec<Option<Entry>>, StorageFailure> {
        self.partition(partition)?.at(sequences).await
    }

    async fn locate(&self, partition: u16, ids: &[&str]) -> Result<Vec<Option<IdState>>, StorageFailure> {
        Dictionary::of(self.partition(partition)?).locate(ids).await
    }

    async fn count(&self, partition: u16, filter: &Arc<Filter>, until: u64) -> Result<u64, StorageFailure> {
        Box::pin(count::count(self.partition(partition)?, filter, until)).await
    }

    async fn verify(&self, partition: u16, checked: Checked<'_>) -> Result<VerifyReport, StorageFailure> {
        verify::verify(self.partition(partition)?, checked).await
    }

    async fn scrub(&self, partition: u16, erased: bool) -> Result<Vec<String>, StorageFailure> {
        scrub::scrub(self.partition(partition)?, erased).await
    }

    async fn occupied(&self) -> Result<Option<u64>, StorageFailure> {
        let bytes = try_join_all(self.partitions().iter().map(occupied::bytes)).await?;
        Ok(bytes.into_iter().sum())
    }

    async fn get(&self, partition: u16, reads: &[Read]) -> Result<Snapshot, StorageFailure> {
        rows::get(self.partition(partition)?, reads).await
    }

    async fn commit(
        &self,
        partition: u16,
        transactions: &[Transaction],
    ) -> Result<Vec<Outcome>, StorageFailure> {
        commit::commit(self.partition(partition)?, transactions).await
    }
}
