//! What became of the inputs, line by line, over several files and several rounds.

use bus::{IntakeReport, LineError};
use serde::Serialize;

use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    input::Input,
    output::{escape, plural::count, table::Table},
};

/// Most lines whose errors are kept.
const MAX_ERRORS: usize = 1000;
/// Most lines whose errors a person is shown.
const SHOWN: usize = 20;

/// Lines of input `n` are numbered from `n` times this: inputs are told apart without a table.
const INPUT_STRIDE: u64 = 1 << 44;

/// The outcome of all inputs.
pub(super) struct Report {
    names: Vec<String>,
    sum: IntakeReport,
    /// Events that wait for their time, where events may: those put there now, and those that waited before.
    waiting: Option<(u64, u64)>,
}

/// An event that waits for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// It was put into the schedule now.
    Now,
    /// The same content was there before.
    Before,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Printed<'a> {
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
    errors: Vec<PrintedError<'a>>,
    errors_truncated: bool,
}

#[derive(Serialize)]
struct PrintedError<'a> {
    /// Which file, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(flatten)]
    error: LineError,
}

impl Report {
    /// A report about these inputs.
    pub(super) fn new(inputs: &[Input]) -> Self {
        let names = inputs.iter().map(ToString::to_string).collect();
        Self { names, sum: IntakeReport::default(), waiting: None }
    }

    /// A report about events that are published to come later.
    #[must_use]
    pub(super) fn of_scheduled(self) -> Self {
        Self { waiting: Some((0, 0)), ..self }
    }

    /// Counts an event that waits for its time.
    pub(super) fn waits(&mut self, since: Waiting) {
        let (now, before) = self.waiting.get_or_insert((0, 0));
        match since {
            Waiting::Now => *now += 1,
            Waiting::Before => *before += 1,
        }
    }

    /// The number of a line among all inputs' lines.
    pub(super) fn number(input: usize, line: u64) -> u64 {
        input as u64 * INPUT_STRIDE + line
    }

    /// Where a numbered line stands, for people.
    pub(super) fn place(&self, number: u64) -> String {
        match self.file(number) {
            Some(file) => format!("{file}:{}", number % INPUT_STRIDE),
            None => (number % INPUT_STRIDE).to_string(),
        }
    }

    /// Adds what one round brought.
    pub(super) fn add(&mut self, part: IntakeReport) {
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

    /// Lines of the rounds that are over.
    pub(super) fn lines_before(&self) -> u64 {
        let (now, before) = self.waiting.unwrap_or_default();
        self.sum.lines() + now + before
    }

    /// Whether there is anything to tell.
    pub(super) fn has_anything(&self) -> bool {
        self.lines_before() > 0
    }

    /// Whether every event is in the store now.
    pub(super) fn is_clean(&self) -> bool {
        self.sum.is_clean()
    }

    fn file(&self, number: u64) -> Option<&str> {
        match self.names.as_slice() {
            [_] => None,
            names => names.get((number / INPUT_STRIDE) as usize).map(String::as_str),
        }
    }

    /// Prints it.
    pub(super) fn print(&self, cx: &mut Context<'_>) -> Result<(), CliError> {
        match cx.printer.format() {
            Format::Table => self.print_table(cx),
            Format::Json | Format::Ndjson => cx.printer.json(&self.printed()),
        }
    }

    fn printed(&self) -> Printed<'_> {
        let sum = &self.sum;
        let errors = sum.errors.iter().map(|error| PrintedError {
            file: self.file(error.line),
            error: LineError { line: error.line % INPUT_STRIDE, ..error.clone() },
        });
        Printed {
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

    fn print_table(&self, cx: &mut Context<'_>) -> Result<(), CliError> {
        let sum = &self.sum;
        let mut line = format!(
            "stored {}, already stored {}, rejected {}, conflicts {}",
            sum.stored, sum.already_stored, sum.rejected, sum.conflicts
        );
        if let Some(held) = sum.not_stored {
            line.push_str(&format!(", held back {held}: nothing was stored"));
        }
        if let Some((now, before)) = self.waiting {
            line.push_str(&format!(", scheduled {now}, already scheduled {before}"));
        }
        cx.printer.line(&line)?;
        if sum.errors.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&["line", "event", "type", "where", "rule", "what"]);
        for error in sum.errors.iter().take(SHOWN) {
            for violation in &error.violations {
                table.row([
                    self.place(error.line).as_str(),
                    &escape::short(error.event_id.as_deref().unwrap_or("-"), 40),
                    &escape::short(error.event_type.as_deref().unwrap_or("-"), 40),
                    if violation.pointer.is_empty() { "-" } else { &violation.pointer },
                    &violation.rule,
                    &violation.message,
                ]);
            }
        }
        cx.printer.table(table)?;
        let more = (sum.rejected + sum.conflicts).saturating_sub(SHOWN as u64);
        if more > 0 {
            cx.printer.flush()?;
            cx.printer.say(&format!(
                "and {}; --output json lists the first {MAX_ERRORS}",
                count(more, "more line")
            ));
        }
        Ok(())
    }
}
