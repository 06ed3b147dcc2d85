//! Traces: the effects of an event, its deliveries to each group, and the replays that contain it.

mod delivered;
mod tree;

use std::{collections::HashMap, sync::Arc};

use domain::{
    Filter, Position, StoredEvent,
    ports::{ReadRequest, ReplayState},
    time::until,
};
use jiff::Timestamp;
use replay::ReplayedState;
use serde::Serialize;

pub use self::delivered::{DeliveryWord, GroupDelivery, LetterFacts};
use super::{
    error::{AppError, NotFound},
    replay::manager,
};
use crate::handle::StoreHandle;

/// The default number of events in a trace.
pub const DEFAULT_LIMIT: usize = 1_000;
/// The largest number of replays that are searched for events of a trace.
const MOST_REPLAYS: usize = 1_000;
/// Events per read.
const PAGE: usize = 500;

/// The events of one correlation id, as a tree of causes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// The correlation id.
    pub correlation_id: String,
    /// The number of its events in the log.
    pub total_events: u64,
    /// Whether events are missing in the trace. The trace has the oldest events.
    pub truncated: bool,
    /// The timestamp of the first event.
    pub first: Option<Timestamp>,
    /// The timestamp of the last event.
    pub last: Option<Timestamp>,
    /// The events, each cause before its effects.
    pub events: Vec<TracedEvent>,
    /// The ids of events with a cause outside the correlation.
    pub orphans: Vec<String>,
    /// The ids of events that are among their own causes.
    pub cycles: Vec<String>,
    /// The replays with some of the events in their plan, newest first.
    pub replays: Vec<TracedReplay>,
}

/// An event of a trace.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TracedEvent {
    /// The id.
    pub id: String,
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The source.
    pub source: String,
    /// The timestamp.
    pub timestamp: Timestamp,
    /// The stored time.
    pub stored_at: Timestamp,
    /// The position in the log.
    pub position: Position,
    /// The depth in the tree, from 0.
    pub depth: usize,
    /// The causation id.
    pub causation_id: Option<String>,
    /// Whether the cause is outside the events of the correlation.
    pub orphan: bool,
    /// The correlation id of the cause, if the cause is in the log and belongs to another correlation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause_correlation_id: Option<String>,
    /// Whether the event is among its own causes.
    pub cycle: bool,
    /// Milliseconds from the first timestamp of the trace to the timestamp of the event.
    pub since_start_ms: i64,
    /// Milliseconds from the timestamp of its cause, if the trace has the cause. The value is negative if clocks
    /// disagree.
    pub since_cause_ms: Option<i64>,
    /// The replay count.
    pub replay_count: u32,
    /// The deliveries of the event, by group.
    pub deliveries: Vec<GroupDelivery>,
    /// The replays with the event in their plan, newest first.
    pub replays: Vec<EventReplay>,
}

/// A replay with some events of a trace in its plan.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TracedReplay {
    /// The id of the replay.
    pub id: String,
    /// The state of the replay.
    pub state: ReplayState,
    /// The time of its creation.
    pub created_at: Timestamp,
    /// The target: `groups`, or the name of another target.
    pub target: String,
    /// The groups of the replay.
    pub groups: Vec<String>,
    /// The number of events of the trace in its plan.
    pub events: u64,
}

/// A replay with an event in its plan.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventReplay {
    /// The id of the replay.
    pub id: String,
    /// The progress of the replay with the event.
    pub state: ReplayedState,
}

/// Facts about one event, in addition to the event itself.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventFacts {
    /// The event that caused it.
    pub cause: Option<EventLink>,
    /// The events that it caused within its correlation, oldest first.
    pub effects: Vec<EventLink>,
    /// The deliveries of the event, by group.
    pub deliveries: Vec<GroupDelivery>,
    /// The replays with the event in their plan, newest first.
    pub replays: Vec<EventReplay>,
}

/// A cause or an effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventLink {
    /// The id of the event.
    pub id: String,
    /// The event type. `None` if the event is not in the log.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
}

/// Traces a correlation id.
///
/// # Errors
/// Returns [`AppError`] when no event has the correlation id, or when the store fails.
pub async fn trace(store: &StoreHandle, correlation: &str, limit: usize) -> Result<Trace, AppError> {
    let filter = Arc::new(Filter::correlation(correlation));
    let mut events = first(store, &filter, limit).await?;
    let mut total_events = store.count(&filter, None).await?.max(events.len() as u64);
    // The correlation id may be the id of the first event, which then has no correlation id itself.
    let named = store.get(&[correlation.to_owned()]).await?;
    if let Some(first) = named.into_iter().find(|stored| stored.event.correlation_id().is_none()) {
        events.insert(0, first);
        total_events += 1;
    }
    if events.is_empty() {
        return Err(NotFound::Correlation { id: correlation.to_owned() }.into());
    }
    let deliveries = delivered::deliveries(store, &events).await?;
    let known = manager(store).replays_of(&events, MOST_REPLAYS).await?;
    let elsewhere = causes_elsewhere(store, &events).await?;
    let ids: Vec<(&str, Option<&str>)> =
        events.iter().map(|stored| (stored.event.id(), stored.event.causation_id())).collect();
    let first = events.iter().map(|stored| stored.event.timestamp()).min();
    let mut traced = Vec::with_capacity(events.len());
    let (mut orphans, mut cycles) = (Vec::new(), Vec::new());
    for branch in tree::arrange(&ids) {
        let Some(stored) = events.get(branch.event) else { continue };
        let cause = branch.parent.and_then(|parent| events.get(parent));
        let orphan = stored.event.causation_id().is_some() && cause.is_none() && !branch.is_in_cycle;
        if orphan {
            orphans.push(stored.event.id().to_owned());
        }
        if branch.is_in_cycle {
            cycles.push(stored.event.id().to_owned());
        }
        traced.push(TracedEvent {
            id: stored.event.id().to_owned(),
            event_type: stored.event.event_type().to_owned(),
            source: stored.event.source().to_owned(),
            timestamp: stored.event.timestamp(),
            stored_at: stored.stored_at,
            position: stored.position,
            depth: branch.depth,
            causation_id: stored.event.causation_id().map(str::to_owned),
            orphan,
            cause_correlation_id: stored
                .event
                .causation_id()
                .filter(|_| orphan)
                .and_then(|cause| elsewhere.get(cause).cloned().flatten()),
            cycle: branch.is_in_cycle,
            since_start_ms: milliseconds(first, stored),
            since_cause_ms: cause.map(|cause| milliseconds(Some(cause.event.timestamp()), stored)),
            replay_count: stored.replay_count,
            deliveries: deliveries.iter().filter_map(|group| group.of(branch.event)).collect(),
            replays: replays_with(&known, branch.event),
        });
    }
    Ok(Trace {
        correlation_id: correlation.to_owned(),
        truncated: total_events > traced.len() as u64,
        total_events,
        first,
        last: events.iter().map(|stored| stored.event.timestamp()).max(),
        events: traced,
        orphans,
        cycles,
        replays: known.iter().map(traced_replay).collect(),
    })
}

