//! Calls that share a commit of the writing thread.

use domain::{
    Event, StorageFailure,
    ports::{
        Atomicity,
        engine::{Appended, Durability, Outcome, Transaction, Write},
    },
};
use tokio::sync::oneshot;

use super::{Flush, change::Change};

/// A commit accepts no further calls after this number of events and transactions, or after this number of bytes.
const COMMIT_PARTS: usize = 8192;
const COMMIT_BYTES: usize = 16 * 1024 * 1024;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StorageFailure>>;

/// The request of a caller, with the channel for its answer.
pub(crate) enum Call {
    Append { batch: Vec<Event>, atomicity: Atomicity, with: Transaction, reply: Reply<Appended> },
    Commit { transactions: Vec<Transaction>, reply: Reply<Vec<Outcome>> },
}

/// The answer to a call.
pub(crate) enum Done {
    Appended(Appended),
    Committed(Vec<Outcome>),
}

impl Call {
    /// Returns whether the caller waits for the disk.
    pub(crate) fn flush(&self) -> Flush {
        let is_relaxed = |transaction: &Transaction| transaction.durability == Durability::Relaxed;
        match self {
            Self::Commit { transactions, .. } if transactions.iter().all(is_relaxed) => Flush::Later,
            _ => Flush::Wait,
        }
    }

    /// Returns whether the call only removes, or must also succeed when the store is full.
    fn may_use_the_reserve(&self) -> bool {
        let may = |transaction: &Transaction| transaction.even_when_full || transaction.only_removes();
        matches!(self, Self::Commit { transactions, .. } if transactions.iter().all(may))
    }

    /// Returns the number of its events and transactions, and the approximate number of bytes that it writes.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Append { batch, with, .. } => {
                (batch.len(), batch.iter().map(Event::size_bytes).sum::<usize>() + bytes(with))
            }
            Self::Commit { transactions, .. } => (transactions.len(), transactions.iter().map(bytes).sum()),
        }
    }

    fn perform(&self, change: &mut Change<'_>) -> Result<Done, StorageFailure> {
        match self {
            Self::Append { batch, atomicity, with, .. } => {
                if let Outcome::Refused { guard } = change.perform(with)? {
                    return Ok(Done::Appended(Appended::Refused { guard }));
                }
                change.append(batch, *atomicity).map(Appended::Done).map(Done::Appended)
            }
            Self::Commit { transactions, .. } => transactions
                .iter()
                .map(|transaction| change.perform(transaction))
                .collect::<Result<_, _>>()
                .map(Done::Committed),
        }
    }

    /// Sends the answer. A failed send means that the caller no longer waits.
    fn answer(self, done: Done) {
        match (self, done) {
            (Self::Append { reply, .. }, Done::Appended(appended)) => drop(reply.send(Ok(appended))),
            (Self::Commit { reply, .. }, Done::Committed(outcomes)) => drop(reply.send(Ok(outcomes))),
            // Each call produces only its own kind of answer.
            _ => {}
        }
    }

    fn fail(self, failure: StorageFailure) {
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(failure))),
            Self::Commit { reply, .. } => drop(reply.send(Err(failure))),
        }
    }
}

/// Returns the approximate number of bytes that a transaction writes.
fn bytes(transaction: &Transaction) -> usize {
    let writes = transaction.steps.iter().flat_map(|step| &step.writes);
    writes.map(|write| if let Write::Put(row, value) = write { row.key.len() + value.len() } else { 0 }).sum()
}

/// Calls that are performed in one commit, in order.
pub(crate) struct Calls {
    pub(crate) flush: Flush,
    calls: Vec<Call>,
    parts: usize,
    bytes: usize,
}

impl Calls {
    pub(crate) fn new(first: Call) -> Self {
        let mut calls = Self { flush: first.flush(), calls: Vec::new(), parts: 0, bytes: 0 };
        calls.push(first);
        calls
    }

    pub(crate) fn push(&mut self, call: Call) {
        let (parts, bytes) = call.size();
        self.parts += parts;
        self.bytes += bytes;
        self.calls.push(call);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.parts >= COMMIT_PARTS || self.bytes >= COMMIT_BYTES
    }

    /// Returns whether any of the calls stores events.
    pub(crate) fn append(&self) -> bool {
        self.calls.iter().any(|call| matches!(call, Call::Append { batch, .. } if !batch.is_empty()))
    }

    /// Returns whether all calls may use the reserve up.
    pub(crate) fn may_use_the_reserve(&self) -> bool {
        self.calls.iter().all(Call::may_use_the_reserve)
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn perform(&self, change: &mut Change<'_>) -> Result<Vec<Done>, StorageFailure> {
        self.calls.iter().map(|call| call.perform(change)).collect()
    }

    pub(crate) fn answer(self, done: Vec<Done>) {
        self.calls.into_iter().zip(done).for_each(|(call, done)| call.answer(done));
    }

    pub(crate) fn fail(self, failure: &StorageFailure) {
        self.calls.into_iter().for_each(|call| call.fail(failure.clone()));
    }

    /// Splits the calls, so that each call gets its own commit.
    pub(crate) fn each_alone(self) -> impl Iterator<Item = Self> {
        self.calls.into_iter().map(Self::new)
    }
}
