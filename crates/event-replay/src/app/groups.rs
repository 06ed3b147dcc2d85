//! How far groups are, what they keep from retention, and what becomes of them.

use std::sync::Arc;

use domain::{
    Cursor, Filter,
    group::{GroupPause, GroupRecord, GroupSpec, GroupStatus, Pending},
    ports::{GroupHolds, GroupStoreError, ReadRequest},
    time::later,
};
use jiff::Timestamp;

use super::{
    audit::{Action, Actor, audited, facts},
    confirmation::Confirmation,
    error::{AppError, NotFound},
    near::near,
    position::mark_at,
    store::clock,
};
use crate::{handle::StoreHandle, settings::Settings};

/// Groups that are named where one is not there.
const MOST_NAMED: usize = 10;

/// A group with what its place in the log means.
#[derive(Debug)]
pub struct GroupPosition {
    /// What the store says of it.
    pub status: GroupStatus,
    /// Where its slowest segments are.
    pub cursor: Cursor,
    /// The newest position of each partition.
    pub head: Cursor,
    /// Events in the log after its slowest segments, of any type.
    pub lag: u64,
    /// When the oldest of these was stored.
    pub waiting_since: Option<Timestamp>,
    /// The events that it has still to handle.
    pub pending: Pending,
    /// Whether it keeps what it has not passed from retention, and until when if no consumer comes.
    pub hold: HoldState,
    /// The pauses that are in effect.
    pub pauses: Vec<GroupPause>,
}

/// Whether a group keeps history from retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldState {
    /// It does until then, should no consumer come before.
    Until(Timestamp),
    /// No consumer has come for so long that it keeps nothing any more, since then.
    ForgottenSince(Timestamp),
}

impl GroupPosition {
    /// Looks up what a group's place in the log means.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn of(store: &StoreHandle, holds: &GroupHolds, status: GroupStatus) -> Result<Self, AppError> {
        let head = store.head().await?;
        let cursor = lowest(&status, &head);
        let everything = Arc::new(Filter::default());
        let (all, passed) = match cursor == head {
            true => (0, 0),
            false => {
                (store.count(&everything, Some(&head)).await?, store.count(&everything, Some(&cursor)).await?)
            }
        };
        let lag = all.saturating_sub(passed);
        let waiting_since = match lag {
            0 => None,
            _ => {
                let mut request = ReadRequest::new(everything, 1);
                (request.after, request.until) = (Some(cursor.clone()), Some(head.clone()));
                store.read(&request).await?.events.first().map(|stored| stored.stored_at)
            }
        };
        let pending = store.pending(&status.record.spec.name).await?.unwrap_or_default();
        let hold = hold_state(status.record.last_seen_at, holds);
        let mut pauses = store.pauses(&status.record.spec.name).await?;
        let now = clock().now();
        pauses.retain(|pause| pause.is_in_effect(now));
        Ok(Self { status, cursor, head, lag, waiting_since, pending, hold, pauses })
    }

    /// Keys that are parked behind a dead letter.
    pub fn parked(&self) -> u64 {
        self.status.segments.iter().map(|segment| segment.parked_keys).sum()
    }

    /// References that wait in its replay lane.
    pub fn lane(&self) -> u64 {
        self.status.segments.iter().map(|segment| segment.lane).sum()
    }

    /// Its place, for people.
    pub fn cursor_text(&self) -> String {
        positions(&self.cursor).join(" ")
    }

    /// Whether anything waits for a consumer.
    pub fn has_work(&self) -> bool {
        self.pending.events > 0 || !self.pending.is_exact || self.lane() > 0
    }
}

/// The lowest cursor of each partition's segments.
fn lowest(status: &GroupStatus, head: &Cursor) -> Cursor {
    let sequences = (0u16..)
        .zip(&head.sequences)
        .map(|(partition, newest)| status.cursor(partition).unwrap_or(*newest).min(*newest))
        .collect();
    Cursor::new(head.store, head.epoch, sequences)
}

fn hold_state(last_seen: Timestamp, holds: &GroupHolds) -> HoldState {
    let until = later(last_seen, holds.forgotten_after);
    match until < clock().now() {
        true => HoldState::ForgottenSince(until),
        false => HoldState::Until(until),
    }
}

/// The positions that a cursor stands for.
pub fn positions(cursor: &Cursor) -> Vec<String> {
    (0u16..).zip(&cursor.sequences).map(|(partition, sequence)| format!("{partition}:{sequence}")).collect()
}

/// A group that must be there.
///
/// # Errors
/// When it is not, or the store fails.
pub async fn find(store: &StoreHandle, settings: &Settings, name: &str) -> Result<GroupPosition, AppError> {
    match store.group(name).await? {
        Some(status) => GroupPosition::of(store, &settings.holds, status).await,
        None => Err(no_group(store, name).await?),
    }
}

/// All groups. One that is deleted meanwhile is left out.
///
/// # Errors
/// When the store fails.
pub async fn all(store: &StoreHandle, settings: &Settings) -> Result<Vec<GroupPosition>, AppError> {
    let mut groups = vec![];
    for record in store.groups().await? {
        if let Some(status) = store.group(&record.spec.name).await? {
            groups.push(GroupPosition::of(store, &settings.holds, status).await?);
        }
    }
    Ok(groups)
}

/// A group that was made, or that was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupCreated {
    /// What the store keeps of it.
    pub record: GroupRecord,
    /// Whether it is new. One that was there keeps its place, and takes the types.
    pub created: bool,
    /// Where it is: the position of each partition.
    pub at: Vec<String>,
}

