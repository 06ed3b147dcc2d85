//! `validate-schemas`: all event schemas, and whether they are sound.

use clap::Args;
use domain::ports::{Describes, SchemaRecord, SchemaSummary};
use jiff::Timestamp;
use serde::Serialize;
use validation::{EngineKind, SchemaRegistry, builtin};

use super::{Context, schemas};
use crate::{args::Format, errors::CliError, exit::Exit, output::table::Table};

/// Show all event schemas, and whether they are sound
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay validate-schemas
  event-replay validate-schemas --output json

Exits 3 if a schema cannot be used.")]
pub(crate) struct ValidateSchemasArgs {}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    summary: SchemaSummary,
    valid: bool,
    error: Option<String>,
}

pub(crate) async fn run(_args: ValidateSchemasArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let records = schemas::records_if_any(cx).await?;
    let mut registry = SchemaRegistry::new(cx.settings.engine);
    records.iter().for_each(|record| registry.restore(record));
    let faults = faults(cx.settings.engine, &records);
    let rows: Vec<Row> = domain::ports::EventValidator::schemas(&registry)
        .into_iter()
        .map(|summary| {
            let fault = faults.iter().find(|(event_type, event_version, _)| {
                *event_type == summary.event_type && *event_version == summary.event_version
            });
            Row { valid: fault.is_none(), error: fault.map(|(_, _, error)| error.clone()), summary }
        })
        .collect();
    let unsound = rows.iter().filter(|row| !row.valid).count();
    if cx.printer.format() == Format::Table {
        let mut table = Table::new(&["type", "version", "from", "sound", "required", "description"]);
        for row in &rows {
            let sound = row.error.as_deref().map_or_else(|| "yes".to_owned(), |error| format!("no: {error}"));
            table.row([
                row.summary.event_type.as_str(),
                row.summary.event_version.as_deref().unwrap_or("any"),
                row.summary.origin,
                &sound,
                &schemas::members(&row.summary.required),
                row.summary.description.as_deref().unwrap_or(""),
            ]);
        }
        cx.printer.table(table)?;
        cx.printer.flush()?;
        cx.printer.say(&format!(
            "{} schemas, {unsound} of them unsound ({})",
            rows.len(),
            cx.settings.engine
        ));
    } else {
        cx.printer.json_rows(&rows)?;
    }
    Ok(if unsound > 0 { Exit::DoneWithFailures } else { Exit::Ok })
}

/// Schemas that the engine refuses: type, version, why.
pub(super) fn faults(engine: EngineKind, records: &[SchemaRecord]) -> Vec<(String, Option<String>, String)> {
    let mut checking = SchemaRegistry::empty(engine);
    let built_in = builtin::SCHEMAS.iter().map(|(event_type, text)| SchemaRecord {
        event_type: (*event_type).to_owned(),
        event_version: None,
        document: (*text).to_owned(),
        pointer: String::new(),
        describes: Describes::Event,
        added_at: Timestamp::UNIX_EPOCH,
    });
    built_in
        .chain(records.iter().cloned())
        .filter_map(|record| {
            let error = checking.add(&record).err()?;
            Some((record.event_type, record.event_version, error.to_string()))
        })
        .collect()
}
