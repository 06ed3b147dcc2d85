//! Publishes a stream of events, one event for each line: a file, a pipe, or an export of another store.
//!
//! # Design
//! The intake admits lines and collects them into batches. While a task appends one batch, the intake admits the next.
//! A second append never starts before the first append has answered. So the log has the order of the stream, and a
//! repeated id meets the earlier event. The intake holds at most two batches in memory. An atomic intake holds one
//! batch.

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
    report::{IntakeProgress, IntakeReport, LineError, Named, RefusedLine, Tally},
};

/// Options of an intake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeOptions {
    /// Events in one append.
    pub batch_events: usize,
    /// Bytes of events after which a batch is appended, even if it has fewer events.
    pub batch_bytes: usize,
    /// All or nothing: if any line is rejected or in conflict, the intake stores nothing.
    pub atomic: bool,
    /// The highest number of lines whose errors the report keeps.
    pub max_errors: usize,
    /// Whether refused lines are kept until [`Intake::take_refused`] takes them.
    pub keep_refused: bool,
}

impl IntakeOptions {
    /// The highest number of events that an atomic intake collects. A store may accept fewer in one step.
    pub const MAX_ATOMIC_EVENTS: usize = 1_000_000;
    /// The highest number of event bytes that an atomic intake collects. A store may accept fewer in one step.
    pub const MAX_ATOMIC_BYTES: usize = 256 * 1024 * 1024;
}

impl Default for IntakeOptions {
    fn default() -> Self {
        Self {
            batch_events: 1000,
            batch_bytes: 4 * 1024 * 1024,
            atomic: false,
            max_errors: 1000,
            keep_refused: false,
        }
    }
}

/// The reason why an intake ended early.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// The store failed. The events that the report counts as stored are stored. Some events of the named lines may be
    /// stored.
    #[error(
        "appending lines {} to {} failed: {error}; taking the same input in again stores what is missing, and nothing twice",
        .lines.start(), .lines.end()
    )]
    Store {
        /// The failure of the store.
        error: EventStoreError,
        /// The first to the last line of the failed part of the batch.
        lines: RangeInclusive<u64>,
        /// The report of the lines before.
        report: Box<IntakeReport>,
    },
    /// The input is larger than the store can append in one step. Nothing was stored.
    #[error(
        "an all-or-nothing intake is stored in one step, which holds at most {max_events} events and {max_bytes} bytes; \
         nothing was stored. Cut the input into smaller files, or leave the atomic option out. Lines that fail \
         are reported then. The same input can be stored again: no event is stored twice"
    )]
    TooLargeToBeAtomic {
        /// The highest number of events in one step.
        max_events: usize,
        /// The highest number of bytes in one step.
        max_bytes: usize,
    },
}

impl IntakeError {
    /// Returns whether a new intake of the same input can help. A new intake of the same input is always safe.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Store { error, .. } => error.retry(),
            Self::TooLargeToBeAtomic { .. } => Retry::Never,
        }
    }

    /// Returns a short stable name of the error, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Store { error, .. } => error.kind(),
            Self::TooLargeToBeAtomic { .. } => "too-large-to-be-atomic",
        }
    }
}

/// Events that go to the store together, with their line numbers.
#[derive(Debug, Default)]
struct Batch {
    events: Vec<Event>,
    lines: Vec<u64>,
    /// The bytes of the lines as they were read, if refused lines are kept.
    originals: Vec<Option<Vec<u8>>>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, line: u64, event: Event, original: Option<Vec<u8>>) {
        self.bytes += event.size_bytes();
        self.events.push(event);
        self.lines.push(line);
        self.originals.push(original);
    }

    fn line_range(&self) -> RangeInclusive<u64> {
        self.lines.first().copied().unwrap_or(0)..=self.lines.last().copied().unwrap_or(0)
    }

    fn named(self) -> impl Iterator<Item = Named> {
        let lines = self.lines.into_iter().zip(self.originals);
        lines.zip(self.events).map(|((line, original), event)| Named {
            original,
            line,
            event_id: event.id().to_owned(),
            event_type: event.event_type().to_owned(),
        })
    }
}

