//! The store: its partitions as one, by routing and merging.
//!
//! # Constraints
//! A function of the server works on the keys of one slot, so nothing that must happen in one step may need two partitions.
//! Readers want one order, writers want to know no partitions, and of one partition all of this must cost nothing.
//!
//! # Design
//! A [`Partition`] is a whole store by itself, with a log, a dictionary, groups, dead letters and a schedule of its own, and
//! numbers of its own: its positions are all of partition 0, a group has its P-th of the segments there, and cursors have
//! one sequence. Here they get the numbers that the world knows: sequence `s` of partition `p` is the position `p:s`, and
//! segment `j` of a group there is segment `p + P·j`. With one partition the numbers are the same, and calls are passed on.
//!
//! An event lies in the partition that its ordering key falls to. Pages are merged by when events were stored, which never
//! falls within a partition, then by partition: an order that does not depend on who reads, nor in which steps.
//!
//! Checkpoints, schemas, counters and the records of replays stand in partition 0. What must be in every partition, as
//! groups, is made from the last to the first and removed from the first to the last, so that partition 0 says what there is.

mod append;
mod checkpoints;
mod dead_letters;
mod events;
mod groups;
mod making;
mod read;
mod replays;
mod schedule;
mod schemas;
mod stats;

use std::sync::Arc;

use domain::{
    Cursor, Position, StorageFailure, StoreId,
    group::partition_of,
    ports::{EventStoreError, GroupStoreError, Keeps, ScheduleStoreError},
};
use futures_util::future::{join_all, try_join_all};

use crate::{
    checks,
    keys::Keys,
    link::Link,
    namespace::{self, Found},
    options::RedisOptions,
    partition::{Partition, Shared},
    state::State,
    wake::Bell,
};

/// A store on Redis. Clones are handles on the same connections.
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Shared,
    bell: Bell,
    first: Partition,
    partitions: Vec<Partition>,
    store: StoreId,
    keeps: Keeps,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore")
            .field("namespace", &self.options().namespace)
            .field("partitions", &self.partitions().len())
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Opens a store, making the namespace where it is absent.
    ///
    /// # Errors
    /// When the server cannot be reached or must not be used as it is set up, or when the namespace is of another layout.
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
        let store = Self::with(options, link, &found, true)?;
        // Whoever noticed that the server came back may have gone since.
        if found.iter().any(|(_, state)| state.epoch > 1) {
            store.inner.shared.tidying.begin(store.link().clone());
        }
        Ok(store)
    }

    /// Opens a store that must be there.
    ///
    /// # Errors
    /// As [`RedisStore::create`], and when there is no such namespace.
    pub async fn open(options: RedisOptions) -> Result<Self, StorageFailure> {
        let link = Self::way(&options)?;
        let found = namespace::find(&link, &options.namespace).await?.ok_or_else(|| {
            StorageFailure::Unavailable(format!(
                "there is no namespace {:?} on this Redis server; `event-replay init` makes one",
                options.namespace
            ))
        })?;
        Self::with(options, link, &found, false)
    }

    /// The way to the server of a namespace. Nothing is sent yet.
    pub(crate) fn way(options: &RedisOptions) -> Result<Link, StorageFailure> {
        Keys::check_namespace(&options.namespace)?;
        Link::new(options, &namespace::root(&options.namespace).meta())
    }

    fn with(options: RedisOptions, link: Link, found: &Found, writes: bool) -> Result<Self, StorageFailure> {
        let bells = found.iter().map(|(keys, _)| keys.bell()).collect();
        let bell = Bell::new(link.clone(), bells);
        let (options, link) = (Arc::new(options), Arc::new(link));
        let shared = Shared { options, link, tidying: Arc::default(), writes };
        let partitions: Vec<Partition> = (0u16..)
            .zip(found)
            .map(|(number, (keys, state))| Partition::new(shared.clone(), keys.clone(), number, state))
            .collect();
        let (Some(first), Some((_, state))) = (partitions.first().cloned(), found.first()) else {
            return Err(StorageFailure::Corrupt("the namespace has no partition".to_owned()));
        };
        let inner = Inner { shared, bell, first, partitions, store: state.store, keeps: state.keeps };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Ends the connections. What was answered is stored whether or not this is called.
    pub async fn close(self) {
        self.bell().close().await;
        self.inner.shared.tidying.close().await;
    }

    /// How many partitions the namespace has.
    pub fn partition_count(&self) -> u16 {
        self.inner.partitions.len() as u16
    }

    pub(crate) fn link(&self) -> &Link {
        &self.inner.shared.link
    }

    pub(crate) fn options(&self) -> &RedisOptions {
        &self.inner.shared.options
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.inner.bell
    }

    /// The partitions, in order.
    pub(crate) fn partitions(&self) -> &[Partition] {
        &self.inner.partitions
    }

    /// Partition 0, which has what there is once.
    pub(crate) fn first(&self) -> &Partition {
        &self.inner.first
    }

    /// Every partition but the first.
    fn others(&self) -> impl DoubleEndedIterator<Item = &Partition> {
        self.partitions().iter().skip(1)
    }

    /// The partition, where it is the only one: whatever is asked of the store is asked of it.
    fn only(&self) -> Option<&Partition> {
        (self.inner.partitions.len() == 1).then_some(&self.inner.first)
    }

    /// The partition that an event lies in.
    fn partition_of(&self, event: &domain::Event) -> usize {
        usize::from(partition_of(&event.ordering_key(), self.partition_count()))
    }

    /// Every partition's state as it is now: one round trip.
    pub(crate) async fn states(&self) -> Result<Vec<State>, StorageFailure> {
        match self.only() {
            Some(only) => Ok(vec![only.state().await?]),
            None => try_join_all(self.partitions().iter().map(Partition::state)).await,
        }
    }

    /// The same for whoever waits for news: of a partition that cannot be reached, the state as it was known last.
    pub(crate) async fn reached_states(&self) -> Result<Vec<State>, StorageFailure> {
        if self.only().is_some() {
            return self.states().await;
        }
        let states = reached(join_all(self.partitions().iter().map(Partition::state)).await)?;
        let parts = self.partitions().iter().zip(states);
        Ok(parts.map(|(partition, state)| state.unwrap_or_else(|| partition.known_state())).collect())
    }

    /// The newest positions.
    pub(crate) fn head_of(&self, states: &[State]) -> Cursor {
        let heads = states.iter().map(|state| state.head).collect();
        Cursor::new(self.inner.store, epoch_of(states.iter().map(|state| state.epoch)), heads)
    }

    /// Whether some partition's log goes on behind a cursor.
    pub(crate) fn is_past(&self, states: &[State], cursor: &Cursor) -> Result<bool, EventStoreError> {
        self.check(states, cursor)?;
        Ok(states.iter().zip(&cursor.sequences).any(|(state, sequence)| state.head > *sequence))
    }

    /// Refuses a cursor of another store, or of a place that the log does not have.
    fn check(&self, states: &[State], cursor: &Cursor) -> Result<(), EventStoreError> {
        let epoch = epoch_of(states.iter().map(|state| state.epoch));
        if cursor.store == self.inner.store && cursor.epoch > epoch {
            return Err(EventStoreError::LostCursor(format!(
                "it is of log epoch {}, this log is in epoch {epoch}",
                cursor.epoch
            )));
        }
        for (state, local) in states.iter().zip(self.divide(cursor)?) {
            state.sequence_of(&local)?;
        }
        Ok(())
    }

    /// The sequences of a cursor, which must be of this log.
    pub(crate) fn sequences_of(
        &self,
        states: &[State],
        cursor: &Cursor,
    ) -> Result<Vec<u64>, EventStoreError> {
        self.check(states, cursor)?;
        Ok(cursor.sequences.clone())
    }

    /// Tells trims of every partition but the first that something is held which was not before: what they have decided
    /// on, not knowing of it, they do not do. The first is told in the step that begins to hold.
    pub(crate) async fn tell_of_hold(&self) -> Result<(), StorageFailure> {
        try_join_all(self.others().map(Partition::tell_of_hold)).await.map(drop)
    }

    pub(crate) fn keeps(&self) -> Keeps {
        self.inner.keeps
    }

    /// A cursor as each partition knows it.
    pub(crate) fn divide(&self, cursor: &Cursor) -> Result<Vec<Cursor>, EventStoreError> {
        if cursor.store != self.inner.store {
            return Err(EventStoreError::ForeignCursor { cursor: cursor.store, store: self.inner.store });
        }
        let (has, partitions) = (cursor.sequences.len(), self.partitions().len());
        if has != partitions {
            let lost = format!("it has {has} partitions, not {partitions}");
            return Err(EventStoreError::LostCursor(lost));
        }
        Ok(cursor.sequences.iter().map(|sequence| self.local(*sequence)).collect())
    }

    /// A place in a partition as that knows it. Whether it was lost is told by the sequence, whatever the epoch: the first.
    fn local(&self, sequence: u64) -> Cursor {
        Cursor::new(self.inner.store, 1, vec![sequence])
    }
}

