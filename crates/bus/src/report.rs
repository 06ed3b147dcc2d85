//! The report of an intake: counts of all events, and errors by line.

use std::collections::BTreeMap;

use domain::{Violation, ports::AppendOutcome};
use serde::Serialize;

use crate::publish_error::Rejection;

/// The violations of one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LineError {
    /// The line number, from 1.
    pub line: u64,
    /// The id that the event states, if the line contains a readable id.
    pub event_id: Option<String>,
    /// The type that the event states, if the line contains a readable type.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// The first 100 violations. If there are more, an entry with the rule `more` states the number of the others.
    pub violations: Vec<Violation>,
}

/// A refused line: its violations, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedLine {
    /// The line with its violations.
    pub error: LineError,
    /// The bytes of the line as it was read, without its line feed. None if the line was too long to be read.
    pub bytes: Option<Vec<u8>>,
}

/// The result of an intake. The counts, `not_stored` included, add up to the number of lines that are not blank.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IntakeReport {
    /// Events that this intake stored.
    pub stored: u64,
    /// Events that were stored before with the same content.
    pub already_stored: u64,
    /// Events that were not admitted, or whose id was erased.
    pub rejected: u64,
    /// Events whose id is stored with other content.
    pub conflicts: u64,
    /// Set only when an atomic intake was refused: the events without a known violation, which the other events held
    /// back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_stored: Option<u64>,
    /// The violations by line, for rejected events and for conflicts (rule `conflict`). The report keeps the first
    /// lines, up to [`crate::IntakeOptions::max_errors`].
    pub errors: Vec<LineError>,
    /// Whether the intake met more errors than `errors` contains.
    pub errors_truncated: bool,
}

impl IntakeReport {
    /// Returns whether the store has every event of the intake.
    pub fn is_clean(&self) -> bool {
        self.rejected == 0 && self.conflicts == 0 && self.not_stored.is_none()
    }

    /// Returns the number of lines that are not blank.
    pub fn lines(&self) -> u64 {
        self.stored + self.already_stored + self.rejected + self.conflicts + self.not_stored.unwrap_or(0)
    }
}

/// The progress of an intake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IntakeProgress {
    /// Lines read, without blank lines.
    pub lines: u64,
    /// Bytes of these lines.
    pub bytes: u64,
    /// Events that the store confirmed as stored.
    pub stored: u64,
    /// Events that the store confirmed as stored before.
    pub already_stored: u64,
    /// Events rejected.
    pub rejected: u64,
    /// Events in conflict.
    pub conflicts: u64,
}

/// The highest number of violations that a report keeps for one line. It bounds the memory that a large event can take.
const MAX_VIOLATIONS: usize = 100;

/// Counts outcomes and keeps the errors of the first lines.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) progress: IntakeProgress,
    pub(crate) not_stored: Option<u64>,
    errors: BTreeMap<u64, LineError>,
    max_errors: usize,
    truncated: bool,
    /// Refused lines that the caller did not take yet, if it asks for them.
    refused: Option<Vec<RefusedLine>>,
}

/// The part of an event that a report needs after the event's bytes are released.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// The bytes of the line, if the caller asks for refused lines.
    pub(crate) original: Option<Vec<u8>>,
    pub(crate) line: u64,
    pub(crate) event_id: String,
    pub(crate) event_type: String,
}

impl Tally {
    pub(crate) fn new(max_errors: usize, keep_refused: bool) -> Self {
        Self {
            refused: keep_refused.then(Vec::new),
            progress: IntakeProgress::default(),
            not_stored: None,
            errors: BTreeMap::new(),
            max_errors,
            truncated: false,
        }
    }

    /// Takes the refused lines since the last call.
    pub(crate) fn take_refused(&mut self) -> Vec<RefusedLine> {
        self.refused.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn reject(&mut self, line: u64, rejection: Rejection, original: Option<Vec<u8>>) {
        self.progress.rejected += 1;
        let Rejection { event_id, event_type, violations } = rejection;
        self.error(LineError { line, event_id, event_type, violations }, original);
    }

    pub(crate) fn outcome(&mut self, of: Named, outcome: AppendOutcome) {
        match outcome {
            AppendOutcome::Stored(_) => self.progress.stored += 1,
            AppendOutcome::AlreadyStored(_) => self.progress.already_stored += 1,
            AppendOutcome::NotStored => *self.not_stored.get_or_insert(0) += 1,
            AppendOutcome::Conflict(position) => {
                self.progress.conflicts += 1;
                let message = format!("other content is stored under this id, at {position}");
                self.named(of, Violation::new("/id", "conflict", message));
            }
            AppendOutcome::Erased => {
                self.progress.rejected += 1;
                let message = "the event of this id was erased on request; its id is refused permanently";
                self.named(of, Violation::new("/id", "erased", message));
            }
        }
    }

    fn named(&mut self, of: Named, violation: Violation) {
        let Named { original, line, event_id, event_type } = of;
        let (event_id, event_type) = (Some(event_id), Some(event_type));
        self.error(LineError { line, event_id, event_type, violations: vec![violation] }, original);
    }

    /// Keeps an error if its line is among the first. Errors arrive out of line order: a line can be rejected while the
    /// batch before it is still being appended.
    fn error(&mut self, mut error: LineError, original: Option<Vec<u8>>) {
        if let Some(more) = error.violations.len().checked_sub(MAX_VIOLATIONS).filter(|more| *more > 0) {
            error.violations.truncate(MAX_VIOLATIONS);
            let message = format!("and {more} more violations");
            error.violations.push(Violation::new("", "more", message));
        }
        if let Some(refused) = &mut self.refused {
            refused.push(RefusedLine { error: error.clone(), bytes: original });
        }
        self.errors.insert(error.line, error);
        if self.errors.len() > self.max_errors {
            self.errors.pop_last();
            self.truncated = true;
        }
    }

    pub(crate) fn report(&self) -> IntakeReport {
        let IntakeProgress { stored, already_stored, rejected, conflicts, .. } = self.progress;
        IntakeReport {
            stored,
            already_stored,
            rejected,
            conflicts,
            not_stored: self.not_stored,
            errors: self.errors.values().cloned().collect(),
            errors_truncated: self.truncated,
        }
    }
}
