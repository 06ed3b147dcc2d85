//! Reading pages.

use domain::{
    Position, StorageFailure, StoredEvent,
    ports::{EventStoreError, Order, Page, ReadRequest},
};

use crate::{
    keys::{Digest, chunk_of},
    rows::{entries, range},
    state::sequence,
    store::RedisStore,
};

/// Most events that one page fetches.
const MAX_FETCHED: usize = 1_000;

pub(crate) async fn page(store: &RedisStore, request: &ReadRequest) -> Result<Page, EventStoreError> {
    let state = store.state().await?;
    let after = request.after.as_ref().map(|after| state.sequence_of(after)).transpose()?.unwrap_or(0);
    let until = request.until.as_ref().map_or(Ok(state.head), |until| state.sequence_of(until))?;
    let mut page = Page::default();
    if request.order == Order::NewestFirst {
        return Err(StorageFailure::Other("not yet".to_owned()).into());
    }
    let (mut from, limit) = (after + 1, request.limit.clamp(1, MAX_FETCHED));
    while from <= until {
        let chunk = chunk_of(from);
        let mut command = range(&store.keys().log(chunk), &format!("{from}-0"), &format!("{until}-0"));
        command.arg("COUNT").arg(limit);
        let found = entries(store.link().read(&command).await?)?;
        for entry in found {
            from = entry.sequence + 1;
            match entry.stored() {
                Ok(stored) if request.filter.matches(&stored.event) => page.events.push(stored),
                Ok(_) => {}
                Err(corrupt) => page.corrupt.push(corrupt),
            }
            if page.events.len() + page.corrupt.len() == request.limit {
                page.next = Some(state.cursor(from - 1));
                return Ok(page);
            }
        }
        if chunk_of(from) == chunk {
            from = (chunk + 1) * crate::keys::CHUNK;
        }
    }
    Ok(page)
}

pub(crate) async fn by_ids(store: &RedisStore, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
    let digests: Vec<Digest> = ids.iter().map(|id| Digest::of_id(id)).collect();
    let values = store.values_of(&digests).await?;
    let sequences: Vec<u64> =
        values.iter().filter_map(|value| crate::write::text(value)?.parse().ok()).collect();
    let mut found = Vec::new();
    for entry in store.entries_at(&sequences).await? {
        found.push(entry.stored().map_err(|corrupt| {
            StorageFailure::Corrupt(format!("event at {}: {}", corrupt.position, corrupt.detail))
        })?);
    }
    Ok(found)
}

pub(crate) async fn at(store: &RedisStore, positions: &[Position]) -> Result<Page, EventStoreError> {
    let sequences: Vec<u64> = positions.iter().copied().filter_map(sequence).collect();
    let mut page = Page::default();
    for entry in store.entries_at(&sequences).await? {
        match entry.stored() {
            Ok(stored) => page.events.push(stored),
            Err(corrupt) => page.corrupt.push(corrupt),
        }
    }
    Ok(page)
}
