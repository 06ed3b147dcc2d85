//! The records of replays: found by their ids, paused, resumed, cancelled, deleted.

use domain::ports::{ReplayRecord, ReplayState, ReplayWish};
use replay::ReplaySummary;

use super::{
    error::{AppError, Conflict, NotFound},
    store::clock,
};
use crate::{handle::StoreHandle, manager::replay_manager};

/// Records that are looked through for one that begins with a text.
const MOST: usize = 10_000;
/// What a beginning has at least.
const SHORTEST: usize = 6;

/// The newest replays.
///
/// # Errors
/// When the store fails, or a record cannot be read.
pub async fn newest(store: &StoreHandle, limit: usize) -> Result<Vec<ReplaySummary>, AppError> {
    store.list_replays(limit).await?.iter().map(summary).collect()
}

/// Finds a replay by its id, or by as much of it as tells it from the others.
///
/// # Errors
/// When there is none or there are several, or the store fails.
pub async fn find(store: &StoreHandle, id: &str) -> Result<ReplaySummary, AppError> {
    summary(&record(store, id).await?)
}

fn summary(record: &ReplayRecord) -> Result<ReplaySummary, AppError> {
    Ok(ReplaySummary::of(record)?)
}

async fn record(store: &StoreHandle, id: &str) -> Result<ReplayRecord, AppError> {
    if let Some(record) = store.find_replay(id).await? {
        return Ok(record);
    }
    let unknown = || NotFound::Replay { id: id.to_owned() };
    if id.len() < SHORTEST {
        return Err(unknown().into());
    }
    let all = store.list_replays(MOST).await?;
    let mut matching = all.into_iter().filter(|record| record.id.starts_with(id));
    match (matching.next(), matching.next()) {
        (Some(record), None) => Ok(record),
        (Some(_), Some(_)) => Err(NotFound::OneReplay { beginning: id.to_owned() }.into()),
        (None, _) => Err(unknown().into()),
    }
}

/// Asks a replay to rest, to go on or to end; which one it is, and its state from now on.
///
/// # Errors
/// When there is no such replay, or it is over, or the store fails.
pub async fn request(
    store: &StoreHandle,
    id: &str,
    command: ReplayWish,
) -> Result<(ReplaySummary, ReplayState), AppError> {
    let found = find(store, id).await?;
    if found.state.is_final() {
        return Err(Conflict::ReplayIsOver { id: found.id, state: found.state }.into());
    }
    let manager = replay_manager(store.ports(), None, clock());
    let state = manager.wish(&found.id, command).await?;
    Ok((found, state))
}

/// Deletes the record of a replay that is over; its id.
///
/// # Errors
/// When there is no such replay, or it is not over, or the store fails.
pub async fn delete(store: &StoreHandle, id: &str) -> Result<String, AppError> {
    let found = find(store, id).await?;
    match store.delete_replay(&found.id).await? {
        true => Ok(found.id),
        false => Err(Conflict::ReplayGoesOn { id: found.id, state: found.state }.into()),
    }
}
