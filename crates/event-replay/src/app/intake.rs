//! Publishing many events: what became of each line, and events that say how they are to be delivered.

mod in_order;

use bus::{IntakeReport, Line, LineError, PublishError, PublishOptions, Published, Publisher};
use domain::Violation;
use serde::{Deserialize, Serialize};

use self::in_order::in_order;
use super::source::with_source;

/// Most lines whose errors a report keeps.
pub const MAX_ERRORS: usize = 1000;

/// Events that are on their way at once: they share commits, in the order of their lines.
const AT_ONCE: usize = 256;

/// An event that waits for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It was put into the schedule now.
    Now,
    /// The same content was there before.
    Before,
}

/// The outcome of publishing events, line by line, over any number of rounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishReport {
    sum: IntakeReport,
    /// Events that wait for their time, if events were delayed: new ones, and ones that waited before.
    waiting: Option<(u64, u64)>,
}

/// A report as programs read it.
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

/// The faults of a line, and the line's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineErrorDocument<'a> {
    /// Which input, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<&'a str>,
    /// The faults.
    #[serde(flatten)]
    pub error: LineError,
}

impl PublishReport {
    /// A report about events that come into the log later.
    #[must_use]
    pub fn of_scheduled() -> Self {
        Self { waiting: Some((0, 0)), ..Self::default() }
    }

    /// The counts and errors of the events that go into the log.
    pub fn sum(&self) -> &IntakeReport {
        &self.sum
    }

    /// Events that wait for their time: new ones, and ones that waited before.
    pub fn waiting(&self) -> Option<(u64, u64)> {
        self.waiting
    }

    /// Counts an event that waits for its time.
    pub fn waits(&mut self, since: Waiting) {
        let (now, before) = self.waiting.get_or_insert((0, 0));
        match since {
            Waiting::Now => *now += 1,
            Waiting::Before => *before += 1,
        }
    }

    /// Adds what one round brought.
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

    /// Lines that were not blank.
    pub fn lines(&self) -> u64 {
        let (now, before) = self.waiting.unwrap_or_default();
        self.sum.lines() + now + before
    }

    /// Whether every event is in the store now, or waits for its time.
    pub fn is_clean(&self) -> bool {
        self.sum.is_clean()
    }

    /// The document, where lines keep their numbers.
    pub fn document(&self) -> PublishDocument<'_> {
        self.document_of(|line| (None, line))
    }

    /// The document; `place` says of a numbered line in which input it stands, and its number there.
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

/// The store failed while a line was published. Lines before it are in the report.
#[derive(Debug, thiserror::Error)]
#[error("publishing line {line}: {error}")]
pub struct LineFailure {
    /// The line's number.
    pub line: u64,
    /// Why.
    pub error: PublishError,
}

/// Publishes events that say how they are to be delivered: each on its own, many at once.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryIntake<'a> {
    /// The publisher.
    pub publisher: &'a Publisher,
    /// How they are to be delivered.
    pub options: &'a PublishOptions,
    /// The source of events that name none.
    pub service: Option<&'a str>,
}

impl DeliveryIntake<'_> {
    /// A report to begin with.
    pub fn report(&self) -> PublishReport {
        match self.options.delay {
            Some(_) => PublishReport::of_scheduled(),
            None => PublishReport::default(),
        }
    }

    /// Publishes lines and adds to the report what became of them. `number` turns a line's number into the report's.
    ///
    /// # Errors
    /// When the store fails; what was published before stays.
    pub async fn lines(
        &self,
        lines: &[Line<'_>],
        number: impl Fn(u64) -> u64,
        report: &mut PublishReport,
    ) -> Result<(), LineFailure> {
        for part in lines.chunks(AT_ONCE) {
            let outcomes = in_order(part.iter().map(|line| self.one(line)).collect()).await;
            for (line, outcome) in part.iter().zip(outcomes) {
                self.count(number(number_of(line)), line, outcome, report)?;
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

    fn count(
        &self,
        number: u64,
        line: &Line<'_>,
        outcome: Option<Result<Published, PublishError>>,
        report: &mut PublishReport,
    ) -> Result<(), LineFailure> {
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
        report.add(part);
        Ok(())
    }
}

/// A fault of an event is reported with its line. A fault of the store ends the run.
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

/// The fault of a line that is longer than an event may be.
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

/// The type of an event that was admitted.
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
