//! Publishing a stream of events, one a line: a file, a pipe, an export of another store.
//!
//! # Design
//! Lines are admitted and gathered into batches. While one batch is being appended by a task of its own, the next is
//! admitted; a second append never starts before the first has answered, so the log has the stream's order, and a
//! repeated id meets the one before it. Memory is bounded by two batches, or by the one batch of an atomic intake.

use std::{ops::RangeInclusive, sync::Arc};

use domain::{
    Event, Retry, Violation,
    ports::{AppendOutcome, EventStoreError},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::{
    lines::Line,
    publish_error::Rejection,
    publisher::Publisher,
    report::{IntakeProgress, IntakeReport, Named, Tally},
};

/// How an intake works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeOptions {
    /// Events of one append.
    pub batch_events: usize,
    /// Bytes of events after which a batch is appended even if it has fewer events.
    pub batch_bytes: usize,
    /// All or nothing: nothing is stored if any line is rejected or in conflict.
    pub atomic: bool,
    /// Lines whose errors the report keeps.
    pub max_errors: usize,
}

impl IntakeOptions {
    /// Most events that an atomic intake gathers; a store may take fewer in one step.
    pub const MAX_ATOMIC_EVENTS: usize = 1_000_000;
    /// Most bytes of events that an atomic intake gathers; a store may take fewer in one step.
    pub const MAX_ATOMIC_BYTES: usize = 256 * 1024 * 1024;
}

impl Default for IntakeOptions {
    fn default() -> Self {
        Self { batch_events: 1000, batch_bytes: 4 * 1024 * 1024, atomic: false, max_errors: 1000 }
    }
}

/// Why an intake ended early.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// The store failed. What the report counts as stored is stored; of the lines named, some may be.
    #[error(
        "appending lines {} to {} failed: {error}; taking the same input in again stores what is missing, and nothing twice",
        .lines.start(), .lines.end()
    )]
    Store {
        /// Why.
        error: EventStoreError,
        /// From the first to the last line of the batch that failed.
        lines: RangeInclusive<u64>,
        /// What had become of the lines before.
        report: Box<IntakeReport>,
    },
    /// There is more than can be stored in one step. Nothing was stored.
    #[error(
        "an all-or-nothing intake is stored in one step, which holds at most {max_events} events and {max_bytes} bytes; \
         nothing was stored. Cut the input into smaller files, or leave the atomic option out. Lines that fail \
         are reported then. The same input can be stored again: no event is stored twice"
    )]
    TooLargeToBeAtomic {
        /// Most events of one step.
        max_events: usize,
        /// Most bytes of one step.
        max_bytes: usize,
    },
}

impl IntakeError {
    /// Whether taking the same input in again can help. It is always safe.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Store { error, .. } => error.retry(),
            Self::TooLargeToBeAtomic { .. } => Retry::Never,
        }
    }

    /// A short stable name, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Store { error, .. } => error.kind(),
            Self::TooLargeToBeAtomic { .. } => "too-large-to-be-atomic",
        }
    }
}

/// Events that go to the store together, and their lines.
#[derive(Debug, Default)]
struct Batch {
    events: Vec<Event>,
    lines: Vec<u64>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, line: u64, event: Event) {
        self.bytes += event.size_bytes();
        self.events.push(event);
        self.lines.push(line);
    }

    fn line_range(&self) -> RangeInclusive<u64> {
        self.lines.first().copied().unwrap_or(0)..=self.lines.last().copied().unwrap_or(0)
    }

    fn named(self) -> impl Iterator<Item = Named> {
        self.lines.into_iter().zip(self.events).map(|(line, event)| Named {
            line,
            event_id: event.id().to_owned(),
            event_type: event.event_type().to_owned(),
        })
    }
}

/// A batch, and what became of each of its events.
type Appended = (Batch, Vec<Result<AppendOutcome, EventStoreError>>);

/// Takes in events line by line.
///
/// A line is an event, or a stored event as exports print it, of which the event is taken out untouched. White space
/// around it is no part of the event; blank lines are passed over.
///
/// Dropping an intake that was not finished aborts the append in flight, which is then wholly stored or wholly absent;
/// batches before it are stored. After an error, no more lines can be taken in.
#[derive(Debug)]
pub struct Intake {
    publisher: Arc<Publisher>,
    options: IntakeOptions,
    batch: Batch,
    in_flight: JoinSet<Appended>,
    /// The lines being appended, for the case that their task is lost.
    in_flight_lines: RangeInclusive<u64>,
    tally: Tally,
    /// Events of an atomic intake that were let go because it is refused already.
    held_back: u64,
}

