//! Tables for people. Only this module decides how a table fits a terminal.
//!
//! Without a width limit, a table is as wide as its content. On a terminal it is made to fit the width. First, ids are
//! shortened to prefixes. Then optional columns are left out. Last, free text is cut with `…`. Fixed columns are never
//! broken.

mod layout;

use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

use self::layout::{Layout, cut, pad, wrap};
use super::{escape, style::Tone};

/// The way in which the cells of a column are made to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The cells are never changed.
    Fixed,
    /// The short form of a cell may replace the cell.
    Short,
    /// The cells may be cut with `…`.
    Text,
    /// The cells may continue on the next line.
    Wrapped,
}

/// A column.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    name: String,
    kind: Kind,
    is_right: bool,
    /// The order in which columns are left out: the greatest rank first. A column of rank 0 is never left out.
    rank: u8,
}

impl Column {
    fn new(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), kind, is_right: false, rank: 0 }
    }

    /// Allows the column to be left out if the table does not fit. The greatest rank is left out first.
    pub(crate) fn optional(self, rank: u8) -> Self {
        Self { rank, ..self }
    }
}

/// Creates a column that is never broken or cut, such as states and times.
pub(crate) fn fixed(name: &str) -> Column {
    Column::new(name, Kind::Fixed)
}

/// Creates a column of numbers, aligned right.
pub(crate) fn number(name: &str) -> Column {
    Column { is_right: true, ..fixed(name) }
}

/// Creates a column of ids that have a short form.
pub(crate) fn id(name: &str) -> Column {
    Column::new(name, Kind::Short)
}

/// Creates a column of free text, which is cut if it does not fit.
pub(crate) fn text(name: &str) -> Column {
    Column::new(name, Kind::Text)
}

/// Creates a column of free text, which continues on the next line if it does not fit.
pub(crate) fn wrapped(name: &str) -> Column {
    Column::new(name, Kind::Wrapped)
}

/// A cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    full: String,
    /// The short form for narrow terminals.
    short: Option<String>,
    /// The relative form for terminals.
    relative: Option<String>,
    tone: Option<Tone>,
}

impl Cell {
    /// Creates a cell with a text. The text may come from events, so its control characters are escaped here.
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self { full: escape::line(text.as_ref()).into_owned(), short: None, relative: None, tone: None }
    }

    /// Creates a cell with a state: a word that has a colour and a symbol.
    pub(crate) fn state(word: &str, tone: Tone) -> Self {
        Self { tone: Some(tone), ..Self::new(word) }
    }

    /// Creates a cell with an id, and a prefix that commands accept.
    pub(crate) fn id(whole: &str, prefix: &str) -> Self {
        Self { short: Some(escape::line(prefix).into_owned()), ..Self::new(whole) }
    }

    /// Creates a cell with a time: in full, or relative to `now`.
    pub(crate) fn time(at: Timestamp, now: Timestamp) -> Self {
        let relative = event_replay::text::time::ago_or_date(at, now);
        Self { relative: Some(relative), ..Self::new(event_replay::text::time::to_milliseconds(at)) }
    }

    /// Creates a cell with a time, or `-` if there is none.
    pub(crate) fn time_or_dash(at: Option<Timestamp>, now: Timestamp) -> Self {
        at.map_or_else(|| Self::new("-"), |at| Self::time(at, now))
    }

    /// Creates a cell with a number, with a comma between its thousands.
    pub(crate) fn count(number: u64) -> Self {
        Self::new(event_replay::text::plural::grouped(number))
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// The look of tables on a stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    /// The maximum width of a table, in columns of the terminal. None: unlimited.
    pub(crate) width: Option<u16>,
    /// Whether times are relative.
    pub(crate) relative: bool,
    /// Whether states have symbols.
    pub(crate) symbols: bool,
    /// Whether states have colours.
    pub(crate) colour: bool,
}

/// A table.
pub(crate) struct Table {
    columns: Vec<Column>,
    has_header: bool,
    rows: Vec<Vec<Cell>>,
}

