//! The rows of a partition, and its transactions. A transaction checks guards and performs writes under the lock of
//! the partition.

use std::{collections::BTreeMap, ops::Bound};

use domain::{
    StorageFailure,
    ports::engine::{Guard, Outcome, Read, ReadResult, RowId, Space, SpaceKind, Transaction, Write},
};

use crate::log::{GENERATION, Partition};

/// Every row of a partition.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    spaces: BTreeMap<Space, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Rows {
    fn get(&self, row: &RowId) -> Option<&Vec<u8>> {
        self.spaces.get(&row.space)?.get(&row.key)
    }

    fn put(&mut self, row: &RowId, value: Vec<u8>) {
        self.spaces.entry(row.space.clone()).or_default().insert(row.key.clone(), value);
    }

    /// Removes a row. A space without rows is removed too, so that the map does not grow with past scopes.
    fn delete(&mut self, row: &RowId) {
        if let Some(space) = self.spaces.get_mut(&row.space) {
            space.remove(&row.key);
            if space.is_empty() {
                self.spaces.remove(&row.space);
            }
        }
    }

    pub(crate) fn answer(&self, read: &Read) -> ReadResult {
        match read {
            Read::Row(row) => ReadResult::Row(self.get(row).cloned()),
            Read::Count(space) => {
                ReadResult::Count(self.spaces.get(space).map_or(0, |rows| rows.len() as u64))
            }
            Read::Scopes(kind) => ReadResult::Range(self.scopes(*kind)),
            Read::Range { space, after, before, reverse, limit } => {
                let Some(rows) = self.spaces.get(space) else { return ReadResult::Range(Vec::new()) };
                let is_empty =
                    after.as_ref().zip(before.as_ref()).is_some_and(|(after, before)| after >= before);
                if is_empty {
                    return ReadResult::Range(Vec::new());
                }
                let bound = |key: &Option<Vec<u8>>| key.clone().map_or(Bound::Unbounded, Bound::Excluded);
                let range = rows.range::<Vec<u8>, _>((bound(after), bound(before)));
                let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
                ReadResult::Range(match reverse {
                    false => range.take(*limit).map(owned).collect(),
                    true => range.rev().take(*limit).map(owned).collect(),
                })
            }
        }
    }

    fn scopes(&self, kind: SpaceKind) -> Vec<(Vec<u8>, Vec<u8>)> {
        let of_kind = self.spaces.keys().filter(|space| space.kind == kind);
        of_kind.map(|space| (space.scope.clone(), Vec::new())).collect()
    }
}

impl Partition {
    /// Performs a transaction, or refuses it.
    pub(crate) fn perform(&mut self, transaction: &Transaction) -> Result<Outcome, StorageFailure> {
        let mut left_out = Vec::new();
        for (number, step) in transaction.steps.iter().enumerate() {
            if let Some(guard) = self.refusal(&step.guards) {
                if number == 0 {
                    return Ok(Outcome::Refused { guard });
                }
                left_out.push(number);
                continue;
            }
            for write in &step.writes {
                self.apply(write)?;
            }
        }
        Ok(Outcome::Done { left_out })
    }

    fn refusal(&self, guards: &[Guard]) -> Option<usize> {
        guards.iter().position(|guard| !self.holds(guard))
    }

    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            Guard::Is(row, value) => self.rows.get(row) == Some(value),
            Guard::Absent(row) => self.rows.get(row).is_none(),
            Guard::Present(row) => self.rows.get(row).is_some(),
            Guard::Generation(generation) => *generation == GENERATION,
            Guard::Id(id, state) => self.locate(id) == *state,
            Guard::NoneNewer(newer) => self.has_none(newer),
        }
    }

    fn apply(&mut self, write: &Write) -> Result<(), StorageFailure> {
        match write {
            Write::Put(row, value) => self.rows.put(row, value.clone()),
            Write::Delete(row) => self.rows.delete(row),
            Write::Clear(space) => drop(self.rows.spaces.remove(space)),
            Write::Add(row, amount) => {
                let before = self.rows.get(row).map_or(Some(0), |value| number(value));
                let before = before.ok_or_else(|| {
                    StorageFailure::Corrupt(format!(
                        "a row of the kind {} is no number",
                        row.space.kind.name()
                    ))
                })?;
                self.rows.put(row, before.saturating_add(*amount).to_string().into_bytes());
            }
            Write::Tombstone(id) => drop(self.tombstones.insert(id.clone())),
            Write::CountReplay { sequences, at } => self.count_replay(sequences, *at),
        }
        Ok(())
    }
}

fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
