//! The two streams, and how results are written to them.

use std::{
    cell::RefCell,
    io::{self, BufWriter, IsTerminal, Stdout, Write},
};

use serde::Serialize;

use super::{bar::Bar, escape, table::Table};
use crate::{args::Format, errors::CliError};

/// Writes results to stdout, and everything else to stderr.
pub(crate) struct Printer {
    format: Format,
    /// Shared with what goes to stderr, so that the two streams keep their order on a terminal.
    out: RefCell<BufWriter<Stdout>>,
    stderr_is_terminal: bool,
    width: Option<u16>,
    colour: bool,
}

impl Printer {
    /// A printer for this process's streams.
    pub(crate) fn new(format: Format) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let stderr_is_terminal = io::stderr().is_terminal();
        let width = io::stdout().is_terminal().then(comfy_table_width).flatten();
        Self {
            format,
            out: RefCell::new(BufWriter::with_capacity(64 * 1024, io::stdout())),
            stderr_is_terminal,
            width,
            colour: stderr_is_terminal && !no_colour,
        }
    }

    /// How results are wanted.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Writes bytes of data as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.get_mut().write_all(bytes).map_err(|error| CliError::output(&error))
    }

    /// Writes a line of data, made harmless for a terminal.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.raw(escape::line(text).as_bytes())?;
        self.raw(b"\n")
    }

    /// Writes a table.
    pub(crate) fn table(&mut self, table: Table) -> Result<(), CliError> {
        let text = table.render(self.width);
        self.raw(text.as_bytes())
    }

    /// Writes one JSON document on a line of its own.
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        let text = json_text(value)?;
        self.raw(&text)?;
        self.raw(b"\n")
    }

    /// Writes a list: one array, or one row a line.
    pub(crate) fn json_rows<T: Serialize>(&mut self, rows: &[T]) -> Result<(), CliError> {
        match self.format {
            Format::Ndjson => rows.iter().try_for_each(|row| self.json(row)),
            _ => self.json(&rows),
        }
    }

    /// Sees to it that what was written is out.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.out.get_mut().flush().map_err(|error| CliError::output(&error))
    }

    /// Says something beside the data.
    pub(crate) fn say(&self, text: &str) {
        self.stderr("", "", text);
    }

    /// Says something that deserves attention.
    pub(crate) fn warn(&self, text: &str) {
        self.stderr("warning", "33", text);
    }

    /// Writes a JSON document to stderr, for a command whose stdout is taken by events.
    pub(crate) fn say_json<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        let mut text = json_text(value)?;
        text.push(b'\n');
        self.catch_up();
        write_stderr(&text);
        Ok(())
    }

    /// Writes a table to stderr, likewise.
    pub(crate) fn say_table(&self, table: Table) {
        self.catch_up();
        write_stderr(table.render(self.width).as_bytes());
    }

    /// Says why a command ended early.
    pub(crate) fn error(&self, what: &str, hint: Option<&str>) {
        self.stderr("error", "31", what);
        if let Some(hint) = hint {
            self.stderr("hint", "36", hint);
        }
    }

    /// A progress bar, which only a terminal sees.
    pub(crate) fn bar(&self, doing: &'static str, total: Option<u64>) -> Bar {
        Bar::new(self.stderr_is_terminal, doing, total)
    }

    /// Whether anybody would see a progress bar.
    pub(crate) fn shows_bars(&self) -> bool {
        self.stderr_is_terminal
    }

    /// What was written to stdout before comes first. An error shows again at the next write.
    fn catch_up(&self) {
        let _ = self.out.borrow_mut().flush();
    }

    fn stderr(&self, label: &str, colour: &str, text: &str) {
        self.catch_up();
        let text = escape::lines(text);
        let said = match (label.is_empty(), self.colour) {
            (true, _) => format!("{text}\n"),
            (false, true) => format!("\u{1b}[1;{colour}m{label}:\u{1b}[0m {text}\n"),
            (false, false) => format!("{label}: {text}\n"),
        };
        write_stderr(said.as_bytes());
    }
}

/// JSON that no terminal takes for commands.
fn json_text<T: Serialize>(value: &T) -> Result<Vec<u8>, CliError> {
    let text = serde_json::to_string(value)
        .map_err(|error| CliError::failed(format!("the result cannot be written as JSON: {error}")))?;
    let mut safe = Vec::with_capacity(text.len() + 1);
    targets::push_safe_json(&text, &mut safe);
    Ok(safe)
}

/// Where stderr is closed there is nobody to tell.
fn write_stderr(bytes: &[u8]) {
    let _ = io::stderr().lock().write_all(bytes);
}

fn comfy_table_width() -> Option<u16> {
    comfy_table::Table::new().width()
}