impl Intake {
    /// An intake through `publisher`.
    pub fn new(publisher: Arc<Publisher>, options: IntakeOptions) -> Self {
        Self {
            publisher,
            batch: Batch::default(),
            in_flight: JoinSet::new(),
            in_flight_lines: 0..=0,
            tally: Tally::new(options.max_errors),
            options,
            held_back: 0,
        }
    }

    /// How far it has come. What is being appended is not counted as stored yet.
    pub fn progress(&self) -> IntakeProgress {
        self.tally.progress
    }

    /// Takes in what a line reader gives: a line over the limit is a rejected event.
    ///
    /// # Errors
    /// As [`Intake::line`].
    pub async fn take(&mut self, line: Line<'_>) -> Result<(), IntakeError> {
        match line {
            Line::Text { line, bytes } => self.line(line, bytes).await,
            Line::TooLong { line, bytes } => {
                self.too_long(line, bytes);
                Ok(())
            }
        }
    }

    /// Counts a line of `bytes` bytes that was too long to be read as rejected.
    pub fn too_long(&mut self, number: u64, bytes: u64) {
        let limit = self.publisher.settings().limits.max_event_bytes;
        let message = format!("the line has {bytes} bytes; the limit of an event is {limit}");
        self.count_line(bytes);
        let violations = vec![Violation::new("", "limit", message)];
        self.reject(number, Rejection { event_id: None, event_type: None, violations });
    }

    /// Takes in a line. Returns before its event is stored: [`Intake::finish`] makes sure of that.
    ///
    /// # Errors
    /// When the batch before could not be stored, or an atomic intake grows too large.
    pub async fn line(&mut self, number: u64, bytes: &[u8]) -> Result<(), IntakeError> {
        match self.publisher.admit_line(bytes) {
            Ok(None) => Ok(()),
            Ok(Some(event)) => {
                self.count_line(trim(bytes).len() as u64);
                self.admitted(number, event).await
            }
            Err(rejection) => {
                self.count_line(trim(bytes).len() as u64);
                self.reject(number, rejection);
                Ok(())
            }
        }
    }

    /// Waits until everything is stored, and reports.
    ///
    /// # Errors
    /// When the store failed, or an atomic intake is larger than the store takes in one step.
    pub async fn finish(mut self) -> Result<IntakeReport, IntakeError> {
        if self.options.atomic {
            self.finish_atomic().await?;
        } else {
            self.send().await?;
            self.settle().await?;
        }
        Ok(self.tally.report())
    }

    fn count_line(&mut self, bytes: u64) {
        self.tally.progress.lines += 1;
        self.tally.progress.bytes += bytes;
    }

    fn reject(&mut self, number: u64, rejection: Rejection) {
        self.publisher.count(Err(&rejection));
        self.tally.reject(number, rejection);
        if self.options.atomic {
            // It is refused as a whole from here on: what waited to be stored needs no memory any more.
            self.held_back += std::mem::take(&mut self.batch).events.len() as u64;
        }
    }

    fn is_refused(&self) -> bool {
        self.options.atomic && self.tally.progress.rejected > 0
    }

    async fn admitted(&mut self, number: u64, event: Event) -> Result<(), IntakeError> {
        self.publisher.count(Ok(&event));
        if self.is_refused() {
            self.held_back += 1;
            return Ok(());
        }
        self.batch.push(number, event);
        if self.options.atomic {
            return self.check_atomic_size();
        }
        let full = self.batch.events.len() >= self.options.batch_events
            || self.batch.bytes >= self.options.batch_bytes;
        if full { self.send().await } else { Ok(()) }
    }

    fn check_atomic_size(&self) -> Result<(), IntakeError> {
        let (max_events, max_bytes) = (IntakeOptions::MAX_ATOMIC_EVENTS, IntakeOptions::MAX_ATOMIC_BYTES);
        if self.batch.events.len() > max_events || self.batch.bytes > max_bytes {
            return Err(IntakeError::TooLargeToBeAtomic { max_events, max_bytes });
        }
        Ok(())
    }

