//! Counts events: from the index if its answer is exact, otherwise event by event.

use std::{ops::ControlFlow, sync::Arc};

use domain::{Filter, StorageFailure, ports::Order};
use rusqlite::Connection;

use super::{
    plan, postings,
    terms::{self, Kinds, Term, Value},
};
use crate::{
    file::SqliteEngine,
    log::read::{self, Range},
    state::State,
};

/// Counts the matching events up to a sequence.
pub(crate) async fn count(
    engine: &SqliteEngine,
    filter: &Arc<Filter>,
    until: u64,
) -> Result<u64, StorageFailure> {
    let wanted = filter.clone();
    let (mut total, until, mut next) = engine
        .reading(move |connection, state| {
            let until = until.min(state.head);
            let (total, next) = count_indexed(connection, state, &wanted, until)?;
            Ok((total, until, next))
        })
        .await?;
    // Each page has its own transaction.
    while let Some(low) = next.filter(|low| *low <= until) {
        let filter = filter.clone();
        let range = Range { order: Order::OldestFirst, low, high: until };
        let (found, stopped) =
            engine.reading(move |connection, state| count_page(connection, state, &filter, range)).await?;
        total += found;
        next = stopped.map(|seq| seq + 1);
    }
    Ok(total)
}

/// Returns the count from the index, and the sequence from which events must be examined.
fn count_indexed(
    connection: &Connection,
    state: &State,
    filter: &Filter,
    until: u64,
) -> Result<(u64, Option<u64>), StorageFailure> {
    if filter.is_everything() && until == state.head {
        return Ok((state.events, None));
    }
    let Some(terms) = exact_terms(connection, filter)? else { return Ok((0, Some(1))) };
    let mut total = 0;
    for term in terms {
        total += postings::count(connection, &term, until.min(state.indexed))?;
    }
    // Only the unindexed tail remains to be examined.
    Ok((total, Some(state.indexed + 1)))
}

fn count_page(
    connection: &Connection,
    state: &State,
    filter: &Filter,
    range: Range,
) -> Result<(u64, Option<u64>), StorageFailure> {
    let mut found = 0;
    let stopped = read::walk(connection, state, filter, range, |row| {
        if row.event.is_ok_and(|event| filter.matches(&event)) {
            found += 1;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((found, stopped))
}

/// Returns terms whose counts add up to the filter's count. Such terms exist only for a filter of at most one part. An
/// event has at most one value for each part.
fn exact_terms(
    connection: &Connection,
    filter: &Filter,
) -> Result<Option<Vec<Term<'static>>>, StorageFailure> {
    let unlisted = filter.from.is_none()
        && filter.to.is_none()
        && filter.condition.is_none()
        && filter.event_ids.is_empty();
    let parts = usize::from(!filter.types.is_empty())
        + usize::from(!filter.sources.is_empty())
        + usize::from(!filter.correlation_ids.is_empty())
        + filter.entities.len();
    if !unlisted || parts > 1 {
        return Ok(None);
    }
    let owned = |kind: i64, value: &str| (kind, Value::from(value).into_owned());
    if let Some((kind, ids)) = filter.entities.first_key_value() {
        let number = Kinds::default().find(connection, kind)?;
        return Ok(Some(number.map_or_else(Vec::new, |kind| ids.iter().map(|id| owned(kind, id)).collect())));
    }
    if !filter.sources.is_empty() {
        return Ok(Some(filter.sources.iter().map(|source| owned(terms::SOURCE, source)).collect()));
    }
    if !filter.correlation_ids.is_empty() {
        return Ok(Some(filter.correlation_ids.iter().map(|id| owned(terms::CORRELATION, id)).collect()));
    }
    if filter.types.is_empty() {
        // Every event has a type.
        let all = postings::values(connection, terms::TYPE)?;
        return Ok(Some(all.into_iter().map(|name| (terms::TYPE, Value::Text(name.into()))).collect()));
    }
    plan::types(connection, &filter.types).map(Some)
}
