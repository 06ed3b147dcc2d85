//! Chooses the way to find a filter's events: by the part with the fewest positions, or by a scan of the log.

use domain::{Filter, StorageFailure, TypePattern};
use rusqlite::Connection;

use super::{
    postings,
    terms::{self, Kinds, Term, Value},
};
use crate::{log::ids, state::State};

/// The origin of candidates. The whole filter is then applied to each candidate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Driver {
    /// Every event.
    Scan,
    /// These positions, rising.
    Positions(Vec<u64>),
    /// The positions of any of these terms, and the unindexed tail.
    Terms(Vec<Term<'static>>),
}

/// Highest number of ids that are looked up one by one. For more ids, a scan of the log is cheaper.
const MAX_IDS: usize = 2000;
/// Longest time range that is read from the index, in hours. A longer range is a scan.
const MAX_HOURS: i64 = 24 * 31;
/// Highest number of terms that one walk merges.
const MAX_TERMS: usize = 2000;
/// Highest number of index rows (runs) of a term that an estimate reads.
const ESTIMATE_RUNS: i64 = 4096;

/// Chooses the driver of a filter.
pub(crate) fn choose(
    connection: &Connection,
    state: &State,
    filter: &Filter,
    kinds: &mut Kinds,
) -> Result<Driver, StorageFailure> {
    if !filter.event_ids.is_empty() && filter.event_ids.len() <= MAX_IDS {
        return positions_of_ids(connection, filter);
    }
    let mut best: Option<(u64, Vec<Term<'static>>)> = None;
    for part in parts(connection, filter, kinds)? {
        if part.len() > MAX_TERMS {
            continue;
        }
        let mut size = 0;
        for term in &part {
            size += postings::estimate(connection, term, ESTIMATE_RUNS)?;
        }
        if best.as_ref().is_none_or(|(smallest, _)| size < *smallest) {
            best = Some((size, part));
        }
    }
    Ok(match best {
        // Positions are fetched one by one. For more than half of the log, a scan is faster.
        Some((size, part)) if size <= state.events / 2 => Driver::Terms(part),
        _ => Driver::Scan,
    })
}

fn positions_of_ids(connection: &Connection, filter: &Filter) -> Result<Driver, StorageFailure> {
    let mut positions = Vec::with_capacity(filter.event_ids.len());
    for id in &filter.event_ids {
        positions.extend(ids::position_of(connection, id)?);
    }
    positions.sort_unstable();
    Ok(Driver::Positions(positions))
}

/// Returns the terms of each part of a filter that the index can answer.
pub(crate) fn parts(
    connection: &Connection,
    filter: &Filter,
    kinds: &mut Kinds,
) -> Result<Vec<Vec<Term<'static>>>, StorageFailure> {
    let owned = |kind: i64, value: &str| (kind, Value::from(value).into_owned());
    let mut parts = Vec::new();
    if !filter.types.is_empty() {
        parts.push(types(connection, &filter.types)?);
    }
    if !filter.sources.is_empty() {
        parts.push(filter.sources.iter().map(|source| owned(terms::SOURCE, source)).collect());
    }
    if !filter.correlation_ids.is_empty() {
        parts.push(filter.correlation_ids.iter().map(|id| owned(terms::CORRELATION, id)).collect());
    }
    for (kind, ids) in &filter.entities {
        // The index has no entries of an entity kind without a number.
        let number = kinds.find(connection, kind)?;
        parts.push(number.map_or_else(Vec::new, |number| ids.iter().map(|id| owned(number, id)).collect()));
    }
    if let (Some(from), Some(to)) = (filter.from, filter.to) {
        let (first, last) = (terms::hour_of(from), terms::hour_of(to));
        if last - first < MAX_HOURS {
            parts.push((first..=last).map(|hour| (terms::HOUR, Value::Hour(hour))).collect());
        }
    }
    Ok(parts)
}

/// Returns the terms of the types that match any of these patterns.
pub(crate) fn types(
    connection: &Connection,
    patterns: &[TypePattern],
) -> Result<Vec<Term<'static>>, StorageFailure> {
    let exact: Option<Vec<&str>> = patterns.iter().map(TypePattern::exact).collect();
    let mut names: Vec<String> = match exact {
        Some(names) => names.into_iter().map(str::to_owned).collect(),
        None => postings::values(connection, terms::TYPE)?
            .into_iter()
            .filter(|name| patterns.iter().any(|pattern| pattern.matches(name)))
            .collect(),
    };
    names.sort_unstable();
    names.dedup();
    Ok(names.into_iter().map(|name| (terms::TYPE, Value::Text(name.into()))).collect())
}
