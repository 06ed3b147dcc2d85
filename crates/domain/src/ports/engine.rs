//! The storage engine: the only port that a storage adapter implements.
//!
//! For each partition, an engine keeps a *log* of events with its indexes, and *rows* beside the log. It knows no
//! rules of groups, leases, dead letters, replays, schedules, checkpoints or retention. The crate `store` implements
//! these rules once for all engines. It reads through this port and writes each decision as a [`Transaction`]. The
//! engine refuses a transaction if the values that the store read have changed.
//!
//! Read in this order: [`rows`] (the data beside the log), [`transaction`] (guarded writes), [`log`] (requests and
//! answers about events), [`StorageEngine`] (the laws).

pub mod log;
pub mod rows;
pub mod transaction;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

pub use log::{
    Appended, DamagedEvent, EngineInfo, EngineLimits, Entry, EpochEnd, IdState, PartitionState, Removal,
    RemovalKind, Removed, Scan, ScanPage,
};
pub use rows::{Read, ReadResult, RowId, Snapshot, Space, SpaceKind};
pub use transaction::{Durability, Guard, Outcome, Step, Transaction, Write};

use crate::{
    error::StorageFailure,
    event::Event,
    filter::Filter,
    ports::event_store::{Atomicity, VerifyReport},
};

/// Progress callback of a verification. Its argument is the number of events of a partition that are checked so far.
pub type Checked<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// Keeps the log and the rows of a store. Partitions are numbered from 0. A call concerns one partition.
///
/// Laws of the log:
/// - `append` MUST store a batch with all its index entries and perform `with` in one step, through any crash. If a
///   guard of `with` does not hold, `append` MUST change nothing and return [`Appended::Refused`]. It performs `with`
///   even if no event of the batch is new. It checks the guards of the first step of `with` before it stores the
///   batch.
/// - The outcome of each event MUST equal the outcome of [`crate::batch::Resolution`].
/// - Sequences MUST rise in commit order and MUST NOT be assigned twice, even after a server lost the end of its log.
///   After such a loss, the engine begins a log epoch, raises `generation`, and continues after every sequence that
///   may have been assigned.
/// - Stored times MUST NOT fall.
/// - `scan` MUST return exactly the matching events of the requested range ([`Filter::matches`]), each once and in
///   order, and the state of the partition. The state is of a moment not after the read of the newest event. Damaged
///   events that may match MUST be returned as damaged.
/// - `at` MUST return one entry for each sequence, in order. It is none for a sequence without an event.
/// - `locate` MUST state for each id where its event is, that it was erased, or that the id is unknown.
/// - `count` MUST equal the number of events that scans return.
/// - `changed` MUST return when the head of some partition is past the given head, also for appends of other handles,
///   or after the timeout. It may return early.
/// - `remove` MUST remove events from the log and from every index, and perform `with`, in one step. If a guard does
///   not hold, it MUST change nothing. Under [`RemovalKind::Erase`], the ids MUST be refused from then on.
/// - `verify` MUST find an event without an index entry, an index entry without its event, and damaged bytes.
/// - `scrub` MUST leave no byte of erased events in the store's own files or memory, or report where such bytes
///   remain.
///
/// Laws of rows:
/// - `get` MUST answer each read in order. The rows of one call may be of different moments, unless the engine reads
///   snapshots.
/// - Ranges MUST be returned in the byte order of their keys.
/// - `commit` MUST perform each transaction whole or not at all, in the order of the call. Each transaction sees the
///   writes of the transactions before it. `commit` MUST check guards and perform writes in one step.
/// - If a guard of the first step does not hold, the transaction MUST change nothing and return [`Outcome::Refused`].
///   If a guard of a later step does not hold, that step MUST be left out and named in [`Outcome::Done`]. The other
///   steps are performed.
/// - [`Guard::NoneNewer`] MUST NOT hold if a described event is above the sequence, or if retention has removed
///   events above it. It MUST hold if no event is above the sequence. If only other events are above it, the guard
///   holds, or an engine that cannot check the events refuses. After a refusal, the store reads these events and
///   repeats the call with a higher sequence.
/// - Guards of a step MUST see the writes of the steps before it.
/// - [`Write::Add`] MUST lose no concurrent addition.
/// - A transaction of [`Durability::Durable`] MUST survive the same failures as an append.
/// - If the outcome is unknown, the error MUST be [`StorageFailure::Unknown`], and the transaction is applied whole
///   or not at all.
/// - An unreachable partition MUST NOT delay calls to another partition.
/// - An engine MAY count events in [`SpaceKind::Tally`], as [`crate::tally`] describes. Then the counts MUST equal
///   the counts of the events up to the sequence that the rows name, and few events may be after it. Unreadable
///   events may be counted or not.
#[async_trait]
pub trait StorageEngine: Send + Sync + 'static {
    /// Returns the settings that were fixed when the store was made, and the limits of one call.
    fn info(&self) -> &EngineInfo;

    /// Returns the current state of a partition.
    async fn state(&self, partition: u16) -> Result<PartitionState, StorageFailure>;

    /// Waits until the head of some partition is past the head given for it, at most for this time.
    async fn changed(&self, heads: &[u64], timeout: Duration) -> Result<(), StorageFailure>;

    /// Stores a batch, within [`EngineInfo::limits`], and performs `with` in the same step.
    async fn append(
        &self,
        partition: u16,
        batch: &[Event],
        atomicity: Atomicity,
        with: &Transaction,
    ) -> Result<Appended, StorageFailure>;

    /// Removes events, and performs the removal's transaction in the same step.
    async fn remove(&self, partition: u16, removal: &Removal<'_>) -> Result<Removed, StorageFailure>;

    /// Reads a page of matching events.
    async fn scan(&self, partition: u16, request: &Scan<'_>) -> Result<ScanPage, StorageFailure>;

    /// Returns the events at these sequences, one answer for each.
    async fn at(&self, partition: u16, sequences: &[u64]) -> Result<Vec<Option<Entry>>, StorageFailure>;

    /// Returns the states of these ids, one answer for each. It is none for an unknown id.
    async fn locate(&self, partition: u16, ids: &[&str]) -> Result<Vec<Option<IdState>>, StorageFailure>;

    /// Returns the number of matching events up to a sequence.
    async fn count(&self, partition: u16, filter: &Arc<Filter>, until: u64) -> Result<u64, StorageFailure>;

    /// Checks the log and its indexes. It reads only.
    async fn verify(&self, partition: u16, checked: Checked<'_>) -> Result<VerifyReport, StorageFailure>;

    /// Frees the space of erased events. `erased` states whether this call follows a removal. Returns the places
    /// where bytes of erased events remain, in words for people.
    async fn scrub(&self, partition: u16, erased: bool) -> Result<Vec<String>, StorageFailure>;

    /// Returns the number of bytes that the store occupies with all its indexes, if the engine can measure it.
    async fn occupied(&self) -> Result<Option<u64>, StorageFailure>;

    /// Reads rows.
    async fn get(&self, partition: u16, reads: &[Read]) -> Result<Snapshot, StorageFailure>;

    /// Performs transactions, each atomic by itself. Returns one outcome for each, in order.
    async fn commit(
        &self,
        partition: u16,
        transactions: &[Transaction],
    ) -> Result<Vec<Outcome>, StorageFailure>;
}
