//! The handle on a store: its engine, its partitions, and the cursors of its log.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{
    Cursor, Event, StorageFailure,
    group::partition_of,
    ports::{
        EventStoreError, RetentionMode, StorageEngine,
        engine::{EngineInfo, PartitionState},
    },
};
use futures_util::future::{join_all, try_join_all};

use crate::{groups::Remembered, partition::Partition, reached::reached};

/// A store over an engine. Clones are handles on the same store.
///
/// ```
/// use domain::{Document, Limits, ports::{Atomicity, EventStore}};
/// use storage_memory::MemoryEngine;
/// use event_replay_store::Store;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let json = br#"{"id":"e1","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{}}"#;
/// let event = Document::parse(json, &Limits::default()).unwrap().into_event().unwrap();
/// let store = Store::new(MemoryEngine::default());
/// store.append(&[event], Atomicity::Each).await.unwrap();
/// assert_eq!(store.get(&["e1".to_owned()]).await.unwrap().len(), 1);
/// # });
/// ```
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<dyn StorageEngine>,
    /// The state of each partition from the newest read.
    known: Mutex<Vec<Option<PartitionState>>>,
    remembered: Remembered,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("namespace", &self.info().namespace)
            .field("partitions", &self.info().partitions)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Creates a store that owns its engine.
    pub fn new(engine: impl StorageEngine) -> Self {
        Self::over(Arc::new(engine))
    }

    /// Creates a store over an engine that other handles may share.
    pub fn over(engine: Arc<dyn StorageEngine>) -> Self {
        let known = vec![None; usize::from(engine.info().partitions)];
        let inner = Inner { engine, known: Mutex::new(known), remembered: Remembered::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the engine.
    pub fn engine(&self) -> &Arc<dyn StorageEngine> {
        &self.inner.engine
    }

    /// Returns the number of partitions of the store.
    pub fn partition_count(&self) -> u16 {
        self.info().partitions
    }

    pub(crate) fn info(&self) -> &EngineInfo {
        self.inner.engine.info()
    }

    pub(crate) fn keeps(&self) -> RetentionMode {
        self.info().keeps
    }

    /// Returns the group definitions that this handle caches.
    pub(crate) fn remembered(&self) -> &Remembered {
        &self.inner.remembered
    }

    pub(crate) fn partition(&self, number: u16) -> Partition<'_> {
        Partition::new(&*self.inner.engine, number)
    }

    /// Returns the partitions in ascending order.
    pub(crate) fn partitions(&self) -> impl DoubleEndedIterator<Item = Partition<'_>> {
        (0..self.partition_count()).map(|number| self.partition(number))
    }

    /// Returns partition 0, which holds everything that the store has only once.
    pub(crate) fn first(&self) -> Partition<'_> {
        self.partition(0)
    }

    /// Returns every partition except partition 0.
    pub(crate) fn others(&self) -> impl DoubleEndedIterator<Item = Partition<'_>> {
        (1..self.partition_count()).map(|number| self.partition(number))
    }

    /// Sends the same request to every partition at once, and returns the answers in the order of the partitions.
    pub(crate) async fn in_all<'s, T, F>(
        &'s self,
        ask: impl FnMut(Partition<'s>) -> F,
    ) -> Result<Vec<T>, StorageFailure>
    where
        F: Future<Output = Result<T, StorageFailure>>,
    {
        try_join_all(self.partitions().map(ask)).await
    }

    /// Returns whether the store has exactly one partition.
    pub(crate) fn is_single(&self) -> bool {
        self.partition_count() == 1
    }

    /// Returns the partition of an event.
    pub(crate) fn partition_of(&self, event: &Event) -> u16 {
        partition_of(&event.ordering_key(), self.partition_count())
    }

    /// Returns the partition of a segment of a group.
    pub(crate) fn partition_of_segment(&self, segment: u16) -> u16 {
        segment % self.partition_count()
    }

    fn known(&self) -> MutexGuard<'_, Vec<Option<PartitionState>>> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Caches the state that a read returned.
    pub(crate) fn learn(&self, partition: u16, state: &PartitionState) {
        if let Some(known) = self.known().get_mut(usize::from(partition)) {
            *known = Some(state.clone());
        }
    }

    /// Returns the cached log epoch of a partition. It is 1 for a partition that this handle has not read yet.
    pub(crate) fn known_epoch(&self, partition: u16) -> u64 {
        self.known().get(usize::from(partition)).and_then(Option::as_ref).map_or(1, |state| state.epoch)
    }

    /// Reads the current state of every partition.
    pub(crate) async fn states(&self) -> Result<Vec<PartitionState>, StorageFailure> {
        let states = self.in_all(Partition::state).await?;
        for (number, state) in (0..).zip(&states) {
            self.learn(number, state);
        }
        Ok(states)
    }

    /// Reads the current state of every partition, for a caller that waits for new events. For an unreachable partition
    /// it returns the cached state.
    pub(crate) async fn reached_states(&self) -> Result<Vec<PartitionState>, StorageFailure> {
        let answers = reached(join_all(self.partitions().map(Partition::state)).await)?;
        let mut states = Vec::with_capacity(answers.len());
        for (number, state) in (0u16..).zip(answers) {
            if let Some(state) = &state {
                self.learn(number, state);
            }
            let known = || self.known().get(usize::from(number)).cloned().flatten();
            states.push(state.or_else(known).ok_or_else(|| {
                StorageFailure::Unavailable(format!(
                    "partition {number} is out of reach, and nothing is known of it yet"
                ))
            })?);
        }
        Ok(states)
    }

    /// Returns the cursor at the newest positions.
    pub(crate) fn head_of(&self, states: &[PartitionState]) -> Cursor {
        self.cursor(states, states.iter().map(|state| state.head).collect())
    }

    /// Returns the cursor at these sequences, in the log epoch of these states.
    pub(crate) fn cursor(&self, states: &[PartitionState], sequences: Vec<u64>) -> Cursor {
        Cursor::new(self.info().store, epoch_of(states.iter().map(|state| state.epoch)), sequences)
    }

    /// Refuses a cursor of another store, or with another number of partitions. It does not look at the log.
    pub(crate) fn check_shape(&self, cursor: &Cursor) -> Result<(), EventStoreError> {
        if cursor.store != self.info().store {
            return Err(EventStoreError::ForeignCursor { cursor: cursor.store, store: self.info().store });
        }
        let (has, partitions) = (cursor.sequences.len(), usize::from(self.partition_count()));
        if has != partitions {
            return Err(lost(format!("it has {has} partitions, not {partitions}")));
        }
        Ok(())
    }

    /// Returns the sequences of a cursor. Refuses a cursor of another log, and a cursor that marks a lost position.
    pub(crate) fn sequences_of(
        &self,
        states: &[PartitionState],
        cursor: &Cursor,
    ) -> Result<Vec<u64>, EventStoreError> {
        self.check_shape(cursor)?;
        self.check_epoch(states, cursor.epoch)?;
        for ((partition, state), sequence) in (0u16..).zip(states).zip(&cursor.sequences) {
            check_sequence(partition, state, *sequence)?;
        }
        Ok(cursor.sequences.clone())
    }

    /// Refuses a log epoch that this log has never had.
    pub(crate) fn check_epoch(&self, states: &[PartitionState], epoch: u64) -> Result<(), EventStoreError> {
        let now = epoch_of(states.iter().map(|state| state.epoch));
        match states {
            [only] if only.knows_epoch(epoch) => Ok(()),
            [only] if epoch < only.epoch => {
                Err(lost("it was taken from a copy of this store with another history".to_owned()))
            }
            _ if epoch <= now => Ok(()),
            _ => Err(lost(format!("it is of log epoch {epoch}, this log is in epoch {now}"))),
        }
    }
}

