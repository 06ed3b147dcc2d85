//! Guarded writes: changes that were decided on what was read, and are made if that is still so.

use jiff::Timestamp;

use super::{
    log::IdState,
    rows::{RowId, Space},
};
use crate::expectation::NewerEvents;

/// Something that must hold for a step to be performed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// A row of a map has this value.
    Is(RowId, Vec<u8>),
    /// There is no such row.
    Absent(RowId),
    /// There is such a row.
    Present(RowId),
    /// The partition is of this generation: its server has lost nothing since.
    Generation(u64),
    /// The log knows this of an id, and no more; none: it does not know the id.
    Id(String, Option<IdState>),
    /// The log has none of these events. An engine may also refuse because of events that are not among them.
    NoneNewer(NewerEvents),
}

impl Guard {
    /// A row is as it was read: it has the value, or is absent.
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
    /// Puts a row in place of that of the same key. The value of a row of an index is empty.
    Put(RowId, Vec<u8>),
    /// Removes a row, if there is one.
    Delete(RowId),
    /// Removes every row of a space. Rows that the same call puts after it stay.
    Clear(Space),
    /// Adds to a row whose value is a decimal number; an absent row counts as 0.
    Add(RowId, i64),
    /// Refuses an id from now on, as if its event had been erased.
    Tombstone(String),
    /// Raises the replay counts of these events by one, each once; where no event is, nothing.
    CountReplay {
        /// The events' sequences.
        sequences: Vec<u64>,
        /// When they were replayed.
        at: Timestamp,
    },
}

/// Changes that are made together if all guards hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// What must hold, as it is when the step's turn comes.
    pub guards: Vec<Guard>,
    /// What is changed.
    pub writes: Vec<Write>,
}

/// What a transaction survives once it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Durability {
    /// The end of the process. The engine need not wait for the disk: a loss of power may take the last of such transactions
    /// back, all or none of each.
    #[default]
    Relaxed,
    /// What an append survives.
    Durable,
    /// The same, and as many copies as an append waits for.
    Replicated,
}

/// Steps that are performed at one moment. The guards of the first decide on the whole; a later step whose guards do not hold
/// is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What it survives.
    pub durability: Durability,
    /// Whether it is performed also where the store is full: for what replaces something short by something short. What only
    /// removes needs no word.
    pub even_when_full: bool,
    /// Whether it removes bytes of events that were erased on request: the engine then scrubs what they occupied.
    pub erases: bool,
}

impl Transaction {
    /// A transaction of one empty step, not waited for.
    pub fn new() -> Self {
        Self { steps: vec![Step::default()], ..Self::default() }
    }

    /// A transaction of one empty step that survives what an append survives.
    pub fn durable() -> Self {
        Self { durability: Durability::Durable, ..Self::new() }
    }

    /// Performs it also where the store is full.
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

    /// Puts a row.
    pub fn put(&mut self, row: RowId, value: impl Into<Vec<u8>>) -> &mut Self {
        self.write(Write::Put(row, value.into()))
    }

    /// Puts a key into an index.
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

    /// Begins a further step; its number.
    pub fn step(&mut self) -> usize {
        self.steps.push(Step::default());
        self.steps.len() - 1
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.writes.is_empty())
    }

    /// Whether it demands nothing either.
    pub fn is_nothing(&self) -> bool {
        self.steps.iter().all(|step| step.writes.is_empty() && step.guards.is_empty())
    }

    /// Whether it only takes away.
    pub fn only_removes(&self) -> bool {
        let removes = |write: &Write| matches!(write, Write::Delete(_) | Write::Clear(_));
        self.steps.iter().all(|step| step.writes.iter().all(removes))
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is performed.
    Done {
        /// The steps that were left out, by number, because a guard of theirs did not hold.
        left_out: Vec<usize>,
    },
    /// A guard of the first step did not hold; nothing was changed.
    Refused {
        /// Which guard, from 0.
        guard: usize,
    },
}

impl Outcome {
    /// Whether it is performed.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }
}
