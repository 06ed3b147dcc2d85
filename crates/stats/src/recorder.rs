//! Metrics that go only to the recorder of the `metrics` facade. Their series have several labels, or current values, so
//! the store does not count them.

use std::{sync::LazyLock, time::Duration};

use metrics::{Counter, SharedString};

use crate::series::{Labels, OTHER};

const DELIVERIES: &str = "event_replay_deliveries_total";

/// The event types of this process that have series of their own.
static TYPES: LazyLock<Labels> = LazyLock::new(Labels::default);

/// Records one attempt of a group's handlers: the counter `event_replay_deliveries_total` and the histogram
/// `event_replay_handler_seconds`. Both have the labels `group`, `type` and `outcome`. The outcome is `handled`,
/// `failed`, or `skipped` if no handler takes the event. A process has at most [`MAX_LABELS`](crate::MAX_LABELS) types.
/// It records further types as [`OTHER`].
pub fn delivery(group: &str, event_type: &str, outcome: &'static str, took: Duration) {
    let (group, event_type) = (SharedString::from(group.to_owned()), type_label(event_type));
    deliveries(group.clone(), event_type.clone(), outcome).increment(1);
    metrics::histogram!("event_replay_handler_seconds", "group" => group, "type" => event_type, "outcome" => outcome).record(took);
}

/// Counts a delivery that expired before a handler received it: the counter of [`delivery`] with the outcome `expired`.
pub fn expired(group: &str, event_type: &str) {
    deliveries(SharedString::from(group.to_owned()), type_label(event_type), "expired").increment(1);
}

/// Sets the gauge `event_replay_group_lag_events` of a group: the events in the log after its slowest segments.
pub fn group_lag(group: &str, events: u64) {
    metrics::gauge!("event_replay_group_lag_events", "group" => group.to_owned()).set(events as f64);
}

fn deliveries(group: SharedString, event_type: SharedString, outcome: &'static str) -> Counter {
    metrics::counter!(DELIVERIES, "group" => group, "type" => event_type, "outcome" => outcome)
}

/// Returns the label of an event type. Types come from outside, so their number is limited.
fn type_label(event_type: &str) -> SharedString {
    match TYPES.admit(DELIVERIES, event_type) {
        true => SharedString::from(event_type.to_owned()),
        false => SharedString::const_str(OTHER),
    }
}
