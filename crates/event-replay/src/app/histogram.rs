//! The number of events over time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use domain::{Filter, StoredEvent, ports::Order};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    bounds::Bounds,
    error::{AppError, InvalidRequest},
    walk::EventWalk,
};
use crate::handle::StoreHandle;

/// The largest number of intervals with events. It bounds the size of the answer.
const MOST_INTERVALS: usize = 1_000;
/// The largest number of names that are counted by themselves.
const MOST_NAMES: usize = 20;
/// The name of the remaining types or sources.
const OTHER: &str = "(other)";

/// The property by which the events of an interval are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HistogramBy {
    /// The event type.
    Type,
    /// The source.
    Source,
}

impl HistogramBy {
    fn of(self, stored: &StoredEvent) -> &str {
        match self {
            Self::Type => stored.event.event_type(),
            Self::Source => stored.event.source(),
        }
    }
}

/// The number of events in intervals of equal length, by their timestamps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    /// The length of an interval in seconds.
    pub interval_seconds: u64,
    /// The property by which the events of an interval are counted, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<HistogramBy>,
    /// The number of events.
    pub events: u64,
    /// The number of unreadable events. They are not counted.
    pub corrupt: u64,
    /// The intervals that have events, the earliest first.
    pub intervals: Vec<Interval>,
}

/// The events of an interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// The start of the interval, inclusive. It is a multiple of the interval since 1970 in UTC.
    pub start: Timestamp,
    /// The number of events.
    pub events: u64,
    /// The number of events by name. The 20 names with most events in all intervals are named, the others are `(other)`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by: BTreeMap<String, u64>,
}

/// Counts the events that match a filter within bounds, in intervals of whole seconds. It reads these events, so the counts are exact.
///
/// # Errors
/// Returns [`InvalidRequest::BadInterval`] when the interval is shorter than a second, [`InvalidRequest::TooManyIntervals`] when
/// more than 1,000 intervals have events, and other errors when the store fails.
pub async fn histogram(
    store: &StoreHandle,
    filter: Filter,
    bounds: &Bounds,
    interval: Duration,
    by: Option<HistogramBy>,
) -> Result<Histogram, AppError> {
    let seconds = i64::try_from(interval.as_secs()).ok().filter(|seconds| *seconds > 0);
    let seconds = seconds.filter(|_| interval.subsec_nanos() == 0).ok_or(InvalidRequest::BadInterval)?;
    let head = store.head().await?;
    let walk = EventWalk::new(store.ports().clone(), filter, Order::OldestFirst, None).until(Some(head));
    let mut walk = walk.within(bounds);
    let mut counts: BTreeMap<i64, HashMap<String, u64>> = BTreeMap::new();
    while let Some(page) = walk.page().await? {
        for stored in &page.events {
            let start = stored.event.timestamp().as_second().div_euclid(seconds) * seconds;
            let names = counts.entry(start).or_default();
            let name = by.map_or("", |by| by.of(stored));
            match names.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(names.insert(name.to_owned(), 1)),
            }
        }
        if counts.len() > MOST_INTERVALS {
            return Err(InvalidRequest::TooManyIntervals(MOST_INTERVALS).into());
        }
    }
    let named = most(&counts);
    let intervals = counts.into_iter().map(|(start, names)| interval_of(start, names, by, &named));
    let intervals = intervals.collect::<Vec<_>>();
    Ok(Histogram {
        interval_seconds: interval.as_secs(),
        by,
        events: intervals.iter().map(|interval| interval.events).sum(),
        corrupt: walk.corrupt(),
        intervals,
    })
}

fn interval_of(
    start: i64,
    names: HashMap<String, u64>,
    by: Option<HistogramBy>,
    named: &[String],
) -> Interval {
    let events = names.values().sum();
    let mut shown = BTreeMap::new();
    if by.is_some() {
        for (name, count) in names {
            let name = if named.contains(&name) { name } else { OTHER.to_owned() };
            *shown.entry(name).or_default() += count;
        }
    }
    // Each timestamp was the second of an event, or lies less than an interval before one.
    let start = Timestamp::from_second(start).unwrap_or(Timestamp::MIN);
    Interval { start, events, by: shown }
}

/// Returns the names with most events in all intervals.
fn most(counts: &BTreeMap<i64, HashMap<String, u64>>) -> Vec<String> {
    let mut sums: HashMap<&str, u64> = HashMap::new();
    for (name, count) in counts.values().flatten() {
        *sums.entry(name).or_default() += count;
    }
    let mut sums: Vec<(&str, u64)> = sums.into_iter().collect();
    sums.sort_by_key(|(name, count)| (Reverse(*count), *name));
    sums.into_iter().take(MOST_NAMES).map(|(name, _)| name.to_owned()).collect()
}