/// A table as text.
pub(crate) struct Rendered {
    pub(crate) text: String,
    /// The columns that were left out.
    pub(crate) hidden: Vec<String>,
}

impl Table {
    /// Creates a table with these columns.
    pub(crate) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), has_header: true, rows: Vec::new() }
    }

    /// Creates a table of names and values, without a header.
    pub(crate) fn pairs() -> Self {
        Self::new([fixed(""), wrapped("")]).without_header()
    }

    /// Removes the header.
    pub(crate) fn without_header(self) -> Self {
        Self { has_header: false, ..self }
    }

    /// Adds a row.
    pub(crate) fn row<I, C>(&mut self, cells: I)
    where
        I: IntoIterator<Item = C>,
        C: Into<Cell>,
    {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Formats the table as text.
    pub(crate) fn render(&self, look: Look) -> Rendered {
        let mut texts = self.texts(look, false);
        let mut layout = Layout::of(&self.kinds(), &texts);
        if let Some(width) = look.width.map(usize::from)
            && !layout.fits(width)
        {
            texts = self.texts(look, true);
            layout = Layout::of(&self.kinds(), &texts);
            layout.fit(width);
        }
        let hidden = self.columns.iter().zip(&layout.shown).filter(|(_, shown)| !**shown);
        let hidden = hidden.map(|(column, _)| column.name.clone()).collect();
        let mut text = String::new();
        for (at, row) in texts.iter().enumerate() {
            let tones = at.checked_sub(usize::from(self.has_header)).and_then(|at| self.rows.get(at));
            self.print_row(row, tones, &layout, look, &mut text);
        }
        Rendered { text, hidden }
    }

    fn kinds(&self) -> Vec<(Kind, u8)> {
        self.columns.iter().map(|column| (column.kind, column.rank)).collect()
    }

    /// Returns the texts of all cells, the header first.
    fn texts(&self, look: Look, is_narrow: bool) -> Vec<Vec<String>> {
        let header =
            self.has_header.then(|| self.columns.iter().map(|column| column.name.to_uppercase()).collect());
        let of = |cell: &Cell| {
            let text = match (&cell.relative, &cell.short) {
                (Some(relative), _) if look.relative => relative,
                (_, Some(short)) if is_narrow => short,
                _ => &cell.full,
            };
            match cell.tone.filter(|_| look.symbols) {
                Some(tone) => format!("{} {text}", tone.symbol()),
                None => text.clone(),
            }
        };
        header.into_iter().chain(self.rows.iter().map(|row| row.iter().map(of).collect())).collect()
    }

    fn print_row(
        &self,
        row: &[String],
        cells: Option<&Vec<Cell>>,
        layout: &Layout,
        look: Look,
        out: &mut String,
    ) {
        let parts: Vec<Vec<String>> = (row.iter().zip(&self.columns).zip(&layout.widths))
            .map(|((text, column), width)| match column.kind {
                Kind::Wrapped => wrap(text, *width),
                Kind::Text => vec![cut(text, *width)],
                Kind::Fixed | Kind::Short => vec![text.clone()],
            })
            .collect();
        let height = parts.iter().map(Vec::len).max().unwrap_or(0);
        for line_at in 0..height {
            let mut line = String::new();
            for (at, ((part, column), width)) in
                parts.iter().zip(&self.columns).zip(&layout.widths).enumerate()
            {
                if !layout.shown.get(at).is_some_and(|shown| *shown) {
                    continue;
                }
                let text = part.get(line_at).map_or("", String::as_str);
                line.push_str(if line.is_empty() { " " } else { "  " });
                let padding = pad(text, *width);
                let tone = cells.and_then(|cells| cells.get(at)).and_then(|cell| cell.tone);
                let shown = match tone.filter(|_| look.colour) {
                    Some(tone) => tone.paint(text),
                    None => text.to_owned(),
                };
                match column.is_right {
                    true => line.push_str(&format!("{padding}{shown}")),
                    false => line.push_str(&format!("{shown}{padding}")),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

/// Returns the number of terminal columns that a text takes.
fn width_of(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(width: u16) -> Look {
        Look { width: Some(width), ..Look::default() }
    }

    fn letters() -> Table {
        let mut table = Table::new([
            id("id"),
            fixed("state"),
            number("attempts"),
            text("type").optional(1),
            text("error"),
        ]);
        for (whole, prefix, error) in [
            (
                "0198f2c4-7a10-7e22-9c5d-3f1b2a4c5d6e",
                "0198f2c4-7a1",
                "mailbox full: ann@example.com said 452",
            ),
            ("0198f2c4-7a44-7e22-9c5d-3f1b2a4c5d6e", "0198f2c4-7a4", "no"),
        ] {
            table.row([
                Cell::id(whole, prefix),
                Cell::state("open", Tone::Warn),
                Cell::count(1750),
                Cell::new("user.registered"),
                Cell::new(error),
            ]);
        }
        table
    }

    #[test]
    fn a_table_without_a_width_is_whole() {
        let shown = letters().render(Look::default());
        assert_eq!(
            shown.text,
            " ID                                    STATE  ATTEMPTS  TYPE             ERROR\n \
             0198f2c4-7a10-7e22-9c5d-3f1b2a4c5d6e  open      1,750  user.registered  mailbox full: ann@example.com said 452\n \
             0198f2c4-7a44-7e22-9c5d-3f1b2a4c5d6e  open      1,750  user.registered  no\n"
        );
        assert!(shown.hidden.is_empty());
    }

    #[test]
    fn a_table_fits_and_breaks_no_fixed_column() {
        for width in [60, 80, 100, 200] {
            let shown = letters().render(at(width));
            for line in shown.text.lines() {
                assert!(width_of(line) <= usize::from(width), "{width}: {line}");
            }
            assert_eq!(shown.text.lines().count(), 3);
            assert_eq!(shown.text.matches("open").count(), 2);
            assert_eq!(shown.text.matches("1,750").count(), 2);
        }
    }

    #[test]
    fn ids_shorten_first_then_columns_go_then_text_is_cut() {
        let full = letters().render(at(200)).text;
        assert!(full.contains("9c5d-3f1b2a4c5d6e"));
        let short = letters().render(at(90)).text;
        assert!(short.contains(" 0198f2c4-7a1  ") && short.contains("said 452"), "{short}");
        let cut = letters().render(at(70));
        assert!(cut.text.contains('…') && cut.hidden.is_empty(), "{}", cut.text);
        let left_out = letters().render(at(48));
        assert_eq!(left_out.hidden, ["type"]);
        assert!(left_out.text.contains("mailbox") && left_out.text.contains('…'), "{}", left_out.text);
    }

    #[test]
    fn states_have_symbols_and_colours_where_they_are_wanted() {
        let look = Look { symbols: true, ..Look::default() };
        assert!(letters().render(look).text.contains("! open"));
        let coloured = letters().render(Look { colour: true, ..look }).text;
        assert!(coloured.contains("\u{1b}[33m! open\u{1b}[0m"), "{coloured:?}");
    }

    #[test]
    fn values_of_pairs_go_on_in_the_next_line() {
        let mut table = Table::pairs();
        table.row(["reason", "one two three four five"]);
        assert_eq!(table.render(at(20)).text, " reason  one two\n         three four\n         five\n");
    }

    #[test]
    fn times_are_relative_where_that_is_wanted() {
        let now: Timestamp = "2024-01-15T10:30:00.123456Z".parse().unwrap();
        let mut table = Table::new([fixed("made")]);
        table.row([Cell::time(now - jiff::SignedDuration::from_secs(125), now)]);
        assert_eq!(table.render(Look { relative: true, ..Look::default() }).text, " MADE\n 2 min ago\n");
        assert_eq!(table.render(Look::default()).text, " MADE\n 2024-01-15T10:27:55.123Z\n");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let mut table = Table::new([text("name"), number("n")]);
        table.row(["東京東京東京東京東京東京", "1"]);
        table.row(["ab", "2"]);
        let shown = table.render(at(24)).text;
        assert!(shown.lines().all(|line| width_of(line) == 24 || !line.contains(['1', '2'])), "{shown}");
    }
}
