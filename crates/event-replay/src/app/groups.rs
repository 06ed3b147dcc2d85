//! Consumer groups: their progress, their holds on retention, and the operations that change them.

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
use crate::{handle::StoreHandle, lag::GroupLag, settings::Settings};

/// The largest number of groups that an error names.
const MOST_NAMED: usize = 10;

/// A group with its progress through the log.
#[derive(Debug)]
pub struct GroupPosition {
    /// The status of the group in the store.
    pub status: GroupStatus,
    /// The cursor of its slowest segments.
    pub cursor: Cursor,
    /// The newest position of each partition.
    pub head: Cursor,
    /// The lag: events of any type in the log after its slowest segments.
    pub lag: u64,
    /// The stored time of the oldest of these events.
    pub waiting_since: Option<Timestamp>,
    /// The pending events.
    pub pending: Pending,
    /// Whether the group holds back retention, and the time at which the hold ends without a consumer.
    pub hold: HoldState,
    /// The pauses in effect.
    pub pauses: Vec<GroupPause>,
}

/// Whether a group holds back retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldState {
    /// The group holds back retention until this time. A consumer that connects before it extends the hold.
    Until(Timestamp),
    /// No consumer has connected for too long. The group has held nothing since this time.
    ForgottenSince(Timestamp),
}

impl GroupPosition {
    /// Reads the progress of a group from the log.
    ///
    /// # Errors
    /// Returns [`AppError`] when the store fails.
    pub async fn of(store: &StoreHandle, holds: &GroupHolds, status: GroupStatus) -> Result<Self, AppError> {
        let GroupLag { cursor, head, events: lag } = GroupLag::of(&**store, &status).await?;
        let waiting_since = match lag {
            0 => None,
            _ => {
                let mut request = ReadRequest::new(Filter::default(), 1);
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

    /// Returns the number of parked keys.
    pub fn parked(&self) -> u64 {
        self.status.segments.iter().map(|segment| segment.parked_keys).sum()
    }

    /// Returns the number of references in its replay queues.
    pub fn lane(&self) -> u64 {
        self.status.segments.iter().map(|segment| segment.lane).sum()
    }

    /// Returns the cursor as text for people.
    pub fn cursor_text(&self) -> String {
        positions(&self.cursor).join(" ")
    }

    /// Returns whether a consumer would have work.
    pub fn has_work(&self) -> bool {
        self.pending.events > 0 || !self.pending.is_exact || self.lane() > 0
    }
}

/// Returns the lowest cursor of the segments in each partition.
fn hold_state(last_seen: Timestamp, holds: &GroupHolds) -> HoldState {
    let until = later(last_seen, holds.forgotten_after);
    match until < clock().now() {
        true => HoldState::ForgottenSince(until),
        false => HoldState::Until(until),
    }
}

/// Returns the positions of a cursor as text.
pub fn positions(cursor: &Cursor) -> Vec<String> {
    (0u16..).zip(&cursor.sequences).map(|(partition, sequence)| format!("{partition}:{sequence}")).collect()
}

/// Returns an existing group.
///
/// # Errors
/// Returns [`AppError`] when the group does not exist, or when the store fails.
pub async fn find(store: &StoreHandle, settings: &Settings, name: &str) -> Result<GroupPosition, AppError> {
    match store.group(name).await? {
        Some(status) => GroupPosition::of(store, &settings.holds, status).await,
        None => Err(no_group(store, name).await?),
    }
}

/// Returns all groups. A group that is deleted during the call is left out.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn all(store: &StoreHandle, settings: &Settings) -> Result<Vec<GroupPosition>, AppError> {
    let mut groups = vec![];
    for record in store.groups().await? {
        if let Some(status) = store.group(&record.spec.name).await? {
            groups.push(GroupPosition::of(store, &settings.holds, status).await?);
        }
    }
    Ok(groups)
}

/// A group that was created, or that existed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupCreated {
    /// The record of the group in the store.
    pub record: GroupRecord,
    /// Whether the group is new. An existing group keeps its position and gets the given types.
    pub created: bool,
    /// The position of the group in each partition.
    pub at: Vec<String>,
}

/// Creates a group at a position in the log.
///
/// # Errors
/// Returns [`AppError`] when the position is unknown, when the group exists with another key or another number of
/// segments, or when the store fails.
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

/// The result of a move of a group, or of its dry run.
#[derive(Debug)]
pub struct GroupMoved {
    /// The cursor before the move.
    pub from: Cursor,
    /// The cursor after the move.
    pub to: Cursor,
    /// The number of blocked keys that the move releases.
    pub released: u64,
    /// The number of events in the log after the new cursor.
    pub lag: u64,
}

/// Moves a group to another position in the log. A dry run returns the result and changes nothing.
///
/// # Errors
/// Returns [`AppError`] when the group or the position does not exist, or when the store fails.
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

/// Pauses a group. Its consumers stop delivering within a second, and keep their segments and cursors.
///
/// # Errors
/// Returns [`AppError`] when the group does not exist, or when the store fails.
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

/// Resumes a group: ends the pauses of operators and of circuit breakers. Returns the number of ended pauses.
///
/// # Errors
/// Returns [`AppError`] when the group does not exist, or when the store fails.
pub async fn resume(store: &StoreHandle, by: &Actor, name: &str) -> Result<u64, AppError> {
    if store.group(name).await?.is_none() {
        return Err(no_group(store, name).await?);
    }
    let resuming = async { store.resume_group(name, None).await.map_err(AppError::from) };
    let outcome = |pauses: &u64| facts([("pauses", (*pauses).into())]);
    audited(store, by, Action::new("groups resume").to(name), resuming, outcome).await
}

/// Returns the confirmation that the deletion of a group needs.
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
/// Returns [`AppError`] when the group does not exist, or when the store fails.
pub async fn delete(store: &StoreHandle, by: &Actor, name: &str) -> Result<(), AppError> {
    let deleting = async {
        match store.delete_group(name).await? {
            true => Ok(()),
            false => Err(no_group(store, name).await?),
        }
    };
    audited(store, by, Action::new("groups delete").to(name), deleting, |()| facts([])).await
}

/// Returns the error for a missing group, with the names of existing groups.
async fn no_group(store: &StoreHandle, name: &str) -> Result<AppError, AppError> {
    let groups: Vec<String> = store.groups().await?.into_iter().map(|group| group.spec.name).collect();
    let mut known = near(name, groups.iter().map(String::as_str));
    let others = groups.into_iter().filter(|group| !known.contains(group)).collect::<Vec<_>>();
    known.extend(others);
    known.truncate(MOST_NAMED);
    Ok(NotFound::Group { name: name.to_owned(), known }.into())
}
