//! Posting runs: a run is one index row, with the positions of one term from one fold. Walks return them in order.

use std::{cmp::Ordering, collections::BinaryHeap};

use domain::{StorageFailure, ports::Order};
use rusqlite::{Connection, OptionalExtension, Row};

use super::terms::{Term, Value};
use crate::failure::sqlite;

/// Number of runs that a walk fetches at once.
const RUNS_AT_ONCE: i64 = 16;

/// Encodes the positions after the first as differences. The positions must rise.
pub(crate) fn encode_rest(positions: &[u64]) -> Option<Vec<u8>> {
    if positions.len() < 2 {
        return None;
    }
    let mut out = Vec::with_capacity(positions.len() * 2);
    for pair in positions.windows(2) {
        let mut difference = pair[1] - pair[0];
        while difference >= 0x80 {
            out.push(difference as u8 | 0x80);
            difference >>= 7;
        }
        out.push(difference as u8);
    }
    Some(out)
}

/// Decodes the positions of a run. Returns none if the bytes are damaged.
pub(crate) fn decode_run(first: u64, count: u64, rest: &[u8]) -> Option<Vec<u64>> {
    let mut positions = Vec::with_capacity((count as usize).min(rest.len() + 1));
    positions.push(first);
    let (mut last, mut difference, mut shift) = (first, 0u64, 0u32);
    for byte in rest {
        difference |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            last = last.checked_add(difference).filter(|next| *next > last)?;
            positions.push(last);
            (difference, shift) = (0, 0);
        }
    }
    (shift == 0 && positions.len() as u64 == count).then_some(positions)
}

/// The first position of a run, and all its positions unless they are damaged.
pub(crate) type Run = (u64, Option<Vec<u64>>);

pub(crate) fn run_of_row(row: &Row<'_>) -> rusqlite::Result<Run> {
    let (first, count): (i64, i64) = (row.get(0)?, row.get(1)?);
    let rest = row.get_ref(2)?.as_blob_or_null()?.unwrap_or_default();
    Ok((first as u64, decode_run(first as u64, count as u64, rest)))
}

/// Returns the last run of a term that begins at or before a position. Only this run can hold the position.
pub(crate) fn run_from(
    connection: &Connection,
    (kind, value): &Term<'_>,
    seq: u64,
) -> Result<Option<Run>, StorageFailure> {
    connection
        .prepare_cached(
            "SELECT first, n, rest FROM posting WHERE kind = ?1 AND value = ?2 AND first <= ?3 \
             ORDER BY first DESC LIMIT 1",
        )
        .and_then(|mut statement| statement.query_row((kind, value, seq as i64), run_of_row).optional())
        .map_err(sqlite)
}

fn damaged() -> StorageFailure {
    StorageFailure::Corrupt("an index entry is damaged; `event-replay verify` says which".into())
}

/// Walks the positions of one term from a bound.
struct TermWalk<'a> {
    connection: &'a Connection,
    term: Term<'static>,
    order: Order,
    /// Fetched positions that are not yet returned. The last element comes next.
    ready: Vec<u64>,
    /// Bound from which the remaining runs are fetched. None when all runs are fetched.
    next_run: Option<u64>,
}

impl<'a> TermWalk<'a> {
    /// Starts a walk after `bound` (oldest first) or before it (newest first). `bound` itself is excluded.
    fn new(
        connection: &'a Connection,
        term: Term<'static>,
        order: Order,
        bound: u64,
    ) -> Result<Self, StorageFailure> {
        let mut walk = Self { connection, term, order, ready: Vec::new(), next_run: Some(bound) };
        // Positions start at 1, so no run begins before a walk from 0.
        if order == Order::OldestFirst && bound > 0 {
            walk.enter_run_before(bound)?;
        }
        walk.refill()?;
        Ok(walk)
    }

    /// Adds the positions after the bound from the run that begins at or before it.
    fn enter_run_before(&mut self, bound: u64) -> Result<(), StorageFailure> {
        let run = run_from(self.connection, &self.term, bound)?;
        if let Some((_, positions)) = run {
            let positions = positions.ok_or_else(damaged)?;
            self.ready.extend(positions.into_iter().rev().take_while(|position| *position > bound));
        }
        Ok(())
    }

