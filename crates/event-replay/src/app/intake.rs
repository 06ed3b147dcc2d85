//! The publication of many events: the outcome of each line, and events with delivery options.

mod in_order;

use bus::{IntakeReport, Line, LineError, PublishError, PublishOptions, Published, Publisher, RefusedLine};
use domain::Violation;
use serde::{Deserialize, Serialize};

use self::in_order::in_order;
use super::source::with_source;

/// The largest number of errors in a report.
pub const MAX_ERRORS: usize = 1000;

/// Events that are published concurrently. They share commits, in the order of their lines.
const AT_ONCE: usize = 256;

/// The outcome for a scheduled event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The event was scheduled now.
    Now,
    /// The same content was scheduled before.
    Before,
}

/// The outcome of a publication, line by line, over any number of rounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishReport {
    sum: IntakeReport,
    /// The number of scheduled events: new ones, and ones that were scheduled before. `None` if no event was delayed.
    waiting: Option<(u64, u64)>,
}

/// The report as a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishDocument<'a> {
    stored: u64,
    already_stored: u64,
    rejected: u64,
    conflicts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_stored: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    already_scheduled: Option<u64>,
    errors: Vec<LineErrorDocument<'a>>,
    errors_truncated: bool,
}

/// The violations of a line, and the place of the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineErrorDocument<'a> {
    /// The input file, if there are several inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<&'a str>,
    /// The line with its violations.
    #[serde(flatten)]
    pub error: LineError,
}

impl PublishReport {
    /// Returns an empty report for scheduled events.
    #[must_use]
    pub fn of_scheduled() -> Self {
        Self { waiting: Some((0, 0)), ..Self::default() }
    }

    /// Returns the counts and errors of the events that are appended to the log.
    pub fn sum(&self) -> &IntakeReport {
        &self.sum
    }

    /// Returns the number of scheduled events: new ones, and ones that were scheduled before.
    pub fn waiting(&self) -> Option<(u64, u64)> {
        self.waiting
    }

    /// Counts a scheduled event.
    pub fn waits(&mut self, since: Waiting) {
        let (now, before) = self.waiting.get_or_insert((0, 0));
        match since {
            Waiting::Now => *now += 1,
            Waiting::Before => *before += 1,
        }
    }

    /// Adds the report of one round.
    pub fn add(&mut self, part: IntakeReport) {
        let sum = &mut self.sum;
        sum.stored += part.stored;
        sum.already_stored += part.already_stored;
        sum.rejected += part.rejected;
        sum.conflicts += part.conflicts;
        if let Some(held) = part.not_stored {
            *sum.not_stored.get_or_insert(0) += held;
        }
        sum.errors_truncated |= part.errors_truncated;
        for error in part.errors {
            match sum.errors.len() < MAX_ERRORS {
                true => sum.errors.push(error),
                false => sum.errors_truncated = true,
            }
        }
    }

    /// Returns the number of lines that were not blank.
    pub fn lines(&self) -> u64 {
        let (now, before) = self.waiting.unwrap_or_default();
        self.sum.lines() + now + before
    }

    /// Returns whether every event is stored or scheduled.
    pub fn is_clean(&self) -> bool {
        self.sum.is_clean()
    }

    /// Returns the document, with the line numbers of the report.
    pub fn document(&self) -> PublishDocument<'_> {
        self.document_of(|line| (None, line))
    }

    /// Returns the document. `place` maps a line number of the report to its input file and its number there.
    pub fn document_of<'a>(&self, place: impl Fn(u64) -> (Option<&'a str>, u64)) -> PublishDocument<'a> {
        let sum = &self.sum;
        let errors = sum.errors.iter().map(|error| {
            let (file, line) = place(error.line);
            LineErrorDocument { file, error: LineError { line, ..error.clone() } }
        });
        PublishDocument {
            stored: sum.stored,
            already_stored: sum.already_stored,
            rejected: sum.rejected,
            conflicts: sum.conflicts,
            not_stored: sum.not_stored,
            scheduled: self.waiting.map(|(now, _)| now),
            already_scheduled: self.waiting.map(|(_, before)| before),
            errors: errors.collect(),
            errors_truncated: sum.errors_truncated,
        }
    }
}

/// The store failed while a line was published. The report has the lines before it.
#[derive(Debug, thiserror::Error)]
#[error("publishing line {line}: {error}")]
pub struct LineFailure {
    /// The number of the line.
    pub line: u64,
    /// The error.
    pub error: PublishError,
}

/// Publishes events with delivery options: each on its own, many concurrently.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryIntake<'a> {
    /// The publisher.
    pub publisher: &'a Publisher,
    /// The delivery options.
    pub options: &'a PublishOptions,
    /// The source of events that have none.
    pub service: Option<&'a str>,
}