/// A batch, with the outcome of each of its events.
type Appended = (Batch, Vec<Result<AppendOutcome, EventStoreError>>);

/// Publishes events line by line.
///
/// A line holds an event, or a stored event in the format of an export. From a stored event, the intake takes the event
/// unchanged. White space around the object is not part of the event. Blank lines are skipped.
///
/// A drop of an unfinished intake aborts the append in flight. That append is then wholly stored or wholly absent,
/// unless it was split by size or by partition. Batches before it are stored. After an error, the intake accepts no
/// more lines.
#[derive(Debug)]
pub struct Intake {
    publisher: Arc<Publisher>,
    options: IntakeOptions,
    batch: Batch,
    in_flight: JoinSet<Appended>,
    /// The lines of the append in flight. The error names them if the append task is lost.
    in_flight_lines: RangeInclusive<u64>,
    tally: Tally,
    /// Events of an atomic intake that were released from memory because the intake is already refused.
    held_back: u64,
}

impl Intake {
    /// Returns an intake that publishes through `publisher`.
    pub fn new(publisher: Arc<Publisher>, options: IntakeOptions) -> Self {
        Self {
            publisher,
            batch: Batch::default(),
            in_flight: JoinSet::new(),
            in_flight_lines: 0..=0,
            tally: Tally::new(options.max_errors, options.keep_refused),
            options,
            held_back: 0,
        }
    }

    /// Returns the progress. Events of the append in flight do not yet count as stored.
    pub fn progress(&self) -> IntakeProgress {
        self.tally.progress
    }

    /// Adds a line from a line reader. A line over the limit counts as a rejected event.
    ///
    /// # Errors
    /// Returns the errors of [`Intake::line`].
    pub async fn take(&mut self, line: Line<'_>) -> Result<(), IntakeError> {
        match line {
            Line::Text { line, bytes } => self.line(line, bytes).await,
            Line::TooLong { line, bytes } => {
                self.too_long(line, bytes);
                Ok(())
            }
        }
    }

    /// Counts a line of `bytes` bytes as rejected, because it was too long to be read.
    pub fn too_long(&mut self, number: u64, bytes: u64) {
        let limit = self.publisher.settings().limits.max_event_bytes;
        let message = format!("the line has {bytes} bytes; the limit of an event is {limit}");
        self.count_line(bytes);
        let violations = vec![Violation::new("", "limit", message)];
        self.reject(number, Rejection { event_id: None, event_type: None, violations }, None);
    }

    /// Counts an entry that could not be converted to an event as rejected, with its violations.
    pub fn refuse(&mut self, error: LineError) {
        self.count_line(0);
        let LineError { line, event_id, event_type, violations } = error;
        self.reject(line, Rejection { event_id, event_type, violations }, None);
    }

    /// Adds a line. Returns before its event is stored. [`Intake::finish`] waits until the event is stored.
    ///
    /// # Errors
    /// Returns [`IntakeError::Store`] when the batch before could not be stored. Returns
    /// [`IntakeError::TooLargeToBeAtomic`] when an atomic intake grows too large.
    pub async fn line(&mut self, number: u64, bytes: &[u8]) -> Result<(), IntakeError> {
        self.line_of(number, bytes, bytes).await
    }

    /// Adds a line as [`Intake::line`] does, with the bytes that were read. They differ from the line if the caller has
    /// completed its event. If the line is refused, the bytes that were read are kept.
    ///
    /// # Errors
    /// Returns the errors of [`Intake::line`].
    pub async fn line_of(&mut self, number: u64, bytes: &[u8], original: &[u8]) -> Result<(), IntakeError> {
        let original = self.options.keep_refused.then(|| original.to_vec());
        match self.publisher.admit_line(bytes) {
            Ok(None) => Ok(()),
            Ok(Some(event)) => {
                self.count_line(trim(bytes).len() as u64);
                self.admitted(number, event, original).await
            }
            Err(rejection) => {
                self.count_line(trim(bytes).len() as u64);
                self.reject(number, rejection, original);
                Ok(())
            }
        }
    }