    fn refill(&mut self) -> Result<(), StorageFailure> {
        let Some(bound) = self.next_run.filter(|_| self.ready.is_empty()) else { return Ok(()) };
        let sql = match self.order {
            Order::OldestFirst => {
                "SELECT first, n, rest FROM posting WHERE kind = ?1 AND value = ?2 AND first > ?3 \
                 ORDER BY first LIMIT ?4"
            }
            Order::NewestFirst => {
                "SELECT first, n, rest FROM posting WHERE kind = ?1 AND value = ?2 AND first < ?3 \
                 ORDER BY first DESC LIMIT ?4"
            }
        };
        let (kind, value) = &self.term;
        let mut statement = self.connection.prepare_cached(sql).map_err(sqlite)?;
        let runs = statement
            .query_map((kind, value, bound as i64, RUNS_AT_ONCE), run_of_row)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(sqlite)?;
        self.next_run = runs.last().filter(|_| runs.len() as i64 == RUNS_AT_ONCE).map(|(first, _)| *first);
        for (_, positions) in runs {
            self.ready.extend(positions.ok_or_else(damaged)?);
        }
        match self.order {
            Order::OldestFirst => self.ready.reverse(),
            Order::NewestFirst => {
                self.ready.sort_unstable();
                // The first fetched run begins before the bound and may extend past it.
                self.ready.truncate(self.ready.partition_point(|position| *position < bound));
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<u64> {
        self.ready.last().copied()
    }

    fn advance(&mut self) -> Result<(), StorageFailure> {
        self.ready.pop();
        self.refill()
    }
}

impl PartialEq for TermWalk<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for TermWalk<'_> {}

impl PartialOrd for TermWalk<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TermWalk<'_> {
    /// Orders walks so that the heap's greatest walk has the next position.
    fn cmp(&self, other: &Self) -> Ordering {
        let natural = self.peek().cmp(&other.peek());
        if self.order == Order::OldestFirst { natural.reverse() } else { natural }
    }
}

/// Walks the positions of several terms in order. A position that several terms share is returned once.
pub(crate) struct PostingWalk<'a> {
    walks: BinaryHeap<TermWalk<'a>>,
}

impl<'a> PostingWalk<'a> {
    pub(crate) fn new(
        connection: &'a Connection,
        terms: &[Term<'static>],
        order: Order,
        bound: u64,
    ) -> Result<Self, StorageFailure> {
        let mut walks = BinaryHeap::with_capacity(terms.len());
        for term in terms {
            let walk = TermWalk::new(connection, term.clone(), order, bound)?;
            if walk.peek().is_some() {
                walks.push(walk);
            }
        }
        Ok(Self { walks })
    }

    pub(crate) fn next(&mut self) -> Result<Option<u64>, StorageFailure> {
        let Some(position) = self.walks.peek().and_then(TermWalk::peek) else { return Ok(None) };
        while let Some(mut walk) = self.walks.peek_mut().filter(|walk| walk.peek() == Some(position)) {
            walk.advance()?;
            if walk.peek().is_none() {
                std::collections::binary_heap::PeekMut::pop(walk);
            }
        }
        Ok(Some(position))
    }
}

/// Estimates the number of positions of a term from at most `most_runs` of its runs.
pub(crate) fn estimate(
    connection: &Connection,
    term: &Term<'_>,
    most_runs: i64,
) -> Result<u64, StorageFailure> {
    connection
        .prepare_cached(
            "SELECT ifnull(sum(n), 0) FROM (SELECT n FROM posting WHERE kind = ?1 AND value = ?2 LIMIT ?3)",
        )
        .and_then(|mut statement| {
            statement.query_row((term.0, &term.1, most_runs), |row| row.get::<_, i64>(0))
        })
        .map(|count| count as u64)
        .map_err(sqlite)
}

/// Counts the positions of a term at or before a bound.
pub(crate) fn count(connection: &Connection, term: &Term<'_>, until: u64) -> Result<u64, StorageFailure> {
    let whole: i64 = connection
        .prepare_cached(
            "SELECT ifnull(sum(n), 0) FROM posting WHERE kind = ?1 AND value = ?2 AND first <= ?3",
        )
        .and_then(|mut statement| statement.query_row((term.0, &term.1, until as i64), |row| row.get(0)))
        .map_err(sqlite)?;
    // The last of these runs may extend beyond the bound.
    let last = run_from(connection, term, until)?;
    let beyond = match last {
        Some((_, positions)) => {
            let positions = positions.ok_or_else(damaged)?;
            positions.len() - positions.partition_point(|position| *position <= until)
        }
        None => 0,
    };
    Ok((whole as u64).saturating_sub(beyond as u64))
}

/// Returns whether a term has a position.
pub(crate) fn holds(connection: &Connection, term: &Term<'_>, seq: u64) -> Result<bool, StorageFailure> {
    let run = run_from(connection, term, seq)?;
    Ok(run.is_some_and(|(_, positions)| positions.is_some_and(|all| all.binary_search(&seq).is_ok())))
}

/// Returns the indexed values of one kind of term, in order.
pub(crate) fn values(connection: &Connection, kind: i64) -> Result<Vec<String>, StorageFailure> {
    let mut statement = connection
        .prepare_cached("SELECT value FROM posting WHERE kind = ?1 AND value > ?2 ORDER BY value LIMIT 1")
        .map_err(sqlite)?;
    let mut values: Vec<String> = Vec::new();
    let mut last = String::new();
    // Each value costs one look-up, so the entries of a value are skipped instead of read.
    while let Some(next) = statement
        .query_row((kind, Value::from(last.as_str())), |row| row.get::<_, String>(0))
        .optional()
        .map_err(sqlite)?
    {
        last.clone_from(&next);
        values.push(next);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_comes_back_as_it_was_written() {
        for positions in [vec![1], vec![1, 2, 3], vec![7, 135, 1 << 33, (1 << 62) + 5]] {
            let rest = encode_rest(&positions).unwrap_or_default();
            assert_eq!(decode_run(positions[0], positions.len() as u64, &rest), Some(positions));
        }
    }

    #[test]
    fn a_damaged_run_is_refused() {
        assert_eq!(decode_run(1, 3, &[1, 1, 1]), None, "one too many");
        assert_eq!(decode_run(1, 3, &[1]), None, "one too few");
        assert_eq!(decode_run(1, 2, &[0x80]), None, "cut short");
        assert_eq!(decode_run(1, 2, &[0]), None, "a position twice");
        assert_eq!(decode_run(1, 2, &[0xff; 12]), None, "more than 64 bits");
    }
}
