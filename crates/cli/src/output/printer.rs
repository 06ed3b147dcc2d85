//! The printer of results and messages.

use std::{
    cell::{Cell as Shared, RefCell},
    io::{self, IsTerminal, Write},
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Destination,
    bar::Bar,
    escape,
    select::{Documents, Selection},
    style::{Tone, colours},
    table::{Look, Table},
};
use crate::{args::Format, cli::OutputArgs, errors::CliError};

/// Writes results to stdout, and all messages to stderr.
pub(crate) struct Printer {
    asked: Format,
    selection: Option<Selection>,
    documents: Documents,
    /// Rows of `--fields` that wait to be printed as one table.
    picked: Option<Table>,
    /// Shared with the writers to stderr, so that the two streams keep their order on a terminal.
    out: RefCell<Destination>,
    stderr_is_terminal: bool,
    stderr_colour: bool,
    look: Look,
    is_quiet: bool,
    uses_pager: bool,
    /// Whether a table left out columns because the terminal is too narrow.
    hidden: Shared<bool>,
    /// Messages that are printed after the user closes the pager.
    late: RefCell<Vec<String>>,
    now: Timestamp,
}

impl Printer {
    /// Creates a printer for the streams of this process.
    pub(crate) fn new(args: &OutputArgs) -> Result<Self, CliError> {
        Ok(Self::over(args, Selection::of(&args.fields, args.jq.as_deref())?))
    }

