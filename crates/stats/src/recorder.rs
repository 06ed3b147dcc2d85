//! Metrics that go only to the recorder of the `metrics` facade. Their series have several labels, so the store does
//! not count them.

use std::time::Duration;

/// Records one attempt of a group's handlers: the counter `event_replay_deliveries_total` and the histogram
/// `event_replay_handler_seconds`. Both have the labels `group`, `type` and `outcome`. The outcome is `handled`,
/// `failed`, or `skipped` if no handler takes the event.
pub fn delivery(group: &str, event_type: &str, outcome: &'static str, took: Duration) {
    let (group, event_type) = (group.to_owned(), event_type.to_owned());
    let (of_group, of_type) = (group.clone(), event_type.clone());
    metrics::counter!("event_replay_deliveries_total", "group" => group, "type" => event_type, "outcome" => outcome).increment(1);
    metrics::histogram!("event_replay_handler_seconds", "group" => of_group, "type" => of_type, "outcome" => outcome).record(took);
}
