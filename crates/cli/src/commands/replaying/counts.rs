//! Tables of counts.

use std::collections::BTreeMap;

use crate::{
    context::Context,
    errors::CliError,
    output::table::{Cell, Table, number, text},
};

/// Prints a table of counts. Prints nothing if there are no counts.
pub(in crate::commands) fn print_counts(
    name: &str,
    counts: &BTreeMap<String, u64>,
    cx: &mut Context<'_>,
) -> Result<(), CliError> {
    if counts.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([text(name), number("events")]);
    for (value, count) in counts {
        table.row([Cell::new(value), Cell::count(*count)]);
    }
    cx.printer.raw(b"\n")?;
    cx.printer.table(&table)
}
