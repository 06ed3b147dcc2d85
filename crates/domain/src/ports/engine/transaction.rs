//! Guarded writes: the store decides on changes from values that it read. The engine makes the changes only if these
//! values still hold.

use jiff::Timestamp;

use super::{
    log::IdState,
    rows::{RowId, Space},
};
use crate::expectation::NewerEvents;

/// A condition that must hold for a step to be performed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// A row of a map has this value.
    Is(RowId, Vec<u8>),
    /// The row does not exist.
    Absent(RowId),
    /// The row exists.
    Present(RowId),
    /// The partition has this generation: its server has lost no data since.
    Generation(u64),
    /// The log has exactly this state of an id. None: the log does not know the id.
    Id(String, Option<IdState>),
    /// The log has none of these events. An engine may also refuse because of other events.
    NoneNewer(NewerEvents),
}

impl Guard {
    /// Returns a guard for a row that was read: the row still has the value, or is still absent.
    pub fn still(row: RowId, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => Self::Is(row, value.to_vec()),
            None => Self::Absent(row),
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Writes a row, in place of a row with the same key. The value of a row of an index is empty.
    Put(RowId, Vec<u8>),
    /// Removes a row, if it exists.
    Delete(RowId),
    /// Removes every row of a space. Rows that the same call writes after it stay.
    Clear(Space),
    /// Adds to a row with a decimal number as its value. An absent row counts as 0.
    Add(RowId, i64),
    /// Refuses an id from now on, as if its event had been erased.
    Tombstone(String),
    /// Raises the replay counts of these events by one, each once. Sequences without an event are ignored.
    CountReplay {
        /// Sequences of the events.
        sequences: Vec<u64>,
        /// Time of the replay.
        at: Timestamp,
    },
}

/// Changes that are made together if all guards hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// Guards of the step. They are checked immediately before the step.
    pub guards: Vec<Guard>,
    /// Changes of the step.
    pub writes: Vec<Write>,
}

/// Failures that a transaction survives after its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Durability {
    /// The end of the process. The engine need not wait for the disk. A power loss may revert the most recent of
    /// these transactions, each of them whole or not at all.
    #[default]
    Relaxed,
    /// The same failures that an append survives.
    Durable,
    /// The same failures, with the number of copies for which an append waits.
    Replicated,
}

/// Steps that are performed at one moment. The guards of the first step decide about the whole transaction. A later
/// step is left out if one of its guards does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Failures that the transaction survives.
    pub durability: Durability,
    /// Whether the transaction is also performed in a full store. It is meant for writes that replace a short value
    /// by a short value. A transaction that only removes does not need this flag.
    pub even_when_full: bool,
    /// Whether the transaction removes bytes of events that were erased on request. The engine then scrubs the space
    /// that they occupied.
    pub erases: bool,
}

impl Transaction {
    /// Returns a transaction of one empty step with [`Durability::Relaxed`].
    pub fn new() -> Self {
        Self { steps: vec![Step::default()], ..Self::default() }
    }

    /// Returns a transaction of one empty step that survives the same failures as an append.
    pub fn durable() -> Self {
        Self { durability: Durability::Durable, ..Self::new() }
    }

    /// Performs the transaction also in a full store.
    pub fn even_when_full(mut self) -> Self {
        self.even_when_full = true;
        self
    }

    fn last(&mut self) -> &mut Step {
        if self.steps.is_empty() {
            self.steps.push(Step::default());
        }
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    /// Adds a guard to the last step.
    pub fn guard(&mut self, guard: Guard) -> &mut Self {
        self.last().guards.push(guard);
        self
    }

    /// Adds a change to the last step.
    pub fn write(&mut self, write: Write) -> &mut Self {
        self.last().writes.push(write);
        self
    }

    /// Writes a row.
    pub fn put(&mut self, row: RowId, value: impl Into<Vec<u8>>) -> &mut Self {
        self.write(Write::Put(row, value.into()))
    }

    /// Adds a key to an index.
    pub fn list(&mut self, row: RowId) -> &mut Self {
        self.put(row, Vec::new())
    }

    /// Removes a row.
    pub fn delete(&mut self, row: RowId) -> &mut Self {
        self.write(Write::Delete(row))
    }

    /// Removes every row of a space.
    pub fn clear(&mut self, space: Space) -> &mut Self {
        self.write(Write::Clear(space))
    }

    /// Adds to a number.
    pub fn add(&mut self, row: RowId, amount: i64) -> &mut Self {
        self.write(Write::Add(row, amount))
    }

    /// Begins a further step. Returns its number.
    pub fn step(&mut self) -> usize {
        self.steps.push(Step::default());
        self.steps.len() - 1
    }

    /// Returns whether the transaction has no writes.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.writes.is_empty())
    }

    /// Returns whether the transaction has neither writes nor guards.
    pub fn is_nothing(&self) -> bool {
        self.steps.iter().all(|step| step.writes.is_empty() && step.guards.is_empty())
    }

    /// Returns whether the transaction only removes rows.
    pub fn only_removes(&self) -> bool {
        let removes = |write: &Write| matches!(write, Write::Delete(_) | Write::Clear(_));
        self.steps.iter().all(|step| step.writes.iter().all(removes))
    }
}

/// Outcome of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The transaction was performed.
    Done {
        /// Numbers of the steps that were left out, because one of their guards did not hold.
        left_out: Vec<usize>,
    },
    /// A guard of the first step did not hold. Nothing was changed.
    Refused {
        /// Number of the guard, from 0.
        guard: usize,
    },
}

impl Outcome {
    /// Returns whether the transaction was performed.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }
}
