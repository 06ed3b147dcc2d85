//! What a migration found, took and compared.

use serde::Serialize;

use crate::index::IndexKind;

/// What a migration found, took and compared. As JSON it is part of the command line's contract.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether nothing was changed, and the counts say what would be.
    pub dry_run: bool,
    /// Ids that the source names. The next five add up to it.
    pub found: u64,
    /// Events stored now.
    pub stored: u64,
    /// Events that the target had.
    pub already_stored: u64,
    /// Events that are no events by our rules, or that were erased in the target.
    pub rejected: u64,
    /// Events whose id the target has with other content.
    pub conflicts: u64,
    /// Ids that the source's index of time lists, and that have no event.
    pub without_event: u64,
    /// Events that the source's index of time does not list; they are among the ones above.
    pub without_index: u64,
    /// Replay counts.
    pub replay_counts: CountTally,
    /// Checkpoints.
    pub checkpoints: CheckpointTally,
    /// Schemas that users added; none where the source keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schemas: Option<SchemaTally>,
    /// What the first problems were, at most [`Report::MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How many there were in all.
    pub total_problems: u64,
    /// How many keys of each index were compared; empty for a dry run.
    pub indexes: Vec<IndexTally>,
    /// The first keys whose counts differ, at most [`Report::MAX_DIFFERENCES`].
    pub differences: Vec<Difference>,
    /// How many differ in all.
    pub total_differences: u64,
    /// Whether everything that the source has is in the target, and every count shows it.
    pub complete: bool,
    /// What is not migrated at all; none where the source has no such things.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stays_behind: Option<StayedBehind>,
}

/// Replay counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CountTally {
    /// Events that were replayed before.
    pub replayed: u64,
    /// Those whose count was raised now.
    pub raised: u64,
}

/// Checkpoints: `found` is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointTally {
    /// Checkpoints of the source.
    pub found: u64,
    /// Those made now.
    pub made: u64,
    /// Those that the target had.
    pub already_there: u64,
    /// Those that could not be made.
    pub rejected: u64,
}

/// Schemas: `found` is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaTally {
    /// Schemas that users added to the source.
    pub found: u64,
    /// Those added now.
    pub added: u64,
    /// Those that the target had.
    pub already_there: u64,
    /// Those of a type and version for which the target has another.
    pub conflicts: u64,
}

/// What belongs to running services and is not migrated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StayedBehind {
    /// Consumer groups.
    pub groups: u64,
    /// Dead letters that are open or on their way.
    pub dead_letters: u64,
    /// Whether events wait for their time.
    pub scheduled: bool,
}

/// Something that was not taken, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What it is about: `event`, `checkpoint`, `schema` or `key`.
    pub what: &'static str,
    /// Its id, name or key, at most 128 characters of it.
    pub id: String,
    /// A short stable name: `rejected`, `conflict`, `erased`, `without-event`, `no-event`, `damaged`, `replay-count`,
    /// `renamed`, `mark` or `unknown-index`.
    pub reason: &'static str,
    /// A sentence about it.
    pub detail: String,
}

/// How many keys of an index were compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexTally {
    /// The index.
    pub index: IndexKind,
    /// Its keys: types, users, and so on.
    pub keys: u64,
    /// Those whose counts are equal.
    pub equal: u64,
}

/// A key of an index whose counts differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The index.
    pub index: IndexKind,
    /// The type, user, and so on; empty for time. At most 128 characters of it.
    pub key: String,
    /// What the source counts.
    pub source: u64,
    /// What the target counts.
    pub target: u64,
    /// Ids that the source's index lists, and that have no event.
    pub without_event: u64,
    /// Events that the source's index lists, and that were not taken.
    pub not_taken: u64,
    /// Events that the source's index lists, and that say something else themselves.
    pub say_otherwise: u64,
    /// Events of the target that the source's index does not list.
    pub beside: u64,
}

impl Difference {
    /// Whether nothing is missing: the target has all that the index lists, and more.
    pub fn is_only_more(&self) -> bool {
        self.without_event == 0 && self.not_taken == 0 && self.say_otherwise == 0 && self.target > self.source
    }

    /// Why, as far as it is known.
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

/// A text from the source, cut where it is too long for a report.
pub(crate) fn shown(text: &[u8]) -> String {
    const MOST: usize = 128;
    let text = String::from_utf8_lossy(text);
    if text.chars().count() <= MOST {
        return text.into_owned();
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}

impl Report {
    /// Most problems that a report carries in full.
    pub const MAX_PROBLEMS: usize = 1000;
    /// Most differences that a report carries in full.
    pub const MAX_DIFFERENCES: usize = 100;

    /// Whether anything was changed, or would be.
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

    /// Draws the verdict, when all the rest is there.
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
