//! The outcomes of the inputs, line by line, over several files and several intakes.

use bus::{IntakeReport, LineError};
use event_replay::app::intake::{LineErrorDocument, MAX_ERRORS, PublishDocument, PublishReport};
use serde::Serialize;

use super::Rehearsing;
use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    input::Input,
    output::{
        plural::{count, grouped},
        table::{Table, fixed, text, wrapped},
    },
};

/// Lines whose errors a table shows at most.
const SHOWN: usize = 20;

/// The lines of input `n` are numbered from `n` times this. The number of a line thus identifies its input.
const INPUT_STRIDE: u64 = 1 << 44;

/// The outcome of all inputs.
pub(super) struct Report {
    names: Vec<String>,
    publish: PublishReport,
    /// The subject of a rehearsal, if no event is stored.
    rehearsing: Option<Rehearsing>,
}

/// A report about events that are not stored.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rehearsed<'a> {
    dry_run: bool,
    #[serde(flatten)]
    outcome: PublishDocument<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Validity<'a> {
    valid: u64,
    invalid: u64,
    errors: Vec<LineErrorDocument<'a>>,
    errors_truncated: bool,
}

impl Report {
    /// Creates a report about these inputs that continues from the counts of `publish`.
    pub(super) fn new(inputs: &[Input], publish: PublishReport) -> Self {
        Self { names: inputs.iter().map(ToString::to_string).collect(), publish, rehearsing: None }
    }

    /// Turns the report into a report of a rehearsal.
    #[must_use]
    pub(super) fn of_rehearsal(self, what: Rehearsing) -> Self {
        Self { rehearsing: Some(what), ..self }
    }

    /// The counts, for additions.
    pub(super) fn counts(&mut self) -> &mut PublishReport {
        &mut self.publish
    }

    /// Returns the number of a line among the lines of all inputs.
    pub(super) fn number(input: usize, line: u64) -> u64 {
        input as u64 * INPUT_STRIDE + line
    }

    /// Formats the place of a numbered line: its line number, after the file name if there are several inputs.
    pub(super) fn place(&self, number: u64) -> String {
        match self.file(number) {
            Some(file) => format!("{file}:{}", number % INPUT_STRIDE),
            None => (number % INPUT_STRIDE).to_string(),
        }
    }

    /// Adds the result of one intake.
    pub(super) fn add(&mut self, part: IntakeReport) {
        self.publish.add(part);
    }

    /// Lines of the intakes that have ended.
    pub(super) fn lines_before(&self) -> u64 {
        self.publish.lines()
    }

    /// Returns whether the report covers any line.
    pub(super) fn has_anything(&self) -> bool {
        self.lines_before() > 0
    }

    /// Returns whether every event is in the store now.
    pub(super) fn is_clean(&self) -> bool {
        self.publish.is_clean()
    }

    fn file(&self, number: u64) -> Option<&str> {
        match self.names.as_slice() {
            [_] => None,
            names => names.get((number / INPUT_STRIDE) as usize).map(String::as_str),
        }
    }

    /// Prints the report in the output format.
    pub(super) fn print(&self, cx: &mut Context<'_>) -> Result<(), CliError> {
        match (cx.printer.format(), self.rehearsing) {
            (Format::Table, _) => self.print_table(cx),
            (_, Some(Rehearsing::Validity)) => cx.printer.json(&self.validity()),
            (_, Some(Rehearsing::Publishing)) => {
                cx.printer.json(&Rehearsed { dry_run: true, outcome: self.printed() })
            }
            (Format::Json | Format::Ndjson, None) => cx.printer.json(&self.printed()),
        }
    }

    fn errors(&self) -> Vec<LineErrorDocument<'_>> {
        self.publish.sum().errors.iter().map(|error| self.error(error)).collect()
    }

    /// Returns the document of an error, with its input file and its line number there.
    pub(super) fn error(&self, error: &LineError) -> LineErrorDocument<'_> {
        LineErrorDocument {
            file: self.file(error.line),
            error: LineError { line: error.line % INPUT_STRIDE, ..error.clone() },
        }
    }

    /// Events that are not valid. A second event with the same id and other content counts as not valid.
    fn invalid(&self) -> u64 {
        self.publish.sum().rejected + self.publish.sum().conflicts
    }

    fn validity(&self) -> Validity<'_> {
        let sum = self.publish.sum();
        Validity {
            valid: sum.stored + sum.already_stored,
            invalid: self.invalid(),
            errors: self.errors(),
            errors_truncated: sum.errors_truncated,
        }
    }

    fn printed(&self) -> PublishDocument<'_> {
        self.publish.document_of(|number| (self.file(number), number % INPUT_STRIDE))
    }

    fn print_table(&self, cx: &mut Context<'_>) -> Result<(), CliError> {
        let sum = self.publish.sum();
        if let Some(Rehearsing::Validity) = self.rehearsing {
            let valid = sum.stored + sum.already_stored;
            let line = match self.invalid() {
                0 => format!("{}: all valid", count(valid, "event")),
                invalid => format!("{}: {} not valid", count(valid + invalid, "event"), grouped(invalid)),
            };
            cx.printer.line(&line)?;
            return self.print_errors(cx);
        }
        let would = if self.rehearsing.is_some() { "dry run: would be " } else { "" };
        let mut line = format!(
            "{would}stored {}, already stored {}, rejected {}, conflicts {}",
            grouped(sum.stored),
            grouped(sum.already_stored),
            grouped(sum.rejected),
            grouped(sum.conflicts)
        );
        if let Some(held) = sum.not_stored {
            line.push_str(&format!(", held back {}: nothing was stored", grouped(held)));
        }
        if let Some((now, before)) = self.publish.waiting() {
            line.push_str(&format!(", scheduled {}, already scheduled {}", grouped(now), grouped(before)));
        }
        cx.printer.line(&line)?;
        self.print_errors(cx)
    }

    fn print_errors(&self, cx: &mut Context<'_>) -> Result<(), CliError> {
        let sum = self.publish.sum();
        if sum.errors.is_empty() {
            return Ok(());
        }
        let columns =
            [fixed("line"), text("event"), text("type"), text("where"), fixed("rule"), wrapped("what")];
        let mut table = Table::new(columns);
        for error in sum.errors.iter().take(SHOWN) {
            for violation in &error.violations {
                table.row([
                    self.place(error.line).as_str(),
                    error.event_id.as_deref().unwrap_or("-"),
                    error.event_type.as_deref().unwrap_or("-"),
                    if violation.pointer.is_empty() { "-" } else { &violation.pointer },
                    &violation.rule,
                    &violation.message,
                ]);
            }
        }
        cx.printer.table(&table)?;
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
