//! Reads pages. The driver yields candidates in order, and the whole filter is applied to each.

use std::ops::ControlFlow;

use domain::{
    Filter, StorageFailure,
    ports::{
        Order,
        engine::{Entry, Scan, ScanPage, log::bytes_of},
    },
    time::unix_micros,
};
use jiff::Timestamp;
use rusqlite::Connection;

use super::event_row::{self, Assembler, EventRow, Finder};
use crate::{
    failure::sqlite,
    index::{
        damaged::{Index, Verdict},
        plan::{self, Driver},
        postings::PostingWalk,
        terms::{Kinds, Term},
    },
    state::State,
};

/// Highest number of events that one page examines. The page then returns a continuation, so that no transaction stays
/// open for long.
const MAX_CANDIDATES: usize = 16 * 1024;

/// Whether a walk continues.
pub(crate) type Flow = Result<ControlFlow<()>, StorageFailure>;

/// Reads a page.
pub(crate) fn page(
    connection: &Connection,
    state: &State,
    request: &Scan<'_>,
    now: Timestamp,
) -> Result<ScanPage, StorageFailure> {
    let range = Range::of(state, request);
    let assembler = Assembler::new(connection, state);
    let mut index = Index::new(connection, state, request.filter);
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let stopped_at = walk(connection, state, request.filter, range, |row| {
        let indexed = match &row.event {
            Ok(event) if !request.filter.matches(event) => return Ok(ControlFlow::Continue(())),
            Ok(_) => false,
            Err(_) => match index.verdict(row.seq, row.at)? {
                Verdict::Differs => return Ok(ControlFlow::Continue(())),
                verdict => verdict == Verdict::Matches,
            },
        };
        let entry = assembler.entry(row, indexed)?;
        bytes += bytes_of(&entry);
        entries.push(entry);
        let full = entries.len() >= request.limit || bytes >= request.max_bytes;
        Ok(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let next = stopped_at.filter(|seq| range.has_more_after(*seq));
    Ok(ScanPage { entries, next, state: state.describe(connection, now)? })
}

/// Returns the entries at these sequences, one result for each sequence.
pub(crate) fn at(
    connection: &Connection,
    state: &State,
    sequences: &[u64],
) -> Result<Vec<Option<Entry>>, StorageFailure> {
    let (assembler, mut finder) = (Assembler::new(connection, state), Finder::new(connection)?);
    let mut found = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let row = finder.find(*sequence)?;
        found.push(row.map(|row| assembler.entry(row, false)).transpose()?);
    }
    Ok(found)
}

/// The positions that a read may still return: `low..=high`, walked in `order`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) order: Order,
    pub(crate) low: u64,
    pub(crate) high: u64,
}

impl Range {
    fn of(state: &State, request: &Scan<'_>) -> Self {
        let high = request.until.unwrap_or(state.head).min(state.head);
        let (order, after) = (request.order, request.after);
        match order {
            Order::OldestFirst => Self { order, low: after.map_or(1, |seq| seq.saturating_add(1)), high },
            Order::NewestFirst => {
                Self { order, low: 1, high: after.map_or(high, |seq| high.min(seq.saturating_sub(1))) }
            }
        }
    }

    fn has_more_after(self, seq: u64) -> bool {
        match self.order {
            Order::OldestFirst => seq < self.high,
            Order::NewestFirst => seq > self.low,
        }
    }

    fn intersect(self, low: u64, high: u64) -> Option<Self> {
        let narrowed = Self { order: self.order, low: self.low.max(low), high: self.high.min(high) };
        (narrowed.low <= narrowed.high).then_some(narrowed)
    }
}

/// Passes candidates to `visit` until it breaks or the page's budget is used up. Returns the last examined position if
/// more may follow. Returns none if the walk reached its end.
pub(crate) fn walk(
    connection: &Connection,
    state: &State,
    filter: &Filter,
    range: Range,
    mut visit: impl FnMut(EventRow) -> Flow,
) -> Result<Option<u64>, StorageFailure> {
    if range.low > range.high {
        return Ok(None);
    }
    let mut budget = MAX_CANDIDATES;
    let driver = plan::choose(connection, state, filter, &mut Kinds::default())?;
    let times = Times::of(filter);
    match driver {
        Driver::Scan => scan(connection, range, times, &mut budget, &mut visit),
        Driver::Positions(positions) => {
            let mut positions: Vec<u64> =
                positions.into_iter().filter(|seq| (range.low..=range.high).contains(seq)).collect();
            if range.order == Order::NewestFirst {
                positions.reverse();
            }
            let mut positions = positions.into_iter();
            fetch(connection, || Ok(positions.next()), &mut budget, &mut visit)
        }
        Driver::Terms(terms) => {
            let indexed = range.intersect(0, state.indexed);
            let tail = range.intersect(state.indexed + 1, u64::MAX);
            let mut parts = [(indexed, true), (tail, false)];
            if range.order == Order::NewestFirst {
                parts.reverse();
            }
            for (part, is_indexed) in parts {
                let Some(part) = part else { continue };
                let stopped = if is_indexed {
                    by_terms(connection, &terms, part, &mut budget, &mut visit)?
                } else {
                    scan(connection, part, times, &mut budget, &mut visit)?
                };
                if stopped.is_some() {
                    return Ok(stopped);
                }
            }
            Ok(None)
        }
    }
}

fn by_terms(
    connection: &Connection,
    terms: &[Term<'static>],
    range: Range,
    budget: &mut usize,
    visit: &mut impl FnMut(EventRow) -> Flow,
) -> Result<Option<u64>, StorageFailure> {
    let bound = match range.order {
        Order::OldestFirst => range.low - 1,
        Order::NewestFirst => range.high + 1,
    };
    let mut walk = PostingWalk::new(connection, terms, range.order, bound)?;
    let next = || Ok(walk.next()?.filter(|seq| (range.low..=range.high).contains(seq)));
    fetch(connection, next, budget, visit)
}

/// Visits the events at the positions that `next` returns from an index. If the log has no event at such a position,
/// pages of the log are misplaced and the event counts as damaged.
fn fetch(
    connection: &Connection,
    mut next: impl FnMut() -> Result<Option<u64>, StorageFailure>,
    budget: &mut usize,
    visit: &mut impl FnMut(EventRow) -> Flow,
) -> Result<Option<u64>, StorageFailure> {
    let mut finder = Finder::new(connection)?;
    while let Some(seq) = next()? {
        let row = finder.find(seq)?.unwrap_or_else(|| EventRow::lost(seq));
        *budget = budget.saturating_sub(1);
        if visit(row)?.is_break() || *budget == 0 {
            return Ok(Some(seq));
        }
    }
    Ok(None)
}

/// Range of timestamps that are worth decoding, in microseconds. The bounds are rounded, so the filter decides.
#[derive(Debug, Clone, Copy)]
struct Times {
    from: i64,
    to: i64,
}

impl Times {
    fn of(filter: &Filter) -> Self {
        Self { from: filter.from.map_or(i64::MIN, unix_micros), to: filter.to.map_or(i64::MAX, unix_micros) }
    }
}

/// Visits every event of a range. Misplaced pages of the log show in two ways: sequences are out of order, or an event
/// of the walk is missing in a look-up by its sequence.
fn scan(
    connection: &Connection,
    range: Range,
    times: Times,
    budget: &mut usize,
    visit: &mut impl FnMut(EventRow) -> Flow,
) -> Result<Option<u64>, StorageFailure> {
    let sql = match range.order {
        Order::OldestFirst => {
            "SELECT seq, at, stored_at, head, json FROM event WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq"
        }
        Order::NewestFirst => {
            "SELECT seq, at, stored_at, head, json FROM event WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq DESC"
        }
    };
    let mut statement = connection.prepare_cached(sql).map_err(sqlite)?;
    let mut found =
        statement.query((range.low as i64, range.high.min(i64::MAX as u64) as i64)).map_err(sqlite)?;
    let mut last: Option<u64> = None;
    while let Some(row) = found.next().map_err(sqlite)? {
        let at: i64 = row.get(1).map_err(sqlite)?;
        let seq = row.get::<_, i64>(0).map_err(sqlite)? as u64;
        let is_in_order = match last {
            None => event_row::is_at(connection, seq)?,
            Some(last) if range.order == Order::OldestFirst => last < seq,
            Some(last) => last > seq,
        };
        if !is_in_order {
            return Err(out_of_place(seq));
        }
        last = Some(seq);
        let in_time = (times.from..=times.to).contains(&at);
        *budget = budget.saturating_sub(1);
        let flow = match in_time {
            true => visit(event_row::decode(row).map_err(sqlite)?)?,
            false => ControlFlow::Continue(()),
        };
        if flow.is_break() || *budget == 0 {
            return match event_row::is_at(connection, seq)? {
                true => Ok(Some(seq)),
                false => Err(out_of_place(seq)),
            };
        }
    }
    Ok(None)
}

fn out_of_place(seq: u64) -> StorageFailure {
    StorageFailure::Corrupt(format!(
        "the event at 0:{seq} is not where it belongs in the file: pages of the log were exchanged"
    ))
}
