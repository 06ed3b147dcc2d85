//! `validate-schemas`: lists all event schemas, and checks whether they are valid.

use clap::Args;
use event_replay::app::schemas;

use super::schemas::shared::{members, records_if_any};
use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        plural::count,
        table::{Table, fixed, text},
    },
};

/// Show all event schemas, and whether they are valid
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay validate-schemas
  event-replay validate-schemas --output json

Exits 3 if a schema cannot be used.")]
pub(crate) struct ValidateSchemasArgs {}

pub(crate) async fn run(_args: ValidateSchemasArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let rows = schemas::states(cx.settings.engine, &records_if_any(cx).await?);
    let invalid = rows.iter().filter(|row| !row.valid).count();
    if cx.printer.format() == Format::Table {
        let mut table = Table::new([
            text("type"),
            fixed("version"),
            fixed("from"),
            text("valid"),
            text("required").optional(2),
            text("description").optional(1),
        ]);
        for row in &rows {
            let valid = row.error.as_deref().map_or_else(|| "yes".to_owned(), |error| format!("no: {error}"));
            table.row([
                row.summary.event_type.as_str(),
                row.summary.event_version.as_deref().unwrap_or("any"),
                row.summary.origin,
                &valid,
                &members(&row.summary.required),
                row.summary.description.as_deref().unwrap_or(""),
            ]);
        }
        cx.printer.table(&table)?;
        cx.printer.flush()?;
        let valid = match invalid {
            0 => "all valid".to_owned(),
            _ => format!("{invalid} not valid"),
        };
        cx.printer.say(&format!("{}, {valid} ({})", count(rows.len() as u64, "schema"), cx.settings.engine));
    } else {
        cx.printer.json_rows(&rows)?;
    }
    Ok(if invalid > 0 { Exit::DoneWithFailures } else { Exit::Ok })
}
