//! Tables for people: columns and nothing between them, so that they read well and cut well.

use comfy_table::{Cell, CellAlignment, ContentArrangement};

use super::escape;

/// A table.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(comfy_table::presets::NOTHING);
        inner.set_header(columns.iter().map(|name| Cell::new(name.to_uppercase())));
        Self(inner)
    }

    /// A table of names and values, without a header.
    pub(crate) fn pairs() -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(comfy_table::presets::NOTHING);
        Self(inner)
    }

    /// Adds a row. Cells come from events, so they are made harmless here.
    pub(crate) fn row<I, S>(&mut self, cells: I)
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        self.0.add_row(cells.into_iter().map(|cell| Cell::new(escape::line(cell.as_ref()))));
    }

    /// Aligns a column of numbers.
    pub(crate) fn right(&mut self, column: usize) {
        if let Some(column) = self.0.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }

    /// The table as text, within the width of the terminal if there is one.
    pub(crate) fn render(mut self, width: Option<u16>) -> String {
        match width {
            Some(width) => {
                self.0.set_content_arrangement(ContentArrangement::Dynamic);
                self.0.set_width(width);
            }
            None => {
                self.0.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        let mut text = String::new();
        for line in self.0.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}
