//! The result of a demo in JSON.

use std::{collections::BTreeMap, time::Duration};

use generator::Settings;
use serde::Serialize;

use super::{feed::Taken, next, place::Home};

/// The result of a demo.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    /// Whether everything equals the generator's expectation.
    pub(super) ok: bool,
    /// The store, as `--store` takes it.
    pub(super) store: String,
    seed: u64,
    /// Events generated.
    events: u64,
    /// Events stored.
    pub(super) stored: u64,
    /// Events refused.
    pub(super) refused: u64,
    /// Refusals with exactly the reason that the generator gives.
    pub(super) refused_as_planned: u64,
    /// The queries to the store.
    pub(super) queries: Vec<QuerySummary>,
    /// The checkpoint after the first half of the events.
    pub(super) checkpoint: Option<CheckpointSummary>,
    /// The losses, and the results of their recoveries.
    pub(super) recoveries: Vec<RecoverySummary>,
    /// The results of the consumer group.
    pub(super) group: Option<GroupSummary>,
    /// Number of events for each replay count, as the store counts them.
    pub(super) replay_counts: BTreeMap<u32, u64>,
    /// Events that the replays stored.
    pub(super) stored_by_replays: u64,
    /// Differences from the generator's expectation.
    pub(super) problems: Vec<String>,
    /// Duration of each step.
    pub(super) steps: Vec<StepSummary>,
    /// Duration of all steps, in milliseconds.
    pub(super) duration_ms: u64,
    /// Shell commands to try next.
    pub(super) next: Vec<String>,
}

/// A query and its answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QuerySummary {
    /// Flags of `list`.
    pub(super) flags: &'static str,
    /// Events found.
    pub(super) found: u64,
    /// Events that the query must find.
    pub(super) expected: u64,
}

/// A checkpoint.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckpointSummary {
    /// The name of the checkpoint.
    pub(super) name: &'static str,
    /// Events at or before the checkpoint, as the store counts them.
    pub(super) event_count: u64,
    /// The same number, as the generator counts it.
    pub(super) expected: u64,
}

/// A loss and its recovery.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecoverySummary {
    /// The checkpoint of the recovery.
    pub(super) checkpoint: &'static str,
    /// Figures that were wrong after the loss.
    pub(super) lost_figures: usize,
    /// Events that the dry run counted.
    pub(super) planned_events: u64,
    /// Events that were lost, as the generator counts them.
    pub(super) expected_events: u64,
    /// Events replayed.
    pub(super) replayed_events: u64,
    /// The id of the replay.
    pub(super) replay_id: String,
    /// Figures that the generator expects.
    pub(super) figures: usize,
    /// Figures that differ after the recovery.
    pub(super) differing_figures: usize,
}

/// The results of the consumer group.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupSummary {
    /// The name of the group.
    pub(super) name: &'static str,
    /// Events that the service handled before its repair.
    pub(super) handled: u64,
    /// Attempts that failed before the repair.
    pub(super) failed_attempts: u64,
    /// Deliveries that the group gave up on.
    pub(super) dead_letters: u64,
    /// The same number, as the generator counts it.
    pub(super) expected_dead_letters: u64,
    /// Figures that were wrong in the service's read model before the repair.
    pub(super) lost_figures: usize,
    /// Dead letters that the redrive handled.
    pub(super) redriven: u64,
    /// The id of the replay into the group, after its service had lost its read model.
    pub(super) replay_id: String,
    /// Events that the group handled in the replay.
    pub(super) replayed_events: u64,
    /// Figures that differ after the replay.
    pub(super) differing_figures: usize,
}

/// A step.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StepSummary {
    title: &'static str,
    duration_ms: u64,
}

impl Summary {
    /// Creates the summary of a demo that has not begun.
    pub(super) fn new(settings: &Settings, home: &Home) -> Self {
        let next = match home {
            Home::File(path) => {
                let (store, commands) = next::steps(path);
                std::iter::once(store).chain(commands).collect()
            }
            // The namespace is removed, so no command can use it.
            Home::Namespace(_) => Vec::new(),
        };
        Self {
            ok: false,
            store: home.store(),
            seed: settings.seed,
            events: settings.events,
            stored: 0,
            refused: 0,
            refused_as_planned: 0,
            queries: Vec::new(),
            checkpoint: None,
            recoveries: Vec::new(),
            group: None,
            replay_counts: BTreeMap::new(),
            stored_by_replays: 0,
            problems: Vec::new(),
            steps: Vec::new(),
            duration_ms: 0,
            next,
        }
    }

    /// Adds the result of publishing a part of the stream.
    pub(super) fn add(&mut self, taken: Taken) {
        self.stored += taken.stored;
        self.refused += taken.refused;
        self.refused_as_planned += taken.as_planned;
        self.problems.extend(taken.surprises);
    }

    /// Adds a step with its duration.
    pub(super) fn add_step(&mut self, title: &'static str, took: Duration) {
        self.steps.push(StepSummary { title, duration_ms: took.as_millis() as u64 });
    }
}
