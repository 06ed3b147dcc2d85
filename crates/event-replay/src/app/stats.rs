//! The counts of stored events, and the counters of publishers, consumers and replays.

mod counted;
mod counters;

use std::collections::BTreeMap;

use domain::{Figure, Filter, group::Pending, ports::event_store::ProgressCallback};
use jiff::Timestamp;
use serde::Serialize;
use stats::Window;

use self::counted::Counted;
pub use self::counters::{Counters, DeadLetterCounts, ProcessingTime};
use super::{bounds::Bounds, error::AppError, store::clock};
use crate::{handle::StoreHandle, settings::Settings};

/// The counts of stored events that match a filter, and the counters of every process that uses the store.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreStats {
    /// The address of the store.
    pub store: String,
    /// The namespace.
    pub namespace: String,
    /// The number of matching events.
    pub events: u64,
    /// The size of their JSON in bytes.
    pub bytes: u64,
    /// The timestamp of the first matching event in the log.
    pub oldest: Option<Timestamp>,
    /// The timestamp of the last matching event in the log.
    pub newest: Option<Timestamp>,
    /// The newest position of each partition.
    pub head: Vec<String>,
    /// The sequence up to which each partition was trimmed.
    pub trimmed_through: Vec<u64>,
    /// The bytes that the whole store occupies, if the store reports them.
    pub bytes_occupied: Option<u64>,
    /// The number of unreadable events in the count. A count of the whole store uses counters and finds none.
    pub corrupt: u64,
    /// Events by type.
    pub by_type: BTreeMap<String, u64>,
    /// Events by source.
    pub by_source: BTreeMap<String, u64>,
    /// Events by the kind of entity that they name.
    pub by_entity_kind: BTreeMap<String, u64>,
    /// Events by day.
    pub by_day: BTreeMap<String, u64>,
    /// The counters of publishers, consumers and replays.
    pub counters: OverTime,
    /// Dead letters by state.
    pub dead_letters: DeadLetterCounts,
    /// The pending events of each group, by name.
    pub groups: Vec<GroupPending>,
}

/// The pending events of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupPending {
    /// The name of the group.
    pub name: String,
    /// The pending events.
    #[serde(flatten)]
    pub pending: Pending,
}

/// The counters of every process that uses the store.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OverTime {
    /// The counters of the last 15 minutes.
    pub last_15_minutes: Counters,
    /// The counters since the store was created.
    pub in_all: Counters,
}

/// Counts the events that match a filter within bounds, up to the head of the log.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn stats(
    store: &StoreHandle,
    settings: &Settings,
    filter: Filter,
    bounds: &Bounds,
    progress: Option<ProgressCallback>,
) -> Result<StoreStats, AppError> {
    let info = store.info().await?;
    let counted = Counted::of(store, &info, filter, bounds, progress.as_ref()).await?;
    let head = (0u16..).zip(&info.head.sequences);
    Ok(StoreStats {
        store: settings.store.to_string(),
        namespace: info.namespace,
        events: counted.events,
        bytes: counted.bytes,
        oldest: counted.oldest,
        newest: counted.newest,
        head: head.map(|(partition, sequence)| format!("{partition}:{sequence}")).collect(),
        trimmed_through: info.trimmed_through,
        bytes_occupied: info.bytes_occupied,
        corrupt: counted.corrupt,
        by_type: counted.by(Figure::Type),
        by_source: counted.by(Figure::Source),
        by_entity_kind: counted.by(Figure::EntityKind),
        by_day: counted.by(Figure::Day),
        counters: over_time(store).await?,
        dead_letters: counters::dead_letters(&store.count_dead_letters().await?),
        groups: pending(store).await?,
    })
}

async fn pending(store: &StoreHandle) -> Result<Vec<GroupPending>, AppError> {
    let mut groups = vec![];
    for record in store.groups().await? {
        let name = record.spec.name;
        if let Some(pending) = store.pending(&name).await? {
            groups.push(GroupPending { name, pending });
        }
    }
    Ok(groups)
}

async fn over_time(store: &StoreHandle) -> Result<OverTime, AppError> {
    let all = store.stats(None).await?;
    let since = Window::first_minute(clock().now());
    let recent = all.iter().filter(|sample| sample.minute >= since);
    Ok(OverTime { last_15_minutes: Counters::of(recent), in_all: Counters::of(&all) })
}
