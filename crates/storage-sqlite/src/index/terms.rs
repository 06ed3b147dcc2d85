//! Terms: the values by which the index finds events.

use std::collections::HashMap;

use domain::{Event, StorageFailure};
use rusqlite::{
    Connection, OptionalExtension, Row,
    types::{ToSqlOutput, ValueRef},
};

use crate::failure::sqlite;

pub(crate) const TYPE: i64 = 1;
pub(crate) const SOURCE: i64 = 2;
pub(crate) const CORRELATION: i64 = 3;
pub(crate) const HOUR: i64 = 4;

/// The value of a term: text, or an hour as a number since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Value<'a> {
    Hour(i64),
    Text(std::borrow::Cow<'a, str>),
}

impl Value<'_> {
    pub(crate) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Hour(hour) => Value::Hour(hour),
            Self::Text(text) => Value::Text(text.into_owned().into()),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Hour(hour) => Ok((*hour).into()),
            Self::Text(text) => Ok((&**text).into()),
        }
    }
}

/// A term: the number of its kind, and its value.
pub(crate) type Term<'a> = (i64, Value<'a>);

/// Reads the term from the columns `kind, value`, which start at column `at`.
pub(crate) fn term_of_row(row: &Row<'_>, at: usize) -> rusqlite::Result<Term<'static>> {
    let kind: i64 = row.get(at)?;
    let value = match row.get_ref(at + 1)? {
        ValueRef::Integer(hour) => Value::Hour(hour),
        other => Value::Text(String::from_utf8_lossy(other.as_bytes()?).into_owned().into()),
    };
    Ok((kind, value))
}

/// Returns the hour of an instant, counted from the Unix epoch.
pub(crate) fn hour_of(time: jiff::Timestamp) -> i64 {
    time.as_nanosecond().div_euclid(3_600_000_000_000) as i64
}

/// Returns all terms of an event. `number` maps the name of an entity kind to its number.
pub(crate) fn terms_of(
    event: &Event,
    mut number: impl FnMut(&str) -> Result<i64, StorageFailure>,
) -> Result<Vec<Term<'_>>, StorageFailure> {
    let mut terms = Vec::with_capacity(8);
    terms.push((TYPE, event.event_type().into()));
    terms.push((SOURCE, event.source().into()));
    terms.push((HOUR, Value::Hour(hour_of(event.timestamp()))));
    if let Some(id) = event.correlation_id() {
        terms.push((CORRELATION, id.into()));
    }
    for (kind, id) in event.entities() {
        terms.push((number(kind)?, id.into()));
    }
    Ok(terms)
}

/// The numbers of entity kinds, cached when they are first used.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    numbers: HashMap<String, i64>,
}

impl Kinds {
    /// Returns the number of a kind if the store has assigned one.
    pub(crate) fn find(
        &mut self,
        connection: &Connection,
        name: &str,
    ) -> Result<Option<i64>, StorageFailure> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(Some(*number));
        }
        let found = connection
            .prepare_cached("SELECT kind FROM kind WHERE name = ?1")
            .and_then(|mut statement| statement.query_row([name], |row| row.get::<_, i64>(0)).optional())
            .map_err(sqlite)?;
        if let Some(number) = found {
            self.numbers.insert(name.to_owned(), number);
        }
        Ok(found)
    }

    /// Returns the number of a kind. Assigns a number if the kind has none.
    pub(crate) fn number(&mut self, connection: &Connection, name: &str) -> Result<i64, StorageFailure> {
        if let Some(number) = self.find(connection, name)? {
            return Ok(number);
        }
        connection
            .prepare_cached("INSERT INTO kind (name) VALUES (?1)")
            .and_then(|mut statement| statement.insert([name]))
            .map_err(sqlite)
            .inspect(|number| {
                self.numbers.insert(name.to_owned(), *number);
            })
    }

    /// Returns the name of a kind.
    pub(crate) fn name(
        &mut self,
        connection: &Connection,
        number: i64,
    ) -> Result<Option<String>, StorageFailure> {
        if let Some((name, _)) = self.numbers.iter().find(|(_, own)| **own == number) {
            return Ok(Some(name.clone()));
        }
        connection
            .prepare_cached("SELECT name FROM kind WHERE kind = ?1")
            .and_then(|mut statement| statement.query_row([number], |row| row.get(0)).optional())
            .map_err(sqlite)
    }

    /// Clears the cache, because a rolled-back transaction may have assigned numbers.
    pub(crate) fn forget(&mut self) {
        self.numbers.clear();
    }

    /// Returns all terms of an event. Assigns numbers to new entity kinds.
    pub(crate) fn terms<'a>(
        &mut self,
        connection: &Connection,
        event: &'a Event,
    ) -> Result<Vec<Term<'a>>, StorageFailure> {
        terms_of(event, |kind| self.number(connection, kind))
    }
}
