//! `schemas remove`: a schema that was added goes; a built-in one serves again.

use clap::Args;
use serde::Serialize;
use validation::builtin;

use crate::{
    args::{Format, filter},
    commands::Context,
    errors::CliError,
    exit::Exit,
    store::{Access, Stores},
};

/// Remove a schema that was added
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay schemas remove custom.event
  event-replay schemas remove user.registered --event-version 2.0

Where it replaced a built-in schema, that one serves again.")]
pub(crate) struct RemoveArgs {
    /// The event type.
    #[arg(value_name = "TYPE", value_parser = filter::name)]
    event_type: String,
    /// The event version; without it, the schema that serves every version.
    #[arg(long, value_name = "VERSION", value_parser = filter::name)]
    event_version: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Removed<'a> {
    event_type: &'a str,
    event_version: Option<&'a str>,
}

pub(super) async fn run(args: RemoveArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = Stores::open(&cx.settings, Access::Write).await?;
    let version = args.event_version.as_deref();
    let removed = stores.schemas.remove_schema(&args.event_type, version).await?;
    stores.close().await;
    let name = super::named(&args.event_type, version);
    let built_in = builtin::SCHEMAS.iter().any(|(event_type, _)| *event_type == args.event_type);
    match (removed, built_in) {
        (false, true) => {
            Err(CliError::failed(format!("the schema for {name} is built in and cannot be removed"))
                .hint("`schemas add` replaces it; --no-validation publishes without schemas"))
        }
        (false, false) => Err(CliError::failed(format!("no schema was added for {name}"))
            .hint("`event-replay schemas list` shows all")),
        (true, _) => {
            match cx.printer.format() {
                Format::Table => cx.printer.line(&format!("removed the schema for {name}"))?,
                Format::Json | Format::Ndjson => {
                    cx.printer.json(&Removed { event_type: &args.event_type, event_version: version })?;
                }
            }
            Ok(Exit::Ok)
        }
    }
}
