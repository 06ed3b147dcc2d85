//! Performs guarded writes in the writer's transaction.

use domain::{
    StorageFailure,
    ports::engine::{Guard, Outcome, RowId, Space, Step, Transaction, Write},
};
use rusqlite::{
    ToSql,
    types::{ToSqlOutput, ValueRef},
};

use super::read::value;
use crate::{
    connection::execute,
    log::{event_row, ids, newer},
    writer::change::Change,
};

impl Change<'_> {
    /// Performs a transaction. The guards of a step are evaluated before its first write, so a refused step needs no
    /// rollback.
    pub(crate) fn perform(&mut self, transaction: &Transaction) -> Result<Outcome, StorageFailure> {
        let mut left_out = Vec::new();
        for (number, step) in transaction.steps.iter().enumerate() {
            match self.first_that_fails(step)? {
                None => step.writes.iter().try_for_each(|write| self.write(write))?,
                Some(guard) if number == 0 => return Ok(Outcome::Refused { guard }),
                Some(_) => left_out.push(number),
            }
        }
        self.state.unscrubbed |= transaction.erases;
        Ok(Outcome::Done { left_out })
    }

    fn first_that_fails(&mut self, step: &Step) -> Result<Option<usize>, StorageFailure> {
        for (number, guard) in step.guards.iter().enumerate() {
            if !self.holds(guard)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    fn holds(&mut self, guard: &Guard) -> Result<bool, StorageFailure> {
        Ok(match guard {
            Guard::Is(row, expected) => self.look(row, |value| value == Some(expected))?,
            Guard::Absent(row) => self.look(row, |value| value.is_none())?,
            Guard::Present(row) => self.look(row, |value| value.is_some())?,
            Guard::Generation(generation) => self.state.generation == *generation,
            Guard::Id(id, expected) => ids::state_of(self.connection, id)? == *expected,
            Guard::NoneNewer(newer) => newer::is_none(self.connection, &self.state, newer)?,
        })
    }

    /// Passes the current value of a row to `see`.
    pub(crate) fn look<T>(
        &mut self,
        row: &RowId,
        see: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<T, StorageFailure> {
        if let Some(value) = self.rows.value(row) {
            return Ok(see(value));
        }
        let value = value(self.connection, row)?;
        self.rows.note(row, value.as_deref());
        Ok(see(value.as_deref()))
    }

    fn write(&mut self, write: &Write) -> Result<(), StorageFailure> {
        match write {
            Write::Put(row, value) => self.put(row, value),
            Write::Delete(row) => self.delete(row),
            Write::Clear(space) => self.clear(space),
            Write::Add(row, amount) => self.add(row, *amount),
            Write::Tombstone(id) => self.bury(id),
            Write::CountReplay { sequences, at } => event_row::count_replays(self.connection, sequences, *at),
        }
    }

    /// Writes a value. If the cache knows whether the row exists, SQLite does not need to check.
    pub(crate) fn put(&mut self, row: &RowId, value: &[u8]) -> Result<(), StorageFailure> {
        let known = self.rows.value(row);
        let sql = match known {
            Some(Some(known)) if known == value => return Ok(()),
            Some(Some(_)) => "UPDATE row SET value = ?4 WHERE space = ?1 AND scope = ?2 AND key = ?3",
            Some(None) => "INSERT INTO row (space, scope, key, value) VALUES (?1, ?2, ?3, ?4)",
            None => {
                "INSERT INTO row (space, scope, key, value) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (space, scope, key) DO UPDATE SET value = excluded.value"
            }
        };
        let number = row.space.kind.number();
        execute(self.connection, sql, (number, &row.space.scope, &row.key, Value(value)))?;
        self.rows.note(row, Some(value));
        Ok(())
    }

    pub(crate) fn delete(&mut self, row: &RowId) -> Result<(), StorageFailure> {
        if self.rows.value(row) == Some(None) {
            return Ok(());
        }
        execute(
            self.connection,
            "DELETE FROM row WHERE space = ?1 AND scope = ?2 AND key = ?3",
            (row.space.kind.number(), &row.space.scope, &row.key),
        )?;
        self.rows.note(row, None);
        Ok(())
    }

    fn clear(&mut self, space: &Space) -> Result<(), StorageFailure> {
        execute(
            self.connection,
            "DELETE FROM row WHERE space = ?1 AND scope = ?2",
            (space.kind.number(), &space.scope),
        )?;
        self.rows.forget_space(space);
        Ok(())
    }

    /// Adds an amount to a number. The sum saturates at the limits of 64 bits.
    fn add(&mut self, row: &RowId, amount: i64) -> Result<(), StorageFailure> {
        let before = self.look(row, |value| match value {
            None => Ok(0),
            Some(value) => number(value).ok_or_else(|| value.to_vec()),
        })?;
        let before = before.map_err(|value| {
            let (kind, value) = (row.space.kind.name(), String::from_utf8_lossy(&value));
            StorageFailure::Corrupt(format!("a row of {kind} is {value:?}, not a number"))
        })?;
        self.put(row, before.saturating_add(amount).to_string().as_bytes())
    }
}

fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A value in its stored form.
struct Value<'a>(&'a [u8]);

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match std::str::from_utf8(self.0) {
            Ok(_) => ValueRef::Text(self.0),
            Err(_) => ValueRef::Blob(self.0),
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}
