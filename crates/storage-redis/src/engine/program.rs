//! Transactions in the form that the function takes: keys, a program of three bytes for each operation, and its data
//! (`lua/rows.lua`).

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use domain::ports::engine::{Guard, IdState, RowId, Space, Transaction, Write};
use redis::Cmd;

use crate::{
    engine::{
        keys::{CHUNK, Digest, Keys, chunk_of},
        last_known::Known,
    },
    index::{dictionary::ERASED, needles::Needles},
};

/// The largest integer up to which all integers are exact in Lua. No log reaches it.
const EXACT: u64 = 1 << 53;

/// Codes of operations.
#[derive(Debug, Clone, Copy)]
enum Op {
    Begin = 1,
    Step = 2,
    Generation = 3,
    Is = 4,
    Absent = 5,
    Present = 6,
    NoneNewer = 7,
    Put = 10,
    Delete = 11,
    Clear = 12,
    Add = 13,
    Tombstone = 14,
    CountReplay = 15,
    List = 16,
    Unlist = 17,
}

/// The type of a key of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hash = b'h' as isize,
    Text = b't' as isize,
    Stream = b's' as isize,
    SortedSet = b'z' as isize,
}

/// A program of transactions.
pub(crate) struct Program<'a> {
    layout: &'a Keys,
    known: Known,
    keys: Vec<String>,
    kinds: Vec<u8>,
    spaces: HashMap<&'a Space, u16>,
    buckets: HashMap<u32, u16>,
    chunks: HashMap<u64, u16>,
    pending: Option<u16>,
    code: Vec<u8>,
    data: Vec<Cow<'a, [u8]>>,
}

impl<'a> Program<'a> {
    /// Returns the program of some transactions, for the last known dictionary.
    pub(crate) fn of(layout: &'a Keys, known: Known, transactions: &'a [Transaction]) -> Self {
        let mut program = Self {
            layout,
            known,
            keys: Vec::new(),
            kinds: Vec::new(),
            spaces: HashMap::new(),
            buckets: HashMap::new(),
            chunks: HashMap::new(),
            pending: None,
            code: Vec::new(),
            data: Vec::new(),
        };
        transactions.iter().for_each(|transaction| program.transaction(transaction));
        program
    }

    /// Returns its keys, in the order of their places.
    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Returns whether the program names a bucket of the dictionary. If so, it must be made again after the dictionary
    /// has grown.
    pub(crate) fn has_buckets(&self) -> bool {
        !self.buckets.is_empty()
    }

    /// Adds the arguments of the function to a command: kinds of keys, program, data.
    pub(crate) fn put(&self, command: &mut Cmd) {
        command.arg(&self.kinds).arg(&self.code);
        for data in &self.data {
            command.arg(&**data);
        }
    }

    fn transaction(&mut self, transaction: &'a Transaction) {
        self.op(Op::Begin, 0);
        for (at, step) in transaction.steps.iter().enumerate() {
            if at > 0 {
                self.op(Op::Step, 0);
            }
            step.guards.iter().for_each(|guard| self.guard(guard));
            step.writes.iter().for_each(|write| self.write(write));
        }
    }

    fn guard(&mut self, guard: &'a Guard) {
        match guard {
            Guard::Is(row, value) => {
                self.row(Op::Is, row);
                self.data.push(value.into());
            }
            Guard::Absent(row) => self.row(Op::Absent, row),
            Guard::Present(row) => self.row(Op::Present, row),
            Guard::Generation(generation) => {
                self.op(Op::Generation, 0);
                self.data.push(generation.to_string().into_bytes().into());
            }
            Guard::Id(id, state) => {
                let op = if state.is_some() { Op::Is } else { Op::Absent };
                self.id(op, id);
                let value = match state {
                    None => return,
                    Some(IdState::Erased) => ERASED.to_owned(),
                    Some(IdState::Stored(sequence)) => sequence.to_string(),
                };
                self.data.push(value.into_bytes().into());
            }
            Guard::NoneNewer(newer) => {
                let place = self.pending();
                self.op(Op::NoneNewer, place);
                let Needles { terms, names } = Needles::of(&newer.filter);
                self.data.extend([newer.after.to_string().into_bytes().into(), terms.into(), names.into()]);
            }
        }
    }

