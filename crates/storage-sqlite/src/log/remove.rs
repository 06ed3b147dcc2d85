//! Removes events from the log and from every index, in the writer's transaction.

use std::collections::HashMap;

use domain::{
    StorageFailure,
    ports::engine::{
        Entry, RemovalKind,
        log::{bytes_of, sequence_of},
    },
};
use rusqlite::Connection;

use super::ids;
use crate::{
    connection::execute,
    failure::sqlite,
    index::{
        postings,
        terms::{Term, term_of_row},
    },
    writer::change::Change,
};

/// Number of removed events, and bytes of their JSON.
pub(crate) type Gone = (u64, u64);

impl Change<'_> {
    /// Removes events, given as they were read, in rising order. Events that are already removed are not counted.
    pub(crate) fn remove(&mut self, entries: &[Entry], kind: RemovalKind) -> Result<Gone, StorageFailure> {
        let (mut events, mut bytes) = (0, 0);
        let mut by_term: HashMap<Term<'static>, Vec<u64>> = HashMap::new();
        let mut unreadable = Vec::new();
        for entry in entries {
            let seq = sequence_of(entry);
            if kind == RemovalKind::Erase {
                self.bury_entry(entry)?;
            }
            if !delete_row(self.connection, seq, entry.as_ref().ok().map(|stored| stored.event.id()))? {
                continue;
            }
            events += 1;
            bytes += bytes_of(entry);
            match entry {
                Ok(stored) if seq <= self.state.indexed => {
                    for (kind, value) in self.kinds.terms(self.connection, &stored.event)? {
                        by_term.entry((kind, value.into_owned())).or_default().push(seq);
                    }
                }
                Ok(_) => {}
                Err(_) => unreadable.push(seq),
            }
        }
        let mut terms: Vec<_> = by_term.into_iter().collect();
        terms.sort_unstable();
        for (term, gone) in &terms {
            thin_out(self.connection, term, gone)?;
        }
        terms.extend(thin_out_everywhere(self.connection, &unreadable)?);
        let tally = self.tally_of(terms.iter().map(|(term, gone)| (term, gone.len())))?;
        self.count_out(&tally)?;
        self.note_removed(entries, kind, (events, bytes));
        Ok((events, bytes))
    }

    /// Stores a tombstone for the id of an event. The id of a damaged event is found by a scan of the whole table.
    fn bury_entry(&mut self, entry: &Entry) -> Result<(), StorageFailure> {
        match entry {
            Ok(stored) => self.bury(stored.event.id()),
            Err(damaged) => match ids::id_at(self.connection, damaged.sequence)? {
                Some(id) => self.bury(&id),
                None => Ok(()),
            },
        }
    }

    fn note_removed(&mut self, entries: &[Entry], kind: RemovalKind, (events, bytes): Gone) {
        let state = &mut self.state;
        state.events = state.events.saturating_sub(events);
        state.bytes = state.bytes.saturating_sub(bytes);
        match kind {
            RemovalKind::Erase => state.unscrubbed |= events > 0,
            RemovalKind::Oldest | RemovalKind::Among => {
                state.trimmed = state.trimmed.max(entries.last().map_or(0, sequence_of));
            }
        }
        // The tail may hold removed events. The next fold reads the log again.
        self.tail.clear();
    }
}

/// Deletes the rows of one event. Returns whether the event existed.
fn delete_row(connection: &Connection, seq: u64, id: Option<&str>) -> Result<bool, StorageFailure> {
    let seq = seq as i64;
    match id {
        Some(id) => execute(connection, "DELETE FROM event_id WHERE id = ?1 AND seq = ?2", (id, seq))?,
        None => execute(connection, "DELETE FROM event_id WHERE seq = ?1", [seq])?,
    };
    execute(connection, "DELETE FROM replay WHERE seq = ?1", [seq])?;
    Ok(execute(connection, "DELETE FROM event WHERE seq = ?1", [seq])? > 0)
}

/// Removes positions from the index rows of a term.
fn thin_out(connection: &Connection, term: &Term<'static>, gone: &[u64]) -> Result<(), StorageFailure> {
    let mut rest = gone;
    while let Some(seq) = rest.first() {
        let Some((first, Some(positions))) = postings::run_from(connection, term, *seq)? else {
            // The index entry is already lost. `verify` reports lost entries, and the removal continues.
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
    .map(drop)
}

/// Finds the index rows that hold positions of unreadable events, and removes these positions. Returns the affected
/// terms with their positions.
fn thin_out_everywhere(
    connection: &Connection,
    gone: &[u64],
) -> Result<Vec<(Term<'static>, Vec<u64>)>, StorageFailure> {
    let (Some(low), Some(high)) = (gone.first(), gone.last()) else { return Ok(Vec::new()) };
    let mut affected: Vec<(Term<'static>, Vec<u64>)> = Vec::new();
    {
        let mut statement = connection
            .prepare("SELECT first, n, rest, kind, value FROM posting WHERE first <= ?1")
            .map_err(sqlite)?;
        let mut found = statement.query([*high as i64]).map_err(sqlite)?;
        while let Some(row) = found.next().map_err(sqlite)? {
            let (_, positions) = postings::run_of_row(row).map_err(sqlite)?;
            let Some(positions) = positions.filter(|positions| positions.last() >= Some(low)) else {
                continue;
            };
            let held = gone.iter().filter(|seq| positions.binary_search(seq).is_ok());
            let held: Vec<u64> = held.copied().collect();
            if !held.is_empty() {
                affected.push((term_of_row(row, 3).map_err(sqlite)?, held));
            }
        }
    }
    for (term, held) in &affected {
        thin_out(connection, term, held)?;
    }
    Ok(affected)
}