/// Refuses a sequence that the log has lost, or has never given to an event.
pub(crate) fn check_sequence(
    partition: u16,
    state: &PartitionState,
    sequence: u64,
) -> Result<(), EventStoreError> {
    check_place(partition, state, sequence, true)
}

/// Refuses a sequence, as [`check_sequence`] does, for a caller that reads from the sequence or up to it.
///
/// A lost sequence is allowed after a failover. A consumer with such a cursor has already handled the lost events, and
/// the read skips no event. It is refused when an operator replaced the log by an older copy.
pub(crate) fn check_reader(
    partition: u16,
    state: &PartitionState,
    sequence: u64,
) -> Result<(), EventStoreError> {
    check_place(partition, state, sequence, false)
}

fn check_place(
    partition: u16,
    state: &PartitionState,
    sequence: u64,
    relies_on_it: bool,
) -> Result<(), EventStoreError> {
    let end = state.end_before(sequence).filter(|end| relies_on_it || end.restored);
    if let Some(end) = end {
        return Err(lost(format!(
            "it marks position {partition}:{sequence}, and log epoch {} ends at {partition}:{} here",
            end.epoch, end.last
        )));
    }
    if sequence > state.head {
        return Err(lost(format!("{sequence} is beyond {}, the end of the log", state.head)));
    }
    Ok(())
}

fn lost(why: String) -> EventStoreError {
    EventStoreError::LostCursor(why)
}

/// Returns the log epoch of all partitions together. It rises whenever the log epoch of one partition rises.
pub(crate) fn epoch_of(epochs: impl Iterator<Item = u64>) -> u64 {
    epochs.fold(1, |all, epoch| all.saturating_add(epoch.saturating_sub(1)))
}
