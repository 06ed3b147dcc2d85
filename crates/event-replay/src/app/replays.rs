//! The records of replays: found by their ids, paused, resumed, cancelled, deleted.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use domain::{
    Filter,
    ports::{ReplayCommand, ReplayRecord, ReplayState},
};
use replay::{Pace, ReplaySummary};

use super::{
    audit::{Action, Actor, audited, facts},
    error::{AppError, Conflict, NotFound},
    prefix,
    replay_state::name_of,
    store::clock,
};
use crate::{handle::StoreHandle, manager::replay_manager};

/// Records that are looked through for one that begins with a text.
const MOST: usize = 10_000;
/// Bytes that a beginning has at least.
const SHORTEST: usize = 6;
/// Bytes that a beginning has at least where it is shown.
const SHOWN: usize = 8;

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

/// For each replay the beginning of its id that tells it from all others, and that [`find`] takes.
///
/// # Errors
/// When the store fails.
pub async fn prefixes(store: &StoreHandle, replays: &[ReplaySummary]) -> Result<Vec<String>, AppError> {
    let all: Vec<String> = store.list_replays(MOST).await?.into_iter().map(|record| record.id).collect();
    Ok(replays
        .iter()
        .map(|replay| prefix::unique(&replay.id, all.iter().map(String::as_str), SHOWN))
        .collect())
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
pub async fn request(
    store: &StoreHandle,
    by: &Actor,
    id: &str,
    command: ReplayCommand,
) -> Result<Requested, AppError> {
    let found = find(store, id).await?;
    if found.state.is_final() {
        return Err(Conflict::ReplayIsOver { id: found.id, state: found.state }.into());
    }
    let manager = replay_manager(store.ports(), None, clock());
    let action = match command {
        ReplayCommand::Pause => "replays pause",
        ReplayCommand::Resume => "replays resume",
        ReplayCommand::Cancel => "replays cancel",
    };
    let action = Action::new(action).to(&found.id).planned(&found.plan_hash).with("done", found.done());
    let requesting = async { manager.request(&found.id, command).await.map_err(AppError::from) };
    let outcome = |state: &ReplayState| facts([("state", name_of(*state).into())]);
    let state = audited(store, by, action, requesting, outcome).await?;
    let requested = Requested { id: found.id, state, rest: None };
    match command {
        ReplayCommand::Pause => until_it_rests(store, requested).await,
        ReplayCommand::Resume | ReplayCommand::Cancel => Ok(requested),
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

/// Changes the pace of a replay that is not over. The process that runs it takes the new pace within a second.
///
/// # Errors
/// When there is no such replay, it is over, the pace makes no sense, or the store fails.
pub async fn set_pace(
    store: &StoreHandle,
    by: &Actor,
    id: &str,
    pace: Pace,
) -> Result<ReplaySummary, AppError> {
    let found = find(store, id).await?;
    if found.state.is_final() {
        return Err(Conflict::ReplayIsOver { id: found.id, state: found.state }.into());
    }
    let manager = replay_manager(store.ports(), None, clock());
    let action = Action::new("replays pace").to(&found.id).planned(&found.plan_hash);
    let action = action.with("before", found.pace.to_string()).with("pace", pace.to_string());
    let setting = async { manager.set_pace(&found.id, pace).await.map_err(AppError::from) };
    let outcome = |state: &ReplayState| facts([("state", name_of(*state).into())]);
    let state = audited(store, by, action, setting, outcome).await?;
    if state.is_final() {
        return Err(Conflict::ReplayIsOver { id: found.id, state }.into());
    }
    find(store, &found.id).await
}

/// The events that failed in a replay, and where it went.
#[derive(Debug, Clone)]
pub struct FailedEvents {
    /// The replay.
    pub id: String,
    /// The events.
    pub filter: Filter,
    /// How many there are.
    pub events: u64,
    /// `groups`, or the name of another target.
    pub target: String,
    /// The groups that it went to; none where it went elsewhere.
    pub groups: Vec<String>,
}

/// What failed in a replay that is over.
///
/// # Errors
/// When there is no such replay, it is not over, nothing failed, or more failed than its record names; or when the store fails.
pub async fn failed(store: &StoreHandle, id: &str) -> Result<FailedEvents, AppError> {
    let found = find(store, id).await?;
    let Some(report) = found.report else {
        return Err(Conflict::ReplayNotOver { id: found.id, state: found.state }.into());
    };
    let event_ids: HashSet<String> = report.errors.into_iter().map(|error| error.event_id).collect();
    let events = event_ids.len() as u64;
    if report.errors_truncated {
        return Err(Conflict::TooManyFailed { id: found.id, named: events }.into());
    }
    if event_ids.is_empty() {
        return Err(Conflict::NothingFailed { id: found.id }.into());
    }
    let filter = Filter { event_ids, ..Filter::default() };
    Ok(FailedEvents { id: found.id, filter, events, target: found.target, groups: found.groups })
}

/// Deletes the record of a replay that is over; its id.
///
/// # Errors
/// When there is no such replay, or it is not over, or the store fails.
pub async fn delete(store: &StoreHandle, by: &Actor, id: &str) -> Result<String, AppError> {
    let found = find(store, id).await?;
    let action = Action::new("replays delete").to(&found.id).planned(&found.plan_hash);
    let deleting = async {
        match store.delete_replay(&found.id).await? {
            true => Ok(()),
            false => Err(Conflict::ReplayGoesOn { id: found.id.clone(), state: found.state }.into()),
        }
    };
    audited(store, by, action, deleting, |()| facts([])).await.map(|()| found.id)
}
