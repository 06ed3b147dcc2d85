//! The records of replays: find, pause, resume, cancel, delete.

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

/// The largest number of records in the search for a prefix.
const MOST: usize = 10_000;
/// The smallest length, in bytes, of a prefix of an id.
const SHORTEST: usize = 6;
/// The smallest length, in bytes, of a prefix that is shown.
const SHOWN: usize = 8;

/// Returns the newest replays.
///
/// # Errors
/// Returns [`AppError`] when the store fails, or when a record cannot be parsed.
pub async fn newest(store: &StoreHandle, limit: usize) -> Result<Vec<ReplaySummary>, AppError> {
    store.list_replays(limit).await?.iter().map(summary).collect()
}

/// Finds a replay by its id or by a unique prefix.
///
/// # Errors
/// Returns [`AppError`] when no replay matches, when several match, or when the store fails.
pub async fn find(store: &StoreHandle, id: &str) -> Result<ReplaySummary, AppError> {
    summary(&record(store, id).await?)
}

/// Returns for each replay the unique prefix of its id, in a form that [`find`] accepts.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
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

/// The longest wait for a pause to take effect.
const REST_WITHIN: Duration = Duration::from_secs(10);
/// The pause between two reads of the replay.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The result of a request to a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The id of the replay.
    pub id: String,
    /// The new state of the replay.
    pub state: ReplayState,
    /// The effect of a pause. `None` for other requests.
    pub rest: Option<Rest>,
}

/// The effect of a pause on a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// The replay delivers no more events.
    Effective,
    /// The replay sends no more events to the groups. The groups still handle this number of events.
    WithGroups(u64),
    /// The runner of the replay is still in a batch. The replay pauses after it.
    BatchInHand,
}

/// Pauses, resumes or cancels a replay. For a pause, the call waits at most 10 s until the pause takes effect.
///
/// # Errors
/// Returns [`AppError`] when the replay does not exist, when it has ended, or when the store fails.
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

/// Waits until the pause of a replay takes effect, or until the time limit.
async fn until_it_rests(store: &StoreHandle, requested: Requested) -> Result<Requested, AppError> {
    let begun = Instant::now();
    loop {
        let now = find(store, &requested.id).await?;
        let rest = match now.resting {
            // The replay was resumed, or it ended before the pause took effect.
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

/// Returns whether no process runs a replay.
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

/// The events that failed in a replay, and the target of the replay.
#[derive(Debug, Clone)]
pub struct FailedEvents {
    /// The id of the replay.
    pub id: String,
    /// The filter that matches the events.
    pub filter: Filter,
    /// The number of events.
    pub events: u64,
    /// `groups`, or the name of another target.
    pub target: String,
    /// The groups of the replay. Empty if the replay has another target.
    pub groups: Vec<String>,
}

/// Returns the failed events of a replay that has ended.
///
/// # Errors
/// Returns [`AppError`] when the replay does not exist, when it has not ended, or when no event failed. Also returns it
/// when more events failed than the record names, or when the store fails.
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

/// Deletes the record of a replay that has ended. Returns its id.
///
/// # Errors
/// Returns [`AppError`] when the replay does not exist, when it has not ended, or when the store fails.
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
