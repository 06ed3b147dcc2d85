//! `schemas list`: lists all schemas.

use clap::Args;
use domain::ports::EventValidator;
use event_replay::app::schemas::registry_of;

use super::shared::{members, records_if_any};

use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::table::{Table, fixed, text},
};

/// Show all schemas
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay schemas list
  event-replay schemas list --output json")]
pub(crate) struct ListArgs {}

pub(super) async fn run(_args: ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let summaries = registry_of(&records_if_any(cx).await?, cx.settings.engine).schemas();
    if cx.printer.format() != Format::Table {
        cx.printer.json_rows(&summaries)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([
        text("type"),
        fixed("version"),
        fixed("from"),
        text("required"),
        text("optional").optional(1),
        text("ordering key").optional(2),
    ]);
    for summary in &summaries {
        table.row([
            summary.event_type.as_str(),
            summary.event_version.as_deref().unwrap_or("any"),
            summary.origin,
            &members(&summary.required),
            &members(&summary.optional),
            summary.ordering_key.as_deref().unwrap_or("-"),
        ]);
    }
    cx.printer.table(&table)?;
    Ok(Exit::Ok)
}
