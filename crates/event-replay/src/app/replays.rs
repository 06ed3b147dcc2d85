//! The records of replays: found by their ids, paused, resumed, cancelled, deleted.

use std::time::{Duration, Instant};

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

/// How long a replay that is to rest is waited for.
const REST_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A replay that was asked for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// Its id.
    pub id: String,
    /// Its state from now on.
    pub state: ReplayState,
    /// Of one that was asked to rest: how far that is.
    pub rest: Option<Rest>,
}

/// How far a replay is that was asked to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing of it is handed over any more.
    Effective,
    /// Nothing of it goes to the groups any more; so many events are with them, and are handled.
    WithGroups(u64),
    /// The process that runs it has a batch in hand, and rests after it.
    BatchInHand,
}

/// Asks a replay to rest, to go on or to end. One that is to rest is waited for, for a while.
///
/// # Errors
/// When there is no such replay, or it is over, or the store fails.
pub async fn request(store: &StoreHandle, id: &str, command: ReplayWish) -> Result<Requested, AppError> {
    let found = find(store, id).await?;
    if found.state.is_final() {
        return Err(Conflict::ReplayIsOver { id: found.id, state: found.state }.into());
    }
    let manager = replay_manager(store.ports(), None, clock());
    let state = manager.wish(&found.id, command).await?;
    let requested = Requested { id: found.id, state, rest: None };
    match command {
        ReplayWish::Pause => until_it_rests(store, requested).await,
        ReplayWish::Resume | ReplayWish::Cancel => Ok(requested),
    }
}

/// Waits until a replay rests, or until the time for that is over.
async fn until_it_rests(store: &StoreHandle, requested: Requested) -> Result<Requested, AppError> {
    let begun = Instant::now();
    loop {
        let now = find(store, &requested.id).await?;
        let rest = match now.resting {
            // It was resumed, or it ended before it saw the request.
            _ if now.state != ReplayState::Paused => {
                return Ok(Requested { state: now.state, rest: None, ..requested });
            }
            Some(0) => Rest::Effective,
            Some(events) => Rest::WithGroups(events),
            None if is_left(store, &now).await? => Rest::Effective,
            None => Rest::BatchInHand,
        };
        if rest == Rest::Effective || begun.elapsed() > REST_WITHIN {
            return Ok(Requested { rest: Some(rest), ..requested });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether no process runs a replay.
async fn is_left(store: &StoreHandle, replay: &ReplaySummary) -> Result<bool, AppError> {
    Ok(store.waiting_replays().await?.iter().any(|waiting| waiting.id == replay.id))
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