    fn write(&mut self, write: &'a Write) {
        match write {
            Write::Put(row, _) if row.space.kind.is_index() => self.row(Op::List, row),
            Write::Put(row, value) => {
                self.row(Op::Put, row);
                self.data.push(value.into());
            }
            Write::Delete(row) if row.space.kind.is_index() => self.row(Op::Unlist, row),
            Write::Delete(row) => self.row(Op::Delete, row),
            Write::Clear(space) => {
                let place = self.space(space);
                self.op(Op::Clear, place);
            }
            Write::Add(row, amount) => {
                self.row(Op::Add, row);
                self.data.push(amount.to_string().into_bytes().into());
            }
            Write::Tombstone(id) => self.id(Op::Tombstone, id),
            Write::CountReplay { sequences, at } => {
                let mut by_chunk: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
                for sequence in sequences.iter().filter(|sequence| **sequence <= EXACT) {
                    by_chunk.entry(chunk_of(*sequence)).or_default().push(sequence % CHUNK);
                }
                for (chunk, mut offsets) in by_chunk {
                    offsets.sort_unstable();
                    offsets.dedup();
                    let place = self.chunk(chunk);
                    self.op(Op::CountReplay, place);
                    let packed: Vec<u8> =
                        offsets.into_iter().flat_map(|offset| (offset as u32).to_be_bytes()).collect();
                    let at = at.as_nanosecond().to_string().into_bytes();
                    self.data.extend([chunk.to_string().into_bytes().into(), packed.into(), at.into()]);
                }
            }
        }
    }

    fn op(&mut self, op: Op, place: u16) {
        let [high, low] = place.to_be_bytes();
        self.code.extend([op as u8, high, low]);
    }

    fn row(&mut self, op: Op, row: &'a RowId) {
        let place = self.space(&row.space);
        self.op(op, place);
        self.data.push((&row.key).into());
    }

    fn id(&mut self, op: Op, id: &str) {
        let digest = Digest::of_id(id);
        let bucket = digest.bucket(self.known.level, self.known.split);
        let place = match self.buckets.get(&bucket) {
            Some(place) => *place,
            None => {
                let place = self.key(self.layout.bucket(bucket), Kind::Hash);
                self.buckets.insert(bucket, place);
                place
            }
        };
        self.op(op, place);
        self.data.push(digest.0.to_vec().into());
    }

    fn space(&mut self, space: &'a Space) -> u16 {
        if let Some(place) = self.spaces.get(space) {
            return *place;
        }
        let kind = if space.kind.is_index() { Kind::SortedSet } else { Kind::Hash };
        let place = self.key(self.layout.space(space), kind);
        self.spaces.insert(space, place);
        place
    }

    /// Returns the place of a chunk's log. The replay counts of the chunk are at the next place.
    fn chunk(&mut self, chunk: u64) -> u16 {
        if let Some(place) = self.chunks.get(&chunk) {
            return *place;
        }
        let place = self.key(self.layout.log(chunk), Kind::Stream);
        self.key(self.layout.replayed(chunk), Kind::Hash);
        self.chunks.insert(chunk, place);
        place
    }

    /// Returns the place of the pending terms.
    fn pending(&mut self) -> u16 {
        match self.pending {
            Some(place) => place,
            None => {
                let place = self.key(self.layout.pending(), Kind::Text);
                *self.pending.insert(place)
            }
        }
    }

    fn key(&mut self, key: String, kind: Kind) -> u16 {
        self.keys.push(key);
        self.kinds.push(kind as u8);
        (self.keys.len() - 1) as u16
    }
}

#[cfg(test)]
mod tests {
    use domain::ports::engine::SpaceKind;

    use super::*;

    #[test]
    fn a_key_is_named_once() {
        let keys = Keys::new("ns:0");
        let known = Known { head: 0, epoch: 1, level: 2, split: 0 };
        let segments = Space::within(SpaceKind::Segment, "g");
        let mut transaction = Transaction::new();
        transaction.guard(Guard::Generation(1)).guard(Guard::Absent(segments.row("1")));
        transaction.put(segments.row("1"), "a").put(segments.row("2"), "b");
        let transactions = [transaction.clone(), transaction];
        let program = Program::of(&keys, known, &transactions);
        assert_eq!(program.keys(), ["{ns:0}:r:segment:Zw"]);
        assert_eq!((program.code.len(), program.data.len()), (2 * 5 * 3, 2 * 6));
        assert!(!program.has_buckets());
    }
}
