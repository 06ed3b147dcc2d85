//! `schemas list`: all schemas.

use clap::Args;
use domain::ports::EventValidator;
use validation::SchemaRegistry;

use crate::{args::Format, commands::Context, errors::CliError, exit::Exit, output::table::Table};

/// Show all schemas
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay schemas list
  event-replay schemas list --output json")]
pub(crate) struct ListArgs {}

pub(super) async fn run(_args: ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let mut registry = SchemaRegistry::new(cx.settings.engine);
    super::records_if_any(cx).await?.iter().for_each(|record| registry.restore(record));
    let summaries = registry.schemas();
    if cx.printer.format() != Format::Table {
        cx.printer.json_rows(&summaries)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["type", "version", "from", "required", "optional", "ordering key"]);
    for summary in &summaries {
        table.row([
            summary.event_type.as_str(),
            summary.event_version.as_deref().unwrap_or("any"),
            summary.origin,
            &super::members(&summary.required),
            &super::members(&summary.optional),
            summary.ordering_key.as_deref().unwrap_or("-"),
        ]);
    }
    cx.printer.table(table)?;
    Ok(Exit::Ok)
}
