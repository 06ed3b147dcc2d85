//! `schemas show`: one schema's file, as its author wrote it.

use clap::Args;
use domain::ports::Describes;
use serde::Serialize;
use serde_json::value::RawValue;
use validation::builtin;

use super::shared::{named, records_if_any};

use crate::{
    args::{Format, filter},
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
    #[arg(value_name = "TYPE", value_parser = filter::name)]
    event_type: String,
    /// The event version; without it, the schema that serves every version.
    #[arg(long, value_name = "VERSION", value_parser = filter::name)]
    event_version: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    event_type: &'a str,
    event_version: Option<&'a str>,
    origin: &'static str,
    pointer: &'a str,
    describes: Describes,
    document: &'a RawValue,
}

pub(super) async fn run(args: ShowArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let records = records_if_any(cx).await?;
    let version = args.event_version.as_deref();
    let stored = records
        .iter()
        .find(|record| record.event_type == args.event_type && record.event_version.as_deref() == version);
    let built_in = builtin::SCHEMAS
        .iter()
        .find(|(event_type, _)| *event_type == args.event_type && version.is_none())
        .map(|(_, text)| *text);
    let (origin, pointer, describes, text) = match (stored, built_in) {
        (Some(record), _) => ("store", record.pointer.as_str(), record.describes, record.document.as_str()),
        (None, Some(text)) => ("built-in", "", Describes::Event, text),
        (None, None) => {
            let name = named(&args.event_type, version);
            return Err(CliError::failed(format!("there is no schema for {name}"))
                .hint("`event-replay schemas list` shows all, `schemas add TYPE FILE` adds one"));
        }
    };
    let document = serde_json::from_str::<&RawValue>(text)
        .map_err(|error| CliError::failed(format!("the stored schema is not JSON: {error}")))?;
    match cx.printer.format() {
        Format::Table => {
            let mut safe = Vec::new();
            targets::push_safe_json(document.get(), &mut safe);
            let safe = String::from_utf8(safe).unwrap_or_default();
            cx.printer.raw(pretty(&safe, 0).as_bytes())?;
            cx.printer.raw(b"\n")?;
            if !pointer.is_empty() {
                cx.printer.flush()?;
                cx.printer.say(&format!("the schema is the part at {pointer}"));
            }
        }
        Format::Json | Format::Ndjson => cx.printer.json(&Shown {
            event_type: &args.event_type,
            event_version: version,
            origin,
            pointer,
            describes,
            document,
        })?,
    }
    Ok(Exit::Ok)
}
