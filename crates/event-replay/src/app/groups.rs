//! How far groups are, what they keep from retention, and what becomes of them.

use std::sync::Arc;

use domain::{
    Cursor, Filter,
    group::{GroupRecord, GroupSpec, GroupStatus, Pending},
    ports::{GroupHolds, ReadRequest},
    time::later,
};
use jiff::Timestamp;

use super::{
    confirmation::Confirmation,
    error::{AppError, NotFound},
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
    /// What it has still to handle.
    pub pending: Pending,
    /// Whether it keeps what it has not passed from retention, and until when if no consumer comes.
    pub hold: HoldState,
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
        Ok(Self { status, cursor, head, lag, waiting_since, pending, hold })
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
pub async fn create(store: &StoreHandle, spec: &GroupSpec, place: &str) -> Result<GroupCreated, AppError> {
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
    if !dry_run {
        store.reset_group(name, &mark).await?;
    }
    let released = before.status.blocked_keys();
    Ok(GroupMoved { from: before.cursor, to: mark, released, lag: all.saturating_sub(passed) })
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
pub async fn delete(store: &StoreHandle, name: &str) -> Result<(), AppError> {
    match store.delete_group(name).await? {
        true => Ok(()),
        false => Err(no_group(store, name).await?),
    }
}

/// Says which groups there are.
async fn no_group(store: &StoreHandle, name: &str) -> Result<AppError, AppError> {
    let groups = store.groups().await?;
    let known = groups.into_iter().take(MOST_NAMED).map(|group| group.spec.name).collect();
    Ok(NotFound::Group { name: name.to_owned(), known }.into())
}