/// Makes a group at a place in the log.
///
/// # Errors
/// When the place is unknown, the group is there with another key or number of segments, or the store fails.
pub async fn create(
    store: &StoreHandle,
    by: &Actor,
    spec: &GroupSpec,
    place: &str,
) -> Result<GroupCreated, AppError> {
    let types: Vec<&str> = spec.types.iter().map(domain::TypePattern::as_str).collect();
    let action = Action::new("groups create").to(&spec.name).with("at", place).with("types", types);
    let outcome =
        |made: &GroupCreated| facts([("created", made.created.into()), ("at", made.at.clone().into())]);
    audited(store, by, action, make(store, spec, place), outcome).await
}

async fn make(store: &StoreHandle, spec: &GroupSpec, place: &str) -> Result<GroupCreated, AppError> {
    let mark = mark_at(store, place).await?;
    let existed = store.group(&spec.name).await?.is_some();
    let record = store.create_group(spec, &mark).await?;
    let status = store.group(&spec.name).await?;
    let head = store.head().await?;
    let at = (0u16..head.sequences.len() as u16)
        .filter_map(|partition| Some((partition, status.as_ref()?.cursor(partition)?)))
        .map(|(partition, sequence)| format!("{partition}:{sequence}"))
        .collect();
    Ok(GroupCreated { record, created: !existed, at })
}

/// A group that was moved, or would be.
#[derive(Debug)]
pub struct GroupMoved {
    /// Where it was.
    pub from: Cursor,
    /// Where it is now, or would be.
    pub to: Cursor,
    /// Keys that were blocked and are let go.
    pub released: u64,
    /// Events in the log after the new place.
    pub lag: u64,
}

/// Moves a group to another place in the log. A dry run says what that would come to, and changes nothing.
///
/// # Errors
/// When there is no such group or place, or the store fails.
pub async fn reset(
    store: &StoreHandle,
    by: &Actor,
    settings: &Settings,
    name: &str,
    place: &str,
    dry_run: bool,
) -> Result<GroupMoved, AppError> {
    let before = find(store, settings, name).await?;
    let mark = mark_at(store, place).await?;
    let everything = Arc::new(Filter::default());
    let passed = store.count(&everything, Some(&mark)).await?;
    let all = store.count(&everything, Some(&before.head)).await?;
    let released = before.status.blocked_keys();
    let moved = GroupMoved { from: before.cursor, to: mark, released, lag: all.saturating_sub(passed) };
    if !dry_run {
        let action = Action::new("groups reset").to(name).with("at", place);
        let action = action.with("from", positions(&moved.from)).with("to", positions(&moved.to));
        let outcome = |(): &()| facts([("lag", moved.lag.into()), ("released", released.into())]);
        let resetting = async { store.reset_group(name, &moved.to).await.map_err(AppError::from) };
        audited(store, by, action, resetting, outcome).await?;
    }
    Ok(moved)
}

/// Pauses a group: its consumers hand nothing over from the next second on, and keep their places.
///
/// # Errors
/// When there is no such group, or the store fails.
pub async fn pause(
    store: &StoreHandle,
    by: &Actor,
    name: &str,
    until: Option<Timestamp>,
) -> Result<GroupPause, AppError> {
    let pause = GroupPause {
        source: GroupPause::OPERATOR.to_owned(),
        since: clock().now(),
        by: by.operator.clone(),
        reason: by.reason.clone(),
        until,
    };
    let action = Action::new("groups pause").to(name).with("until", until.map(|until| until.to_string()));
    let pausing = async {
        match store.pause_group(name, &pause).await {
            Err(GroupStoreError::NoGroup(_)) => Err(no_group(store, name).await?),
            paused => Ok(paused?),
        }
    };
    audited(store, by, action, pausing, |()| facts([])).await?;
    Ok(pause)
}

/// Resumes a group: ends the pauses of operators and of circuit breakers; how many there were.
///
/// # Errors
/// When there is no such group, or the store fails.
pub async fn resume(store: &StoreHandle, by: &Actor, name: &str) -> Result<u64, AppError> {
    if store.group(name).await?.is_none() {
        return Err(no_group(store, name).await?);
    }
    let resuming = async { store.resume_group(name, None).await.map_err(AppError::from) };
    let outcome = |pauses: &u64| facts([("pauses", (*pauses).into())]);
    audited(store, by, Action::new("groups resume").to(name), resuming, outcome).await
}

/// What is to be confirmed before a group is deleted.
pub fn confirmation(group: &GroupPosition) -> Confirmation {
    Confirmation::DeleteGroup {
        name: group.status.record.spec.name.clone(),
        at: group.cursor_text(),
        consumers: group.status.consumers.len() as u64,
    }
}

/// Deletes a group.
///
/// # Errors
/// When it is not there any more, or the store fails.
pub async fn delete(store: &StoreHandle, by: &Actor, name: &str) -> Result<(), AppError> {
    let deleting = async {
        match store.delete_group(name).await? {
            true => Ok(()),
            false => Err(no_group(store, name).await?),
        }
    };
    audited(store, by, Action::new("groups delete").to(name), deleting, |()| facts([])).await
}

/// Says which groups there are.
async fn no_group(store: &StoreHandle, name: &str) -> Result<AppError, AppError> {
    let groups: Vec<String> = store.groups().await?.into_iter().map(|group| group.spec.name).collect();
    let mut known = near(name, groups.iter().map(String::as_str));
    let others = groups.into_iter().filter(|group| !known.contains(group)).collect::<Vec<_>>();
    known.extend(others);
    known.truncate(MOST_NAMED);
    Ok(NotFound::Group { name: name.to_owned(), known }.into())
}