/// Returns facts about events, in the order of the events.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn facts(store: &StoreHandle, events: &[StoredEvent]) -> Result<Vec<EventFacts>, AppError> {
    let deliveries = delivered::deliveries(store, events).await?;
    let known = manager(store).replays_of(events, MOST_REPLAYS).await?;
    let mut all = Vec::with_capacity(events.len());
    for (at, stored) in events.iter().enumerate() {
        all.push(EventFacts {
            cause: cause_of(store, stored).await?,
            effects: effects_of(store, stored).await?,
            deliveries: deliveries.iter().filter_map(|group| group.of(at)).collect(),
            replays: replays_with(&known, at),
        });
    }
    Ok(all)
}

async fn cause_of(store: &StoreHandle, stored: &StoredEvent) -> Result<Option<EventLink>, AppError> {
    let Some(id) = stored.event.causation_id() else { return Ok(None) };
    let found = store.get(&[id.to_owned()]).await?;
    let event_type = found.first().map(|cause| cause.event.event_type().to_owned());
    Ok(Some(EventLink { id: id.to_owned(), event_type }))
}

/// Returns the events that an event caused. It searches the events of the same correlation id, and the events with the
/// event's id as their correlation id.
async fn effects_of(store: &StoreHandle, stored: &StoredEvent) -> Result<Vec<EventLink>, AppError> {
    let own = stored.event.id();
    let correlations = stored.event.correlation_id().into_iter().chain([own]).map(str::to_owned);
    let filter = Arc::new(Filter { correlation_ids: correlations.collect(), ..Filter::default() });
    let related = first(store, &filter, DEFAULT_LIMIT).await?;
    let effects = related.iter().filter(|other| other.event.causation_id() == Some(own));
    Ok(effects
        .map(|other| EventLink {
            id: other.event.id().to_owned(),
            event_type: Some(other.event.event_type().to_owned()),
        })
        .collect())
}

/// Returns the first events that match a filter, in log order.
async fn first(
    store: &StoreHandle,
    filter: &Arc<Filter>,
    limit: usize,
) -> Result<Vec<StoredEvent>, AppError> {
    let mut events = Vec::new();
    let mut request = ReadRequest::new(Arc::clone(filter), PAGE);
    while events.len() < limit {
        request.limit = PAGE.min(limit - events.len());
        let page = store.read(&request).await?;
        events.extend(page.events);
        request.after = page.next;
        if request.after.is_none() {
            break;
        }
    }
    Ok(events)
}

/// Returns the correlation ids of causes that are in the log but not among the events.
async fn causes_elsewhere(
    store: &StoreHandle,
    events: &[StoredEvent],
) -> Result<HashMap<String, Option<String>>, AppError> {
    let own: std::collections::HashSet<&str> = events.iter().map(|stored| stored.event.id()).collect();
    let causes = events.iter().filter_map(|stored| stored.event.causation_id());
    let mut missing: Vec<String> = causes.filter(|cause| !own.contains(cause)).map(str::to_owned).collect();
    missing.sort_unstable();
    missing.dedup();
    let mut found = HashMap::new();
    for ids in missing.chunks(PAGE) {
        for stored in store.get(ids).await? {
            let correlation = stored.event.correlation_id().map(str::to_owned);
            found.insert(stored.event.id().to_owned(), correlation);
        }
    }
    Ok(found)
}

fn replays_with(known: &[replay::ReplayOf], event: usize) -> Vec<EventReplay> {
    let of = |of: &replay::ReplayOf| {
        let state = of.events.iter().find(|(at, _)| *at == event)?.1;
        Some(EventReplay { id: of.replay.id.clone(), state })
    };
    known.iter().filter_map(of).collect()
}

fn traced_replay(of: &replay::ReplayOf) -> TracedReplay {
    TracedReplay {
        id: of.replay.id.clone(),
        state: of.replay.state,
        created_at: of.replay.created_at,
        target: of.replay.target.clone(),
        groups: of.replay.groups.clone(),
        events: of.events.len() as u64,
    }
}

fn milliseconds(since: Option<Timestamp>, stored: &StoredEvent) -> i64 {
    let at = stored.event.timestamp();
    let Some(since) = since else { return 0 };
    let span = |from, to| i64::try_from(until(from, to).as_millis()).unwrap_or(i64::MAX);
    if at < since { -span(at, since) } else { span(since, at) }
}
