//! Taking events out of the log and out of every index, inside the writer's transaction.

use std::collections::HashMap;

use domain::{Event, StorageFailure};
use rusqlite::{Connection, OptionalExtension};

use crate::{
    failure::sqlite,
    postings, rows,
    state::State,
    terms::{Kinds, Term},
};

/// What was removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

/// Removes the events at these positions, which must rise. `before_each` sees each event's id.
pub(crate) fn remove(
    connection: &Connection,
    state: &mut State,
    kinds: &mut Kinds,
    positions: &[u64],
    mut before_each: impl FnMut(&str) -> Result<(), StorageFailure>,
) -> Result<Removed, StorageFailure> {
    let mut removed = Removed::default();
    let mut by_term: HashMap<Term<'static>, Vec<u64>> = HashMap::new();
    let mut unreadable = Vec::new();
    for seq in positions {
        let Some(row) = rows::find(connection, *seq)? else { continue };
        match &row.event {
            Ok(event) => {
                before_each(event.id())?;
                if *seq <= state.indexed {
                    for (kind, value) in kinds.terms(connection, event)? {
                        by_term.entry((kind, value.into_owned())).or_default().push(*seq);
                    }
                }
            }
            Err(_) => {
                // It cannot say its id; the whole table is asked.
                if let Some(id) = id_at(connection, *seq)? {
                    before_each(&id)?;
                }
                unreadable.push(*seq);
            }
        }
        delete_row(connection, *seq, row.event.as_ref().ok().map(Event::id))?;
        removed.bytes += row.bytes;
        removed.events += 1;
    }
    let mut terms: Vec<_> = by_term.into_iter().collect();
    terms.sort_unstable();
    for (term, gone) in terms {
        thin_out(connection, &term, &gone)?;
    }
    if !unreadable.is_empty() {
        thin_out_everywhere(connection, &unreadable)?;
    }
    state.events = state.events.saturating_sub(removed.events);
    state.bytes = state.bytes.saturating_sub(removed.bytes);
    Ok(removed)
}

/// Deletes an event's own rows.
fn delete_row(connection: &Connection, seq: u64, id: Option<&str>) -> Result<(), StorageFailure> {
    let seq = seq as i64;
    match id {
        Some(id) => execute(connection, "DELETE FROM event_id WHERE id = ?1", [id])?,
        // A damaged event cannot say its id: the whole table is asked.
        None => execute(connection, "DELETE FROM event_id WHERE seq = ?1", [seq])?,
    }
    execute(connection, "DELETE FROM replay WHERE seq = ?1", [seq])?;
    execute(connection, "DELETE FROM event WHERE seq = ?1", [seq])
}

fn id_at(connection: &Connection, seq: u64) -> Result<Option<String>, StorageFailure> {
    connection
        .query_row("SELECT id FROM event_id WHERE seq = ?1", [seq as i64], |row| row.get(0))
        .optional()
        .map_err(sqlite)
}

fn execute(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<(), StorageFailure> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map_err(sqlite)?;
    Ok(())
}

/// Takes positions out of a term's runs.
fn thin_out(connection: &Connection, term: &Term<'static>, gone: &[u64]) -> Result<(), StorageFailure> {
    let mut rest = gone;
    while let Some(seq) = rest.first() {
        let Some((first, Some(positions))) = postings::run_from(connection, term, *seq)? else {
            // The entry is lost already; `verify` reports such, removing goes on.
            rest = rest.get(1..).unwrap_or_default();
            continue;
        };
        let end = positions.last().copied().unwrap_or(first).max(*seq);
        let in_run = rest.partition_point(|seq| *seq <= end);
        let (now, later) = rest.split_at(in_run);
        let left: Vec<u64> =
            positions.into_iter().filter(|position| now.binary_search(position).is_err()).collect();
        rewrite(connection, term, first, &left)?;
        rest = later;
    }
    Ok(())
}

fn rewrite(
    connection: &Connection,
    (kind, value): &Term<'static>,
    first: u64,
    left: &[u64],
) -> Result<(), StorageFailure> {
    execute(
        connection,
        "DELETE FROM posting WHERE kind = ?1 AND value = ?2 AND first = ?3",
        (kind, value, first as i64),
    )?;
    let Some(new_first) = left.first() else { return Ok(()) };
    execute(
        connection,
        "INSERT INTO posting (kind, value, first, n, rest) VALUES (?1, ?2, ?3, ?4, ?5)",
        (kind, value, *new_first as i64, left.len() as i64, postings::encode_rest(left)),
    )
}

/// Finds the runs that hold positions of events that can no longer say what they were about.
fn thin_out_everywhere(connection: &Connection, gone: &[u64]) -> Result<(), StorageFailure> {
    let (Some(low), Some(high)) = (gone.first(), gone.last()) else { return Ok(()) };
    let mut affected = Vec::new();
    {
        let mut statement = connection
            .prepare("SELECT first, n, rest, kind, value FROM posting WHERE first <= ?1")
            .map_err(sqlite)?;
        let mut found = statement.query([*high as i64]).map_err(sqlite)?;
        while let Some(row) = found.next().map_err(sqlite)? {
            let (_, positions) = postings::run_of_row(row).map_err(sqlite)?;
            let holds = positions.is_some_and(|positions| {
                positions.last() >= Some(low) && gone.iter().any(|seq| positions.binary_search(seq).is_ok())
            });
            if holds {
                affected.push(crate::verify::term_of_row(row, 3).map_err(sqlite)?);
            }
        }
    }
    for term in affected {
        thin_out(connection, &term, gone)?;
    }
    Ok(())
}
