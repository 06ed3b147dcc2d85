//! What became of a stream of events, line by line.

use std::collections::BTreeMap;

use domain::{Violation, ports::AppendOutcome};
use serde::Serialize;

use crate::publish_error::Rejection;

/// What is wrong with one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LineError {
    /// The line, from 1.
    pub line: u64,
    /// The id its event claims, as far as it can be told.
    pub event_id: Option<String>,
    /// The type its event claims, as far as it can be told.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// What is wrong. The first 100; an entry with rule `more` says how many others there are.
    pub violations: Vec<Violation>,
}

/// The outcome of an intake. The counts, `not_stored` included, add up to the lines that were not blank.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IntakeReport {
    /// Events stored now.
    pub stored: u64,
    /// Events whose same content was stored before.
    pub already_stored: u64,
    /// Events that were not admitted, or whose id was erased.
    pub rejected: u64,
    /// Events under whose id other content is stored.
    pub conflicts: u64,
    /// In an atomic intake that was refused: events that nothing is known to be wrong with, held back by the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_stored: Option<u64>,
    /// What is wrong, by line: rejected events, and conflicts with rule `conflict`. The first lines, as many as the
    /// intake was told to keep.
    pub errors: Vec<LineError>,
    /// Whether there are more errors than `errors` has.
    pub errors_truncated: bool,
}

impl IntakeReport {
    /// Whether every event is in the store now.
    pub fn is_clean(&self) -> bool {
        self.rejected == 0 && self.conflicts == 0 && self.not_stored.is_none()
    }

    /// Lines that were not blank.
    pub fn lines(&self) -> u64 {
        self.stored + self.already_stored + self.rejected + self.conflicts + self.not_stored.unwrap_or(0)
    }
}

/// How far an intake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IntakeProgress {
    /// Lines that were not blank.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Events known to be stored.
    pub stored: u64,
    /// Events known to have been stored before.
    pub already_stored: u64,
    /// Events refused.
    pub rejected: u64,
    /// Events in conflict.
    pub conflicts: u64,
}

/// Most violations that one line keeps: a large event may have more than memory should hold for a report.
const MAX_VIOLATIONS: usize = 100;

/// Counts outcomes and keeps the errors of the first lines.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) progress: IntakeProgress,
    pub(crate) not_stored: Option<u64>,
    errors: BTreeMap<u64, LineError>,
    max_errors: usize,
    truncated: bool,
}

/// What a report needs to know of an event after its bytes are gone.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) line: u64,
    pub(crate) event_id: String,
    pub(crate) event_type: String,
}

impl Tally {
    pub(crate) fn new(max_errors: usize) -> Self {
        Self {
            progress: IntakeProgress::default(),
            not_stored: None,
            errors: BTreeMap::new(),
            max_errors,
            truncated: false,
        }
    }

    pub(crate) fn reject(&mut self, line: u64, rejection: Rejection) {
        self.progress.rejected += 1;
        let Rejection { event_id, event_type, violations } = rejection;
        self.error(LineError { line, event_id, event_type, violations });
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
        let Named { line, event_id, event_type } = of;
        let (event_id, event_type) = (Some(event_id), Some(event_type));
        self.error(LineError { line, event_id, event_type, violations: vec![violation] });
    }

    /// Keeps an error if its line is among the first. Errors do not come in the order of lines: a line is rejected
    /// while the batch before it is still being appended.
    fn error(&mut self, mut error: LineError) {
        if let Some(more) = error.violations.len().checked_sub(MAX_VIOLATIONS).filter(|more| *more > 0) {
            error.violations.truncate(MAX_VIOLATIONS);
            let message = format!("and {more} more violations");
            error.violations.push(Violation::new("", "more", message));
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