    /// Starts to append what was gathered, once the append before has answered.
    async fn send(&mut self) -> Result<(), IntakeError> {
        self.settle().await?;
        let batch = std::mem::take(&mut self.batch);
        if batch.events.is_empty() {
            return Ok(());
        }
        self.in_flight_lines = batch.line_range();
        let appender = Arc::clone(self.publisher.appender());
        self.in_flight.spawn(async move {
            let outcomes = appender.each(&batch.events).await;
            (batch, outcomes)
        });
        Ok(())
    }

    /// Waits for the append in flight and counts its outcomes.
    async fn settle(&mut self) -> Result<(), IntakeError> {
        match self.in_flight.join_next().await {
            None => Ok(()),
            Some(Ok((batch, outcomes))) => self.count(batch, outcomes),
            Some(Err(lost)) => {
                let error = domain::StorageFailure::Unknown(format!("the task that appended ended: {lost}"));
                Err(self.failed(error.into(), self.in_flight_lines.clone()))
            }
        }
    }

    /// Counts what became of a batch. A store may take a batch in pieces: those before a failure are stored.
    fn count(
        &mut self,
        batch: Batch,
        outcomes: Vec<Result<AppendOutcome, EventStoreError>>,
    ) -> Result<(), IntakeError> {
        let lines = batch.line_range();
        for (named, outcome) in batch.named().zip(outcomes) {
            match outcome {
                Ok(outcome) => self.tally.outcome(named, outcome),
                Err(error) => return Err(self.failed(error, named.line..=*lines.end())),
            }
        }
        Ok(())
    }

    fn failed(&self, error: EventStoreError, lines: RangeInclusive<u64>) -> IntakeError {
        IntakeError::Store { error, lines, report: Box::new(self.tally.report()) }
    }

    async fn finish_atomic(&mut self) -> Result<(), IntakeError> {
        if self.is_refused() {
            self.tally.not_stored = Some(self.held_back);
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        if batch.events.is_empty() {
            return Ok(());
        }
        match self.publisher.appender().all_or_nothing(&batch.events).await {
            Err(EventStoreError::BatchTooLarge { max_events, max_bytes }) => {
                Err(IntakeError::TooLargeToBeAtomic { max_events, max_bytes })
            }
            Err(error) => Err(self.failed(error, batch.line_range())),
            Ok(outcomes) => {
                self.count(batch, outcomes.into_iter().map(Ok).collect())?;
                if self.tally.progress.conflicts + self.tally.progress.rejected > 0 {
                    self.tally.not_stored.get_or_insert(0);
                }
                Ok(())
            }
        }
    }
}

impl Publisher {
    /// Admits a line as an [`Intake`] does: an event, or the event of a stored event as exports print it. Stores nothing,
    /// counts nothing. None: the line is blank.
    ///
    /// # Errors
    /// As [`Publisher::admit`].
    pub fn admit_line(&self, line: &[u8]) -> Result<Option<Event>, Rejection> {
        let text = trim(line);
        if text.is_empty() {
            return Ok(None);
        }
        if text.starts_with(br#"{"event""#)
            && let Some(event) = event_of_stored(text)
        {
            return self.admit(event).map(Some);
        }
        let admitted = self.admit(text).or_else(|rejection| {
            // Members may come in any order. An event has an id, a stored event has none at its top: only a line that
            // was refused without one is looked at again.
            let stored = if rejection.event_id.is_none() { event_of_stored(text) } else { None };
            stored.map_or(Err(rejection), |event| self.admit(event))
        });
        admitted.map(Some)
    }
}

/// The bytes of the event within a stored event: an object with an object `event` and a `position`, and without `id`.
fn event_of_stored(text: &[u8]) -> Option<&[u8]> {
    #[derive(Deserialize)]
    struct Stored<'a> {
        #[serde(borrow)]
        event: &'a RawValue,
        #[serde(borrow)]
        position: &'a RawValue,
        #[serde(borrow, default)]
        id: Option<&'a RawValue>,
    }
    // A derived reader takes an array for the members in their order: a list of events would be its first.
    if !text.starts_with(b"{") {
        return None;
    }
    let stored: Stored<'_> = serde_json::from_slice(text).ok()?;
    let is_stored =
        stored.event.get().starts_with('{') && stored.position.get() != "null" && stored.id.is_none();
    is_stored.then(|| stored.event.get().as_bytes())
}

/// Without JSON's white space around it.
fn trim(bytes: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    match (bytes.iter().position(is_text), bytes.iter().rposition(is_text)) {
        (Some(first), Some(last)) => bytes.get(first..=last).unwrap_or_default(),
        _ => &[],
    }
}
