//! Metrics that go only to the recorder of the `metrics` facade. Their series have several labels, or current values, so
//! the store does not count them.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use metrics::{Counter, Histogram, Label, SharedString};

use crate::series::{Labels, OTHER, lock};

const DELIVERIES: &str = "event_replay_deliveries_total";
const SECONDS: &str = "event_replay_handler_seconds";

/// The event types of this process that have series of their own.
static TYPES: LazyLock<Labels> = LazyLock::new(Labels::default);

/// The series of a group's deliveries: the counter `event_replay_deliveries_total` and the histogram
/// `event_replay_handler_seconds`. Both have the labels `group`, `type` and `outcome`. The outcome is `handled`,
/// `failed`, or `skipped` if no handler takes the event. A process has at most [`MAX_LABELS`](crate::MAX_LABELS) types.
/// It records further types as [`OTHER`].
///
/// The handles are created again each minute, so that a recorder that was installed late gets the counts.
#[derive(Debug)]
pub struct Deliveries {
    group: SharedString,
    known: Mutex<Known>,
}

/// The series by label of the type. A type has few outcomes.
#[derive(Debug)]
struct Known {
    made_at: Timestamp,
    series: HashMap<Box<str>, Vec<Series>>,
}

/// The age at which handles are created again, in seconds.
const KNOWN_FOR: i64 = 60;

#[derive(Debug)]
struct Series {
    outcome: &'static str,
    counter: Counter,
    /// Created with the first duration.
    histogram: Option<Histogram>,
}

impl Deliveries {
    /// Creates the series of a group.
    pub fn new(group: &str) -> Self {
        let known = Known { made_at: Timestamp::UNIX_EPOCH, series: HashMap::new() };
        Self { group: SharedString::from(group.to_owned()), known: Mutex::new(known) }
    }

    /// Records one attempt of the group's handlers, which ended at this time.
    pub fn attempt(&self, event_type: &str, outcome: &'static str, at: Timestamp, took: Duration) {
        self.record(event_type, outcome, at, Some(took));
    }

    /// Counts a delivery that expired before a handler received it: the counter with the outcome `expired`.
    pub fn expired(&self, event_type: &str, at: Timestamp) {
        self.record(event_type, "expired", at, None);
    }

    fn record(&self, event_type: &str, outcome: &'static str, at: Timestamp, took: Option<Duration>) {
        let mut known = lock(&self.known);
        if at.as_second() - known.made_at.as_second() >= KNOWN_FOR {
            *known = Known { made_at: at, series: HashMap::new() };
        }
        let types = &mut known.series;
        if let Some(all) = types.get_mut(event_type) {
            return self.add(event_type, outcome, took, all);
        }
        let label = match TYPES.admit(DELIVERIES, event_type) {
            true => event_type,
            false => OTHER,
        };
        self.add(label, outcome, took, types.entry(Box::from(label)).or_default());
    }

    /// Adds to the series of an outcome, out of the series of one label.
    fn add(&self, label: &str, outcome: &'static str, took: Option<Duration>, all: &mut Vec<Series>) {
        let labels = || {
            let label = SharedString::from(label.to_owned());
            vec![
                Label::new("group", self.group.clone()),
                Label::new("type", label),
                Label::from_static_parts("outcome", outcome),
            ]
        };
        let at = match all.iter().position(|series| series.outcome == outcome) {
            Some(at) => at,
            None => {
                all.push(Series {
                    outcome,
                    counter: metrics::counter!(DELIVERIES, labels()),
                    histogram: None,
                });
                all.len() - 1
            }
        };
        let Some(series) = all.get_mut(at) else { return };
        series.counter.increment(1);
        if let Some(took) = took {
            series.histogram.get_or_insert_with(|| metrics::histogram!(SECONDS, labels())).record(took);
        }
    }
}
/// Sets the gauge `event_replay_group_lag_events` of a group: the events in the log after its slowest segments.
pub fn group_lag(group: &str, events: u64) {
    metrics::gauge!("event_replay_group_lag_events", "group" => group.to_owned()).set(events as f64);
}