/// The log epoch of all partitions together: it rises whenever one of theirs does.
fn epoch_of(epochs: impl Iterator<Item = u64>) -> u64 {
    1 + epochs.map(|epoch| epoch.saturating_sub(1)).sum::<u64>()
}

/// A position of a partition as the world knows it.
fn outward(position: &mut Position, partition: usize) {
    position.partition = partition as u16;
}

/// What the partitions answered that could be reached: none for one that could not. A partition that is out of reach is no
/// reason for the others to stand still.
///
/// # Errors
/// Where none could be reached, and any other failure.
fn reached<T, E>(answers: Vec<Result<T, E>>) -> Result<Vec<Option<T>>, E>
where
    E: Unreached,
{
    if answers.iter().all(|answer| answer.as_ref().is_err_and(E::is_unreached)) {
        return answers.into_iter().map(|answer| answer.map(Some)).collect();
    }
    let reached = |answer: Result<T, E>| match answer {
        Err(error) if error.is_unreached() => Ok(None),
        answer => answer.map(Some),
    };
    answers.into_iter().map(reached).collect()
}

/// Errors that say of a partition whether it could not be reached.
trait Unreached {
    fn is_unreached(&self) -> bool;
}

impl Unreached for StorageFailure {
    fn is_unreached(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl Unreached for GroupStoreError {
    fn is_unreached(&self) -> bool {
        matches!(self, Self::Storage(failure) if failure.is_unreached())
    }
}

impl Unreached for ScheduleStoreError {
    fn is_unreached(&self) -> bool {
        matches!(self, Self::Storage(failure) if failure.is_unreached())
    }
}

/// A failure of one partition while others did what they were asked for.
fn in_part(failure: StorageFailure, partition: u16) -> StorageFailure {
    match failure {
        // Either says all there is to know, of whichever part.
        StorageFailure::Unknown(_) | StorageFailure::TooFewCopies { .. } => failure,
        failure => {
            StorageFailure::Unknown(format!("partition {partition}: {failure}; other partitions did it"))
        }
    }
}
