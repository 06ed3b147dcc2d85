//! The storage engine: the only port that a storage adapter implements.
//!
//! An engine keeps, for each partition, a *log* of events with its indexes, and *rows* beside the log. It knows no rule of
//! groups, leases, dead letters, replays, schedules, checkpoints or retention: the crate `store` decides all of these once,
//! from what it reads here, and writes its decision as a [`Transaction`] that is refused if what it read has changed.
//!
//! Read in this order: [`rows`] (what stands beside the log), [`transaction`] (guarded writes), [`log`] (requests and answers
//! about events), [`StorageEngine`] (the laws).

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

/// Told how many events of a partition a verification has checked so far.
pub type Checked<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// Keeps the log and the rows of a store. Partitions are numbered from 0; a call concerns one of them.
///
/// Laws of the log:
/// - `append` MUST store a batch with all index entries, and perform `with`, in one step, through any crash; where a guard of
///   `with` does not hold it MUST change nothing and answer [`Appended::Refused`]. `with` is performed also where no event of
///   the batch is new. Its first step's guards are judged before the batch is stored.
/// - What becomes of each event MUST be what [`crate::batch::Resolution`] says.
/// - Sequences MUST rise in commit order and MUST NOT be given twice, not even after a server lost the end of its log: then
///   the engine begins a log epoch, raises `generation`, and goes on behind every sequence that may have been given.
/// - Stored times MUST NOT fall.
/// - `scan` MUST give exactly the events that [`Filter::matches`] in the range asked for, each once, in order, together with the
///   state of the partition at a moment not after the newest of them. Damaged events that may match MUST be given as damaged.
/// - `at` MUST answer one entry for each sequence, in order; none where no event is.
/// - `locate` MUST say of each id where its event is, that it was erased, or that it is unknown.
/// - `count` MUST equal the number of events that scans give.
/// - `changed` MUST return when the head of some partition is past the one given, also for appends of other handles, or after
///   the timeout. It may return early.
/// - `remove` MUST take events out of the log and of every index, and perform `with`, in one step; where a guard does not
///   hold it MUST change nothing. Under [`RemovalKind::Erase`] the ids MUST be refused from then on.
/// - `verify` MUST find an event without an index entry, an index entry without its event, and damaged bytes.
/// - `scrub` MUST leave no byte of what was erased in the store's own files or memory, or say where it remains.
///
/// Laws of rows:
/// - `get` MUST answer each read in order. Rows of one call may be of different moments, unless the engine reads snapshots.
/// - Ranges MUST come in the byte order of their keys.
/// - `commit` MUST perform each transaction whole or not at all, in the order of the call, each seeing those before it;
///   and MUST judge guards and perform writes in one step.
/// - A transaction whose first step's guard does not hold MUST change nothing and answer [`Outcome::Refused`]. A later step
///   whose guard does not hold MUST be left out and named in [`Outcome::Done`]; the others are performed.
/// - [`Guard::NoneNewer`] MUST NOT hold where an event above the sequence is one of those named, or where retention has removed
///   events above it. It MUST hold where no event is above it. Where other events are above it, it holds, or an engine that cannot
///   tell refuses: then the store reads them, and asks again with a higher sequence.
/// - Guards of a step MUST see the writes of the steps before it.
/// - [`Write::Add`] MUST lose no addition of others.
/// - A transaction of [`Durability::Durable`] MUST survive what an append survives.
/// - Where nothing is known of the outcome it MUST be [`StorageFailure::Unknown`], and the transaction is done wholly or not at
///   all.
/// - A partition out of reach MUST NOT hold up calls about another.
/// - An engine MAY count events in [`SpaceKind::Tally`], as [`crate::tally`] describes. Then the counts MUST equal those of the
///   events through the sequence that the rows name, and few events may stand after it. Events that cannot be read are
///   counted, or not.
#[async_trait]
pub trait StorageEngine: Send + Sync + 'static {
    /// What was settled when the store was made, and what one call may ask for.
    fn info(&self) -> &EngineInfo;

    /// A partition as it is now.
    async fn state(&self, partition: u16) -> Result<PartitionState, StorageFailure>;

    /// Waits until some partition's head is past the one given for it, at most this long.
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

    /// Reads a page of the events that match.
    async fn scan(&self, partition: u16, request: &Scan<'_>) -> Result<ScanPage, StorageFailure>;

    /// The events at these sequences; one answer for each.
    async fn at(&self, partition: u16, sequences: &[u64]) -> Result<Vec<Option<Entry>>, StorageFailure>;

    /// What is known of these ids; one answer for each, none where an id is unknown.
    async fn locate(&self, partition: u16, ids: &[&str]) -> Result<Vec<Option<IdState>>, StorageFailure>;

    /// How many events up to a sequence match.
    async fn count(&self, partition: u16, filter: &Arc<Filter>, until: u64) -> Result<u64, StorageFailure>;

    /// Checks the log and its indexes. Reads only.
    async fn verify(&self, partition: u16, checked: Checked<'_>) -> Result<VerifyReport, StorageFailure>;

    /// Frees what erased events occupied. `erased` says whether this call follows a removal. What is left of them, and where,
    /// in words for people.
    async fn scrub(&self, partition: u16, erased: bool) -> Result<Vec<String>, StorageFailure>;

    /// Bytes that the store occupies with all its indexes, where that can be told.
    async fn occupied(&self) -> Result<Option<u64>, StorageFailure>;

    /// Reads rows.
    async fn get(&self, partition: u16, reads: &[Read]) -> Result<Snapshot, StorageFailure>;

    /// Performs transactions, each atomic by itself; one outcome for each, in order.
    async fn commit(
        &self,
        partition: u16,
        transactions: &[Transaction],
    ) -> Result<Vec<Outcome>, StorageFailure>;
}
