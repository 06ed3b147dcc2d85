//! What came of a demo, for programs.

use std::{collections::BTreeMap, time::Duration};

use generator::Settings;
use serde::Serialize;

use super::{feed::Taken, next, place::Home};

/// What came of a demo.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    /// Whether everything is as the generator says it must be.
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
    /// Refusals for the very reason that the generator gives.
    pub(super) refused_as_planned: u64,
    /// What the store was asked.
    pub(super) queries: Vec<QuerySummary>,
    /// The checkpoint half-way.
    pub(super) checkpoint: Option<CheckpointSummary>,
    /// The losses, and what the replays brought back.
    pub(super) recoveries: Vec<RecoverySummary>,
    /// What a consumer group went through.
    pub(super) group: Option<GroupSummary>,
    /// How many events were replayed how often, as the store counts.
    pub(super) replay_counts: BTreeMap<u32, u64>,
    /// Events that the replays stored.
    pub(super) stored_by_replays: u64,
    /// What is not as the generator says.
    pub(super) problems: Vec<String>,
    /// How long each step took.
    pub(super) steps: Vec<StepSummary>,
    /// How long all of them took, in milliseconds.
    pub(super) duration_ms: u64,
    /// Shell commands to go on with.
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
    /// Events that there must be.
    pub(super) expected: u64,
}

/// A checkpoint.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckpointSummary {
    /// Its name.
    pub(super) name: &'static str,
    /// Events at or before it, as it says.
    pub(super) event_count: u64,
    /// The same, as the generator says.
    pub(super) expected: u64,
}

/// A loss and its recovery.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecoverySummary {
    /// The checkpoint that it was recovered from.
    pub(super) checkpoint: &'static str,
    /// Figures that were wrong after the loss.
    pub(super) lost_figures: usize,
    /// Events that the dry run counted.
    pub(super) planned_events: u64,
    /// Events that were lost, as the generator says.
    pub(super) expected_events: u64,
    /// Events replayed.
    pub(super) replayed_events: u64,
    /// The replay.
    pub(super) replay_id: String,
    /// Figures that the generator expects.
    pub(super) figures: usize,
    /// Figures that differ after the recovery.
    pub(super) differing_figures: usize,
}

/// What a consumer group went through.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupSummary {
    /// Its name.
    pub(super) name: &'static str,
    /// Events that its service handled while it was not well.
    pub(super) handled: u64,
    /// Attempts that failed meanwhile.
    pub(super) failed_attempts: u64,
    /// Deliveries that were given up on.
    pub(super) dead_letters: u64,
    /// The same, as the generator says.
    pub(super) expected_dead_letters: u64,
    /// Figures that were wrong for it.
    pub(super) lost_figures: usize,
    /// Dead letters that were handled when they were sent again.
    pub(super) redriven: u64,
    /// The replay into the group, after its service had lost everything.
    pub(super) replay_id: String,
    /// Events that the group handled in it.
    pub(super) replayed_events: u64,
    /// Figures that differ after it.
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
    /// The summary of a demo that has not begun.
    pub(super) fn new(settings: &Settings, home: &Home) -> Self {
        let next = match home {
            Home::File(path) => {
                let (store, commands) = next::steps(path);
                std::iter::once(store).chain(commands).collect()
            }
            // There is nothing left to look at.
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

    /// Adds what became of a stretch of the stream.
    pub(super) fn add(&mut self, taken: Taken) {
        self.stored += taken.stored;
        self.refused += taken.refused;
        self.refused_as_planned += taken.as_planned;
        self.problems.extend(taken.surprises);
    }

    /// Notes a step.
    pub(super) fn add_step(&mut self, title: &'static str, took: Duration) {
        self.steps.push(StepSummary { title, duration_ms: took.as_millis() as u64 });
    }
}