    /// Takes the refused lines since the last call, in the order in which they were refused. Without the option
    /// `keep_refused` there are none.
    pub fn take_refused(&mut self) -> Vec<RefusedLine> {
        self.tally.take_refused()
    }

    /// Waits until all events are stored, and returns the report.
    ///
    /// # Errors
    /// Returns [`IntakeError::Store`] when the store failed. Returns [`IntakeError::TooLargeToBeAtomic`] when an atomic
    /// intake is larger than the store appends in one step.
    pub async fn finish(self) -> Result<IntakeReport, IntakeError> {
        self.finish_with_refused().await.0
    }

    /// Finishes as [`Intake::finish`] does. Also returns the refused lines since the last call of
    /// [`Intake::take_refused`].
    pub async fn finish_with_refused(mut self) -> (Result<IntakeReport, IntakeError>, Vec<RefusedLine>) {
        let finished = self.store_rest().await;
        let refused = self.take_refused();
        (finished.map(|()| self.tally.report()), refused)
    }

    async fn store_rest(&mut self) -> Result<(), IntakeError> {
        if self.options.atomic {
            return self.finish_atomic().await;
        }
        self.send().await?;
        self.settle().await
    }

    fn count_line(&mut self, bytes: u64) {
        self.tally.progress.lines += 1;
        self.tally.progress.bytes += bytes;
    }

    fn reject(&mut self, number: u64, rejection: Rejection, original: Option<Vec<u8>>) {
        self.publisher.count(Err(&rejection));
        self.tally.reject(number, rejection, original);
        if self.options.atomic {
            // From here on the whole intake is refused. The waiting events need no memory any more.
            self.held_back += std::mem::take(&mut self.batch).events.len() as u64;
        }
    }

    fn is_refused(&self) -> bool {
        self.options.atomic && self.tally.progress.rejected > 0
    }

    async fn admitted(
        &mut self,
        number: u64,
        event: Event,
        original: Option<Vec<u8>>,
    ) -> Result<(), IntakeError> {
        self.publisher.count(Ok(&event));
        if self.is_refused() {
            self.held_back += 1;
            return Ok(());
        }
        self.batch.push(number, event, original);
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

    /// Starts to append the collected batch after the append before it has answered.
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

    /// Counts the outcomes of a batch. A store may append a batch in pieces. The pieces before a failure are stored.
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
    /// Admits a line as an [`Intake`] does: an event, or the event of a stored event in the format of an export. Stores
    /// nothing and counts nothing. Returns `None` for a blank line.
    ///
    /// # Errors
    /// Returns the errors of [`Publisher::admit`].
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
            // Members may have any order. An event has an id, and a stored event has no id at its top level. So only a
            // line that was rejected without an id is read a second time.
            let stored = if rejection.event_id.is_none() { event_of_stored(text) } else { None };
            stored.map_or(Err(rejection), |event| self.admit(event))
        });
        admitted.map(Some)
    }
}

/// Returns the bytes of the event in a stored event. A stored event is an object with an object `event` and a
/// `position`, and without `id`.
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
    // A derived deserializer also accepts an array with the members in order. It would read a list of events as the
    // first event.
    if !text.starts_with(b"{") {
        return None;
    }
    let stored: Stored<'_> = serde_json::from_slice(text).ok()?;
    let is_stored =
        stored.event.get().starts_with('{') && stored.position.get() != "null" && stored.id.is_none();
    is_stored.then(|| stored.event.get().as_bytes())
}

/// Returns the bytes without the JSON white space around them.
fn trim(bytes: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    match (bytes.iter().position(is_text), bytes.iter().rposition(is_text)) {
        (Some(first), Some(last)) => bytes.get(first..=last).unwrap_or_default(),
        _ => &[],
    }
}