    fn over(args: &OutputArgs, selection: Option<Selection>) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let on_terminal = stdout.is_terminal();
        let look = Look {
            width: (on_terminal && !args.wide).then(width_of_terminal).flatten(),
            relative: on_terminal && !args.wide,
            symbols: on_terminal,
            colour: colours(&stdout),
        };
        Self {
            asked: args.output,
            selection,
            documents: Documents::default(),
            picked: None,
            out: RefCell::new(Destination::stdout()),
            stderr_is_terminal: stderr.is_terminal(),
            stderr_colour: colours(&stderr),
            look,
            is_quiet: args.quiet,
            uses_pager: on_terminal && !args.no_pager,
            hidden: Shared::new(false),
            late: RefCell::default(),
            now: Timestamp::now(),
        }
    }

    /// Creates a printer without `--fields` and `--jq`.
    pub(crate) fn plain() -> Self {
        Self::over(&OutputArgs::default(), None)
    }

    /// The format in which the command must print its results.
    pub(crate) fn format(&self) -> Format {
        match &self.selection {
            Some(selection) => selection.format(self.asked),
            None => self.asked,
        }
    }

    /// The reference time of relative times.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Shows further output in a pager if it is longer than the terminal. For results that have an end.
    pub(crate) fn page(&self) {
        if self.uses_pager {
            self.out.borrow_mut().hold();
        }
    }

    /// Writes bytes of data unchanged. With `--fields` or `--jq`, the bytes are JSON and pass through the selection.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        if self.selection.is_none() {
            return self.write(bytes);
        }
        for document in self.documents.push(bytes) {
            self.select(&document)?;
        }
        Ok(())
    }

    /// Writes a line of data. Control characters are escaped.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.raw(escape::line(text).as_bytes())?;
        self.raw(b"\n")
    }

    /// Writes a state on a line, with its symbol and colour.
    pub(crate) fn state_line(&mut self, word: &str, tone: Tone) -> Result<(), CliError> {
        let text = if self.look.symbols { format!("{} {word}", tone.symbol()) } else { word.to_owned() };
        let text = if self.look.colour { tone.paint(&text) } else { text };
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Writes text that contains its own colours. Removes the colours if the output has none.
    pub(crate) fn styled(&mut self, text: &str) -> Result<(), CliError> {
        match self.look.colour {
            true => self.raw(text.as_bytes()),
            false => self.raw(anstream::adapter::strip_str(text).to_string().as_bytes()),
        }
    }

    /// Writes a table.
    pub(crate) fn table(&mut self, table: &Table) -> Result<(), CliError> {
        let text = self.rendered(table, self.look);
        self.raw(text.as_bytes())
    }

    /// Writes one JSON document on one line.
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        let text = json_text(value)?;
        self.raw(&text)?;
        self.raw(b"\n")
    }

    /// Writes a list: as one array, or as one row a line with `ndjson`.
    pub(crate) fn json_rows<T: Serialize>(&mut self, rows: &[T]) -> Result<(), CliError> {
        match self.format() {
            Format::Ndjson => rows.iter().try_for_each(|row| self.json(row)),
            _ => self.json(&rows),
        }
    }

    /// Writes all buffered output. Output that is held for a pager stays held.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        if let Some(table) = self.picked.take() {
            let text = self.rendered(&table, self.look);
            self.write(text.as_bytes())?;
        }
        self.out.get_mut().flush().map_err(|error| CliError::output(&error))
    }

    /// Ends the output: waits for the pager, prints the late messages, and reports hidden columns.
    pub(crate) fn finish(&mut self) -> Result<(), CliError> {
        self.flush()?;
        self.out.get_mut().close().map_err(|error| CliError::output(&error))?;
        for said in self.late.take() {
            write_stderr(said.as_bytes());
        }
        if self.hidden.replace(false) {
            self.say("some columns are hidden; --wide shows all");
        }
        match &self.selection {
            Some(Selection::Fields(fields)) => fields.check(),
            _ => Ok(()),
        }
    }

    /// Begins a new frame of `--watch`.
    pub(crate) fn begin_frame(&mut self) -> Result<(), CliError> {
        self.now = Timestamp::now();
        match self.watches_on_terminal() {
            // Moves the cursor to the top left corner, and clears the screen.
            true => self.write(b"\x1b[H\x1b[2J"),
            false => Ok(()),
        }
    }

    /// Returns whether each frame replaces the frame before.
    pub(crate) fn watches_on_terminal(&self) -> bool {
        self.look.symbols && self.format() == Format::Table
    }

    /// Prints a message on stderr, unless `--quiet` is given.
    pub(crate) fn say(&self, text: &str) {
        if !self.is_quiet {
            self.stderr("", None, text);
        }
    }

    /// Prints a warning on stderr.
    pub(crate) fn warn(&self, text: &str) {
        self.stderr("warning", Some(Tone::Warn), text);
    }

    /// Writes a JSON document to stderr, for commands that write events to stdout.
    pub(crate) fn say_json<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        let mut text = json_text(value)?;
        text.push(b'\n');
        self.catch_up();
        write_stderr(&text);
        Ok(())
    }

    /// Writes a table to stderr, for commands that write events to stdout.
    pub(crate) fn say_table(&self, table: &Table) {
        self.catch_up();
        let look = Look { colour: self.stderr_colour, symbols: self.stderr_is_terminal, ..self.look };
        write_stderr(self.rendered(table, look).as_bytes());
    }

    /// Prints an error and its hint on stderr.
    pub(crate) fn error(&self, what: &str, hint: Option<&str>) {
        self.stderr("error", Some(Tone::Bad), what);
        if let Some(hint) = hint {
            self.stderr("hint", Some(Tone::Busy), hint);
        }
    }

    /// Creates a progress bar, which is visible only on a terminal.
    pub(crate) fn bar(&self, doing: &'static str, total: Option<u64>) -> Bar {
        Bar::new(self.shows_bars(), doing, total)
    }

    /// Returns whether progress is shown.
    pub(crate) fn shows_bars(&self) -> bool {
        self.stderr_is_terminal && !self.is_quiet
    }

    fn rendered(&self, table: &Table, look: Look) -> String {
        let rendered = table.render(look);
        if !rendered.hidden.is_empty() {
            self.hidden.set(true);
        }
        rendered.text
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.get_mut().write_all(bytes).map_err(|error| CliError::output(&error))
    }

    /// Prints the selected parts of a document.
    fn select(&mut self, document: &[u8]) -> Result<(), CliError> {
        let mut lines = Vec::new();
        match &mut self.selection {
            None => lines.push(String::from_utf8_lossy(document).into_owned()),
            Some(Selection::Jq(jq)) => lines = jq.run(document)?,
            Some(Selection::Fields(fields)) => {
                let text = String::from_utf8_lossy(document);
                if self.asked == Format::Table {
                    let columns = || Table::new(fields.names().iter().map(|name| super::table::text(name)));
                    let mut table = self.picked.take().unwrap_or_else(columns);
                    for row in fields.rows(&text) {
                        table.row(row.iter().map(|value| plain(value)));
                    }
                    self.picked = Some(table);
                } else {
                    lines.push(fields.document(&text));
                }
            }
        }
        for line in lines {
            let safe = escape::lines(&line);
            self.write(safe.as_bytes())?;
            self.write(b"\n")?;
        }
        Ok(())
    }

    /// Writes pending output to stdout first. An error appears again at the next write.
    fn catch_up(&self) {
        let _ = self.out.borrow_mut().release();
    }

    fn stderr(&self, label: &str, tone: Option<Tone>, text: &str) {
        self.catch_up();
        let text = escape::lines(text);
        let said = match tone {
            None => format!("{text}\n"),
            Some(tone) if self.stderr_colour => format!("{} {text}\n", tone.paint(&format!("{label}:"))),
            Some(_) => format!("{label}: {text}\n"),
        };
        match self.out.borrow().is_paging() {
            true => self.late.borrow_mut().push(said),
            false => write_stderr(said.as_bytes()),
        }
    }
}

/// Formats a JSON value for people: a string without its quotes, and `-` for null.
fn plain(value: &str) -> String {
    match serde_json::from_str::<Option<String>>(value) {
        Ok(Some(text)) => text,
        Ok(None) => "-".to_owned(),
        Err(_) => value.to_owned(),
    }
}

/// Serializes a value as JSON. Escapes characters that could control a terminal.
pub(crate) fn json_text<T: Serialize>(value: &T) -> Result<Vec<u8>, CliError> {
    let text = serde_json::to_string(value)
        .map_err(|error| CliError::failed(format!("the result cannot be written as JSON: {error}")))?;
    let mut safe = Vec::with_capacity(text.len() + 1);
    targets::push_safe_json(&text, &mut safe);
    Ok(safe)
}

/// Writes to stderr. If stderr is closed, the error is ignored.
fn write_stderr(bytes: &[u8]) {
    let _ = io::stderr().lock().write_all(bytes);
}

fn width_of_terminal() -> Option<u16> {
    terminal_size::terminal_size().map(|(width, _)| width.0)
}