impl DeliveryIntake<'_> {
    /// Returns the empty report to start with.
    pub fn report(&self) -> PublishReport {
        match self.options.delay {
            Some(_) => PublishReport::of_scheduled(),
            None => PublishReport::default(),
        }
    }

    /// Publishes lines, and adds their outcomes to the report. `number` maps the number of a line to its number in the
    /// report.
    ///
    /// # Errors
    /// Returns [`LineFailure`] when the store fails. Events that were published before stay.
    pub async fn lines(
        &self,
        lines: &[Line<'_>],
        number: impl Fn(u64) -> u64,
        report: &mut PublishReport,
    ) -> Result<(), LineFailure> {
        self.lines_with_refused(lines, number, report, None).await
    }

    /// Publishes lines as [`DeliveryIntake::lines`] does. Also adds the refused lines to `refused`.
    ///
    /// # Errors
    /// Returns the errors of [`DeliveryIntake::lines`].
    pub async fn lines_with_refused(
        &self,
        lines: &[Line<'_>],
        number: impl Fn(u64) -> u64,
        report: &mut PublishReport,
        mut refused: Option<&mut Vec<RefusedLine>>,
    ) -> Result<(), LineFailure> {
        for part in lines.chunks(AT_ONCE) {
            let outcomes = in_order(part.iter().map(|line| self.one(line)).collect()).await;
            for (line, outcome) in part.iter().zip(outcomes) {
                let counted = self.counted(number(number_of(line)), line, outcome, report)?;
                if let (Some(refused), Some(error)) = (&mut refused, counted.errors.first()) {
                    refused.push(RefusedLine { error: error.clone(), bytes: bytes_of(line) });
                }
                report.add(counted);
            }
        }
        Ok(())
    }

    async fn one(&self, line: &Line<'_>) -> Option<Result<Published, PublishError>> {
        let Line::Text { bytes, .. } = line else { return None };
        let named = self.service.and_then(|service| with_source(bytes, service));
        let text = named.as_deref().unwrap_or_else(|| bytes.trim_ascii());
        Some(self.publisher.publish_with(text, self.options).await)
    }

    /// Returns the outcome of a line. A scheduled event is counted in the report.
    fn counted(
        &self,
        number: u64,
        line: &Line<'_>,
        outcome: Option<Result<Published, PublishError>>,
        report: &mut PublishReport,
    ) -> Result<IntakeReport, LineFailure> {
        let mut part = IntakeReport::default();
        match outcome {
            Some(Ok(Published::Stored(_))) => part.stored = 1,
            Some(Ok(Published::AlreadyStored(_))) => part.already_stored = 1,
            Some(Ok(Published::Scheduled { .. })) => report.waits(Waiting::Now),
            Some(Ok(Published::AlreadyScheduled { .. })) => report.waits(Waiting::Before),
            Some(Err(error)) => refuse(number, line, error, &mut part)?,
            None => {
                part.rejected = 1;
                part.errors.push(too_long(number, line, self.publisher));
            }
        }
        Ok(part)
    }
}

/// Returns the bytes of a line, if it was read.
fn bytes_of(line: &Line<'_>) -> Option<Vec<u8>> {
    match line {
        Line::Text { bytes, .. } => Some(bytes.to_vec()),
        Line::TooLong { .. } => None,
    }
}

/// Adds the error of an event to the report with its line. A failure of the store ends the run.
fn refuse(
    number: u64,
    line: &Line<'_>,
    error: PublishError,
    part: &mut IntakeReport,
) -> Result<(), LineFailure> {
    let said = error.to_string();
    let kind = error.kind();
    let entry =
        |event_id, event_type, violations| LineError { line: number, event_id, event_type, violations };
    match error {
        PublishError::Rejected(rejection) => {
            part.rejected = 1;
            part.errors.push(entry(rejection.event_id, rejection.event_type, rejection.violations));
        }
        PublishError::Conflict { id, .. } | PublishError::ScheduleConflict { id, .. } => {
            part.conflicts = 1;
            let violation = Violation::new("/id", "conflict", said);
            part.errors.push(entry(Some(id), type_of(line), vec![violation]));
        }
        PublishError::Erased { id } => {
            part.rejected = 1;
            part.errors.push(entry(Some(id), type_of(line), vec![Violation::new("/id", kind, said)]));
        }
        error => return Err(LineFailure { line: number, error }),
    }
    Ok(())
}

/// Returns the error for a line that is longer than the limit of an event.
pub fn too_long(number: u64, line: &Line<'_>, publisher: &Publisher) -> LineError {
    let bytes = match line {
        Line::TooLong { bytes, .. } => *bytes,
        Line::Text { bytes, .. } => bytes.len() as u64,
    };
    let limit = publisher.settings().limits.max_event_bytes;
    let message = format!("the line has {bytes} bytes; the limit of an event is {limit}");
    let violations = vec![Violation::new("", "limit", message)];
    LineError { line: number, event_id: None, event_type: None, violations }
}

/// Returns the type of an admitted event.
fn type_of(line: &Line<'_>) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        event_type: String,
    }
    let Line::Text { bytes, .. } = line else { return None };
    serde_json::from_slice::<Typed>(bytes).ok().map(|typed| typed.event_type)
}

fn number_of(line: &Line<'_>) -> u64 {
    match line {
        Line::Text { line, .. } | Line::TooLong { line, .. } => *line,
    }
}
