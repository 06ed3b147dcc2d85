//! What goes to the recorder of the `metrics` facade alone: series of several labels, which are no counters of a store.

use std::time::Duration;

/// Tells the recorder of a hand-over to the handlers of a group: the counter `event_replay_deliveries_total`, and the histogram
/// `event_replay_handler_seconds`, both by `group`, `type` and `outcome` (`handled`, `failed`, or `skipped`, where no handler takes it).
pub fn delivery(group: &str, event_type: &str, outcome: &'static str, took: Duration) {
    let (group, event_type) = (group.to_owned(), event_type.to_owned());
    let (of_group, of_type) = (group.clone(), event_type.clone());
    metrics::counter!("event_replay_deliveries_total", "group" => group, "type" => event_type, "outcome" => outcome).increment(1);
    metrics::histogram!("event_replay_handler_seconds", "group" => of_group, "type" => of_type, "outcome" => outcome).record(took);
}
