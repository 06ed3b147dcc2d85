//! Reading pages: candidates in order from the chosen driver, each held against the whole filter.

use std::ops::ControlFlow;

use domain::{
    Filter, Position, StorageFailure, StoredEvent,
    ports::{EventStoreError, Order, Page, ReadRequest},
};
use rusqlite::Connection;

use crate::{
    cursor,
    failure::sqlite,
    plan::{self, Driver},
    postings::PostingWalk,
    rows::{self, Assembler, EventRow},
    state::{State, micros},
    terms::Kinds,
};

/// Events that a page looks at before it says "go on from here", so that no transaction stays open for long.
const MAX_CANDIDATES: usize = 16 * 1024;
/// Bytes of events that a page returns before it says so. Bounds memory, whatever limit was asked for.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Reads a page.
pub(crate) fn page(
    connection: &Connection,
    state: &State,
    request: &ReadRequest,
) -> Result<Page, EventStoreError> {
    let range = Range::of(connection, state, request)?;
    let assembler = Assembler::new(connection)?;
    let mut page = Page::default();
    let (limit, mut bytes) = (request.limit.max(1), 0);
    let mut failure = None;
    let stopped_at = walk(connection, state, &request.filter, range, |row| {
        match row.event {
            Ok(event) if !request.filter.matches(&event) => {}
            Ok(event) => {
                bytes += event.size_bytes();
                match assembler.stored(row.seq, row.stored_at, event) {
                    Ok(stored) => page.events.push(stored),
                    Err(error) => failure = Some(error),
                }
            }
            Err(detail) => page.corrupt.push(rows::corrupt(row.seq, detail)),
        }
        let full = page.events.len() >= limit || bytes >= MAX_PAGE_BYTES || failure.is_some();
        if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    page.next = stopped_at.filter(|seq| range.has_more_after(*seq)).map(|seq| state.cursor(seq));
    Ok(page)
}

/// The events of these ids, in the order of the ids.
pub(crate) fn by_ids(connection: &Connection, ids: &[String]) -> Result<Vec<StoredEvent>, StorageFailure> {
    let assembler = Assembler::new(connection)?;
    let mut found = Vec::new();
    for id in ids {
        let Some(seq) = rows::position_of(connection, id)? else { continue };
        let Some(row) = rows::find(connection, seq)? else { continue };
        let event = row.event.map_err(|detail| {
            StorageFailure::Corrupt(format!("the event {id:?} at position 0:{seq}: {detail}"))
        })?;
        found.push(assembler.stored(seq, row.stored_at, event)?);
    }
    Ok(found)
}

/// The events at these positions, in the order of the positions.
pub(crate) fn at(connection: &Connection, positions: &[Position]) -> Result<Page, StorageFailure> {
    let assembler = Assembler::new(connection)?;
    let mut page = Page::default();
    for position in positions.iter().filter(|position| position.partition == 0) {
        let Some(row) = rows::find(connection, position.sequence)? else { continue };
        match row.event {
            Ok(event) => page.events.push(assembler.stored(row.seq, row.stored_at, event)?),
            Err(detail) => page.corrupt.push(rows::corrupt(row.seq, detail)),
        }
    }
    Ok(page)
}

/// The positions that a read may still return: those in `low..=high`, walked in `order`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) order: Order,
    pub(crate) low: u64,
    pub(crate) high: u64,
}

impl Range {
    fn of(connection: &Connection, state: &State, request: &ReadRequest) -> Result<Self, EventStoreError> {
        let resolve = |cursor: &Option<domain::Cursor>| {
            cursor.as_ref().map(|cursor| cursor::resolve(connection, state, cursor)).transpose()
        };
        let (after, until) = (resolve(&request.after)?, resolve(&request.until)?);
        let high = until.unwrap_or(state.head);
        let order = request.order;
        Ok(match order {
            Order::OldestFirst => Self { order, low: after.map_or(1, |seq| seq + 1), high },
            Order::NewestFirst => {
                Self { order, low: 1, high: after.map_or(high, |seq| high.min(seq.saturating_sub(1))) }
            }
        })
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

/// Shows candidates to a visitor until it breaks or the page's work is done. The last position looked at if there may
/// be more, none if the walk came to its end.
pub(crate) fn walk(
    connection: &Connection,
    state: &State,
    filter: &Filter,
    range: Range,
    mut visit: impl FnMut(EventRow) -> ControlFlow<()>,
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
    terms: &[crate::terms::Term<'static>],
    range: Range,
    budget: &mut usize,
    visit: &mut impl FnMut(EventRow) -> ControlFlow<()>,
) -> Result<Option<u64>, StorageFailure> {
    let bound = match range.order {
        Order::OldestFirst => range.low - 1,
        Order::NewestFirst => range.high + 1,
    };
    let mut walk = PostingWalk::new(connection, terms, range.order, bound)?;
    let next = || Ok(walk.next()?.filter(|seq| (range.low..=range.high).contains(seq)));
    fetch(connection, next, budget, visit)
}

/// Visits the events at the positions that `next` gives.
fn fetch(
    connection: &Connection,
    mut next: impl FnMut() -> Result<Option<u64>, StorageFailure>,
    budget: &mut usize,
    visit: &mut impl FnMut(EventRow) -> ControlFlow<()>,
) -> Result<Option<u64>, StorageFailure> {
    while let Some(seq) = next()? {
        let Some(row) = rows::find(connection, seq)? else { continue };
        *budget = budget.saturating_sub(1);
        if visit(row).is_break() || *budget == 0 {
            return Ok(Some(seq));
        }
    }
    Ok(None)
}

/// Microseconds between which an event's timestamp must lie to be worth decoding. Rounded, so the filter decides.
#[derive(Debug, Clone, Copy)]
struct Times {
    from: i64,
    to: i64,
}

impl Times {
    fn of(filter: &Filter) -> Self {
        Self { from: filter.from.map_or(i64::MIN, micros), to: filter.to.map_or(i64::MAX, micros) }
    }
}

/// Visits every event of a range.
fn scan(
    connection: &Connection,
    range: Range,
    times: Times,
    budget: &mut usize,
    visit: &mut impl FnMut(EventRow) -> ControlFlow<()>,
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
    while let Some(row) = found.next().map_err(sqlite)? {
        let at: i64 = row.get(1).map_err(sqlite)?;
        let seq = row.get::<_, i64>(0).map_err(sqlite)? as u64;
        let in_time = (times.from..=times.to).contains(&at);
        *budget = budget.saturating_sub(1);
        let flow =
            if in_time { visit(rows::decode(row).map_err(sqlite)?) } else { ControlFlow::Continue(()) };
        if flow.is_break() || *budget == 0 {
            return Ok(Some(seq));
        }
    }
    Ok(None)
}
