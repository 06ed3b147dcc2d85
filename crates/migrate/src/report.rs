//! The report of a migration: its source, its changes and its comparison.

use serde::Serialize;

use crate::index::IndexKind;

/// The result of a migration: found, migrated and compared data. As JSON it is part of the command line's contract.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether this was a dry run. Nothing was changed then, and the counts are a forecast.
    pub dry_run: bool,
    /// Ids in the source. The next five counts add up to this number.
    pub found: u64,
    /// Events that this run stored.
    pub stored: u64,
    /// Events that the target already had.
    pub already_stored: u64,
    /// Events that are invalid by the rules of this project, or that were erased in the target.
    pub rejected: u64,
    /// Events whose id is stored in the target with other content.
    pub conflicts: u64,
    /// Ids in the source's time index that have no event.
    pub without_event: u64,
    /// Events that are missing in the source's time index. The counts above include them.
    pub without_index: u64,
    /// Counts of the migrated replay counts.
    pub replay_counts: CountTally,
    /// Counts of the migrated checkpoints.
    pub checkpoints: CheckpointTally,
    /// Counts of the schemas that users added, or `None` if the source has no such schemas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schemas: Option<SchemaTally>,
    /// The first problems, at most [`Report::MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// The number of all problems.
    pub total_problems: u64,
    /// The number of compared keys of each index. Empty in a dry run.
    pub indexes: Vec<IndexTally>,
    /// The first keys with different counts, at most [`Report::MAX_DIFFERENCES`].
    pub differences: Vec<Difference>,
    /// The number of all keys with different counts.
    pub total_differences: u64,
    /// Whether the target has all data of the source, and every count confirms it.
    pub complete: bool,
    /// Data that is not migrated, or `None` if the source has no such data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stays_behind: Option<StayedBehind>,
}

/// Counts of replay counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CountTally {
    /// Events that were replayed in the source.
    pub replayed: u64,
    /// Events with a replay count that this run raised.
    pub raised: u64,
}

/// Counts of checkpoints. `found` is the sum of the other counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointTally {
    /// Checkpoints of the source.
    pub found: u64,
    /// Checkpoints that this run created.
    pub made: u64,
    /// Checkpoints that the target already had.
    pub already_there: u64,
    /// Checkpoints that could not be created.
    pub rejected: u64,
}

/// Counts of schemas. `found` is the sum of the other counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaTally {
    /// Schemas that users added to the source.
    pub found: u64,
    /// Schemas that this run added.
    pub added: u64,
    /// Schemas that the target already had.
    pub already_there: u64,
    /// Schemas of a type and version for which the target has another schema.
    pub conflicts: u64,
}

/// Data of running services that is not migrated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StayedBehind {
    /// The number of consumer groups.
    pub groups: u64,
    /// The number of dead letters that are open or in redrive.
    pub dead_letters: u64,
    /// Whether scheduled events wait for their time.
    pub scheduled: bool,
}

/// A problem: a part of the source that was not migrated, or that was changed on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The kind of the part: `event`, `checkpoint`, `schema` or `key`.
    pub what: &'static str,
    /// The id, name or key, cut to 128 characters.
    pub id: String,
    /// A short stable name: `rejected`, `conflict`, `erased`, `without-event`, `no-event`, `damaged`, `replay-count`,
    /// `renamed`, `mark` or `unknown-index`.
    pub reason: &'static str,
    /// A description for people.
    pub detail: String,
}

/// The number of compared keys of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexTally {
    /// The index.
    pub index: IndexKind,
    /// Keys of the index: types, users, and so on.
    pub keys: u64,
    /// Keys with equal counts.
    pub equal: u64,
}

/// A key of an index with different counts in source and target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The index.
    pub index: IndexKind,
    /// The type, the user, and so on, cut to 128 characters. Empty for time.
    pub key: String,
    /// The count of the source.
    pub source: u64,
    /// The count of the target.
    pub target: u64,
    /// Ids in the source's index that have no event.
    pub without_event: u64,
    /// Events in the source's index that are not in the target.
    pub not_taken: u64,
    /// Events in the source's index that have another value themselves.
    pub say_otherwise: u64,
    /// Events of the target that the source's index does not list.
    pub beside: u64,
}

impl Difference {
    /// Returns whether the target has all events of the source's index, and more.
    pub fn is_only_more(&self) -> bool {
        self.without_event == 0 && self.not_taken == 0 && self.say_otherwise == 0 && self.target > self.source
    }

    /// Returns the known causes of the difference.
    pub fn reason(&self) -> String {
        let parts = [
            (self.without_event, "listed without an event"),
            (self.not_taken, "not taken: refused, or came since"),
            (self.say_otherwise, "listed, and the event itself says otherwise"),
            (self.beside, "in the target and not listed by the source"),
        ];
        let said: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if said.is_empty() { "changed while it was compared".to_owned() } else { said.join("; ") }
    }
}

/// Returns a text of the source, cut if it is too long for a report.
pub(crate) fn shown(text: &[u8]) -> String {
    const MOST: usize = 128;
    let text = String::from_utf8_lossy(text);
    if text.chars().count() <= MOST {
        return text.into_owned();
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}

impl Report {
    /// The highest number of problems in a report.
    pub const MAX_PROBLEMS: usize = 1000;
    /// The highest number of differences in a report.
    pub const MAX_DIFFERENCES: usize = 100;

    /// Returns whether the run changed data, or would change data in a dry run.
    pub fn changes_anything(&self) -> bool {
        let schemas = self.schemas.unwrap_or_default();
        self.stored + self.replay_counts.raised + self.checkpoints.made + schemas.added > 0
    }

    pub(crate) fn problem(
        &mut self,
        what: &'static str,
        id: &[u8],
        reason: &'static str,
        detail: impl Into<String>,
    ) {
        self.total_problems += 1;
        if self.problems.len() < Self::MAX_PROBLEMS {
            self.problems.push(Problem { what, id: shown(id), reason, detail: detail.into() });
        }
    }

    /// Sets [`Report::complete`] after all other fields are set.
    pub(crate) fn conclude(mut self) -> Self {
        let schemas = self.schemas.unwrap_or_default();
        let left = self.rejected
            + self.conflicts
            + self.without_event
            + self.checkpoints.rejected
            + schemas.conflicts;
        self.complete = left == 0
            && self.differences.iter().all(Difference::is_only_more)
            && self.total_differences == self.differences.len() as u64;
        self
    }
}
