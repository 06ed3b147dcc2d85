//! The state of an entity at a moment, and the difference of its states at two moments.
//!
//! A state is folded from the events that name the entity and whose timestamp is not after the moment, in log order. An
//! event that was stored late counts for its own timestamp.

mod causes;
mod fold;

use std::sync::Arc;

use domain::{
    Cursor, Entity, Filter, StoredEvent, TypePattern,
    ports::{EventUpcaster, Order},
    upcast::upcast_stored,
};
use jiff::Timestamp;
use serde::Serialize;

pub use self::fold::{FoldError, FoldMethod};
use self::{causes::Causes, fold::Fold};
use super::{
    differences::{Difference, PatchOperation, differences},
    error::{AppError, InvalidRequest, NotFound},
    json_tree::JsonTree,
    walk::EventWalk,
};
use crate::handle::StoreHandle;

/// The entity of a state, and the way to fold its events.
#[derive(Debug, Clone)]
pub struct StateRequest {
    /// The entity.
    pub entity: Entity,
    /// The event types that count; `*` matches any characters. Empty: all.
    pub types: Vec<String>,
    /// The fold.
    pub method: FoldMethod,
    /// The upcasters. A fold gets the events as a consumer does.
    pub upcaster: Arc<dyn EventUpcaster>,
}

/// An event that a state is folded from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoldedEvent {
    /// The id.
    pub id: String,
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The timestamp.
    pub timestamp: Timestamp,
    /// The position in the log.
    pub position: String,
}

impl FoldedEvent {
    fn of(stored: &StoredEvent) -> Self {
        Self {
            id: stored.event.id().to_owned(),
            event_type: stored.event.event_type().to_owned(),
            timestamp: stored.event.timestamp(),
            position: stored.position.to_string(),
        }
    }
}

/// The state of an entity at a moment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntityState {
    /// The entity, as `KIND=ID`.
    pub entity: String,
    /// The moment. `None`: after the newest event.
    pub at: Option<Timestamp>,
    /// The number of events that the state is folded from.
    pub events: u64,
    /// The last of these events, in log order.
    pub last: Option<FoldedEvent>,
    /// The number of unreadable events. They are left out.
    pub corrupt: u64,
    /// Whether retention has removed events from this log, so the state may lack some.
    pub incomplete: bool,
    /// The state.
    pub state: JsonTree,
}

/// The difference of the states of an entity at two moments.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateDiff {
    /// The entity, as `KIND=ID`.
    pub entity: String,
    /// The first moment.
    pub from: Timestamp,
    /// The second moment. `None`: after the newest event.
    pub to: Option<Timestamp>,
    /// Whether the two states are equal.
    pub equal: bool,
    /// The number of events of the first state.
    pub events_before: u64,
    /// The number of events of the second state that the first does not have.
    pub events_between: u64,
    /// The last of the events between, in log order.
    pub last: Option<FoldedEvent>,
    /// The number of unreadable events. They are left out.
    pub corrupt: u64,
    /// Whether retention has removed events from this log, so the states may lack some.
    pub incomplete: bool,
    /// The members that differ.
    pub changes: Vec<StateChange>,
    /// The JSON Patch (RFC 6902) that changes the first state into the second.
    pub patch: Vec<PatchOperation>,
}

/// A member of a state that differs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateChange {
    /// The JSON pointer (RFC 6901). It is empty for the whole state.
    pub pointer: String,
    /// The value in the first state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<JsonTree>,
    /// The value in the second state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<JsonTree>,
    /// The last event between the two moments that set the member. A fold by a command does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<FoldedEvent>,
}

/// Folds the state of an entity. `at` is inclusive.
///
/// # Errors
/// Returns [`AppError`] when no event matches, when the fold fails, or when the store fails.
pub async fn state(
    store: &StoreHandle,
    request: &StateRequest,
    at: Option<Timestamp>,
) -> Result<EntityState, AppError> {
    let (head, incomplete) = mark(store).await?;
    let mut walk = walk(store, request, at, head);
    let mut fold = Fold::start(&request.method)?;
    let (mut events, mut last) = (0, None);
    while let Some(page) = walk.page().await? {
        for stored in &page.events {
            fold.add(&*upcast_stored(&*request.upcaster, stored).map_err(FoldError::Upcast)?).await;
        }
        events += page.events.len() as u64;
        last = page.events.last().map(FoldedEvent::of).or(last);
    }
    must_exist(request, at, events)?;
    Ok(EntityState {
        entity: request.entity.to_string(),
        at,
        events,
        last,
        corrupt: walk.corrupt(),
        incomplete,
        state: fold.finish().await?,
    })
}

/// Folds the states of an entity at two moments, and compares them. Both moments are inclusive.
///
/// # Errors
/// Returns [`AppError`] when the moments are in the wrong order, when no event matches, when the fold fails, or when
/// the store fails.
pub async fn diff(
    store: &StoreHandle,
    request: &StateRequest,
    from: Timestamp,
    to: Option<Timestamp>,
) -> Result<StateDiff, AppError> {
    if to.is_some_and(|to| to < from) {
        return Err(InvalidRequest::MomentsReversed.into());
    }
    let (head, incomplete) = mark(store).await?;
    let mut walk = walk(store, request, to, head);
    let [mut old, mut new] = [Fold::start(&request.method)?, Fold::start(&request.method)?];
    let (mut before, mut between, mut last) = (0, 0, None);
    let mut causes = Causes::default();
    while let Some(page) = walk.page().await? {
        for stored in &page.events {
            let stored = &*upcast_stored(&*request.upcaster, stored).map_err(FoldError::Upcast)?;
            new.add(stored).await;
            if stored.event.timestamp() <= from {
                old.add(stored).await;
                before += 1;
                continue;
            }
            between += 1;
            let event = FoldedEvent::of(stored);
            if let FoldMethod::Merge = request.method {
                causes.record(stored, &event);
            }
            last = Some(event);
        }
    }
    must_exist(request, to, before + between)?;
    let found = differences(&old.finish().await?, &new.finish().await?, &[]);
    Ok(StateDiff {
        entity: request.entity.to_string(),
        from,
        to,
        equal: found.is_empty(),
        events_before: before,
        events_between: between,
        last,
        corrupt: walk.corrupt(),
        incomplete,
        patch: found.iter().map(Difference::operation).collect(),
        changes: found
            .into_iter()
            .map(|Difference { pointer, old, new }| StateChange {
                event: causes.of(&pointer),
                pointer,
                old,
                new,
            })
            .collect(),
    })
}

/// Returns the newest position, and whether retention has removed events.
async fn mark(store: &StoreHandle) -> Result<(Cursor, bool), AppError> {
    let info = store.info().await?;
    Ok((info.head, info.trimmed_through.iter().any(|sequence| *sequence > 0)))
}

fn walk(store: &StoreHandle, request: &StateRequest, until: Option<Timestamp>, head: Cursor) -> EventWalk {
    let mut filter = Filter::of_entity(request.entity.clone());
    filter.types = request.types.iter().map(TypePattern::new).collect();
    filter.to = until;
    EventWalk::new(store.ports().clone(), filter, Order::OldestFirst, None).until(Some(head))
}

fn must_exist(request: &StateRequest, until: Option<Timestamp>, events: u64) -> Result<(), NotFound> {
    match events {
        0 => Err(NotFound::EventsOfEntity { entity: request.entity.to_string(), until }),
        _ => Ok(()),
    }
}
