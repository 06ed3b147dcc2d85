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

/// A store over an engine. Clones are handles on the same one.
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
    /// The state of each partition as it was read last.
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
    /// A store over an engine of its own.
    pub fn new(engine: impl StorageEngine) -> Self {
        Self::over(Arc::new(engine))
    }

    /// A store over an engine that others may have as well.
    pub fn over(engine: Arc<dyn StorageEngine>) -> Self {
        let known = vec![None; usize::from(engine.info().partitions)];
        let inner = Inner { engine, known: Mutex::new(known), remembered: Remembered::default() };
        Self { inner: Arc::new(inner) }
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<dyn StorageEngine> {
        &self.inner.engine
    }

    /// How many partitions the store has.
    pub fn partition_count(&self) -> u16 {
        self.info().partitions
    }

    pub(crate) fn info(&self) -> &EngineInfo {
        self.inner.engine.info()
    }

    pub(crate) fn keeps(&self) -> RetentionMode {
        self.info().keeps
    }

    /// What this handle remembers of groups.
    pub(crate) fn remembered(&self) -> &Remembered {
        &self.inner.remembered
    }

    pub(crate) fn partition(&self, number: u16) -> Partition<'_> {
        Partition::new(&*self.inner.engine, number)
    }

    /// The partitions, in order.
    pub(crate) fn partitions(&self) -> impl DoubleEndedIterator<Item = Partition<'_>> {
        (0..self.partition_count()).map(|number| self.partition(number))
    }

    /// Partition 0, which has what there is once.
    pub(crate) fn first(&self) -> Partition<'_> {
        self.partition(0)
    }

    /// Every partition but the first.
    pub(crate) fn others(&self) -> impl DoubleEndedIterator<Item = Partition<'_>> {
        (1..self.partition_count()).map(|number| self.partition(number))
    }

    /// What every partition answers to the same question, in order.
    pub(crate) async fn in_all<'s, T, F>(
        &'s self,
        ask: impl FnMut(Partition<'s>) -> F,
    ) -> Result<Vec<T>, StorageFailure>
    where
        F: Future<Output = Result<T, StorageFailure>>,
    {
        try_join_all(self.partitions().map(ask)).await
    }

    /// Whether there is one partition.
    pub(crate) fn is_single(&self) -> bool {
        self.partition_count() == 1
    }

    /// The partition that an event lies in.
    pub(crate) fn partition_of(&self, event: &Event) -> u16 {
        partition_of(&event.ordering_key(), self.partition_count())
    }

    /// The partition that a segment of a group lies in.
    pub(crate) fn partition_of_segment(&self, segment: u16) -> u16 {
        segment % self.partition_count()
    }

    fn known(&self) -> MutexGuard<'_, Vec<Option<PartitionState>>> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a state that was read.
    pub(crate) fn learn(&self, partition: u16, state: &PartitionState) {
        if let Some(known) = self.known().get_mut(usize::from(partition)) {
            *known = Some(state.clone());
        }
    }

    /// The log epoch of a partition as it was read last; the first one where it was not read yet.
    pub(crate) fn known_epoch(&self, partition: u16) -> u64 {
        self.known().get(usize::from(partition)).and_then(Option::as_ref).map_or(1, |state| state.epoch)
    }

    /// Every partition as it is now.
    pub(crate) async fn states(&self) -> Result<Vec<PartitionState>, StorageFailure> {
        let states = self.in_all(Partition::state).await?;
        for (number, state) in (0..).zip(&states) {
            self.learn(number, state);
        }
        Ok(states)
    }

    /// The same for a caller that waits for news: of a partition out of reach, the state as it was read last.
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

    /// The newest positions.
    pub(crate) fn head_of(&self, states: &[PartitionState]) -> Cursor {
        self.cursor(states, states.iter().map(|state| state.head).collect())
    }

    /// The cursor at these sequences, in the log epoch of these states.
    pub(crate) fn cursor(&self, states: &[PartitionState], sequences: Vec<u64>) -> Cursor {
        Cursor::new(self.info().store, epoch_of(states.iter().map(|state| state.epoch)), sequences)
    }

    /// Refuses a cursor that cannot be of this log, whatever that holds.
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

    /// The sequences of a cursor, which must be of this log and mark nothing that it has lost.
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

    /// Refuses a log epoch that this log does not know.
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

/// Refuses a sequence that was lost, or never given.
pub(crate) fn check_sequence(
    partition: u16,
    state: &PartitionState,
    sequence: u64,
) -> Result<(), EventStoreError> {
    check_place(partition, state, sequence, true)
}

/// The same for a caller that reads on from a sequence, or up to it. A consumer whose cursor has come so far has handled what was
/// lost, and nothing is passed over, so it may: unless an operator put an older copy in place of the log.
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

/// The log epoch of all partitions together: it rises whenever one of theirs does.
pub(crate) fn epoch_of(epochs: impl Iterator<Item = u64>) -> u64 {
    epochs.fold(1, |all, epoch| all.saturating_add(epoch.saturating_sub(1)))
}
