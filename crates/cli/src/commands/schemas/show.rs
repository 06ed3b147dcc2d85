//! `schemas show`: prints the file of one schema as its author wrote it.

use clap::Args;
use event_replay::app::schemas;

use super::shared::{named, records_if_any};

use crate::{
    args::{Format, filter},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::pretty::pretty,
};

/// Show one schema's file
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay schemas show user.registered
  event-replay schemas show payment.processed > payment.processed.json")]
pub(crate) struct ShowArgs {
    /// The event type.
    #[arg(value_name = "TYPE", value_parser = filter::name, add = complete::types())]
    event_type: String,
    /// The event version; without it, the schema that serves every version.
    #[arg(long, value_name = "VERSION", value_parser = filter::name)]
    event_version: Option<String>,
}

pub(super) async fn run(args: ShowArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let records = records_if_any(cx).await?;
    let version = args.event_version.as_deref();
    let Some(found) = schemas::source(&records, &args.event_type, version) else {
        let name = named(&args.event_type, version);
        return Err(CliError::failed(format!("there is no schema for {name}"))
            .hint("`event-replay schemas list` shows all, `schemas add TYPE FILE` adds one"));
    };
    let document = found
        .document()
        .map_err(|error| CliError::failed(format!("the stored schema is not JSON: {error}")))?;
    match cx.printer.format() {
        Format::Table => {
            let mut safe = Vec::new();
            targets::push_safe_json(document.document.get(), &mut safe);
            let safe = String::from_utf8(safe).unwrap_or_default();
            cx.printer.raw(pretty(&safe, 0).as_bytes())?;
            cx.printer.raw(b"\n")?;
            if !found.pointer.is_empty() {
                cx.printer.flush()?;
                cx.printer.say(&format!("the schema is the part at {}", found.pointer));
            }
        }
        Format::Json | Format::Ndjson => cx.printer.json(&document)?,
    }
    Ok(Exit::Ok)
}
